//! Our objects on the cluster: one list by label for each kind, over all namespaces.

use crate::{
    KubernetesAgent,
    apply::{NamespacedObject, labels_of},
    filter::params,
    job::{JobResult, job_result},
    pod_status::PodStatus,
    server::CALL,
};
use chainpool_agent::{
    ClusterId, Generation, LABEL_INSTANCE, LabelFilter, Labels, NodeName, NodeState, Object, ObjectKind,
    Observation, ResourcesInUse, Result, Scope,
};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{Namespace, PersistentVolumeClaim, Pod, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use std::{collections::HashMap, fmt::Debug};

/// The key of a node's pod.
type NodeKey = (ClusterId, Generation, NodeName);

impl KubernetesAgent {
    /// Secrets are not listed, because permission to list them is permission to read all secrets of the
    /// cluster. They are deleted with their namespace.
    pub(crate) async fn objects_observe(&self, scope: Scope) -> Result<Observation> {
        let filter = match scope {
            Scope::Host => LabelFilter::instance(self.instance),
            Scope::Cluster(cluster) => LabelFilter::cluster(self.instance, cluster),
        };
        // For a host, services are listed without a filter: ports of other services are unavailable to us.
        let ours = params(&filter);
        let service_params = match scope {
            Scope::Host => ListParams::default(),
            Scope::Cluster(_) => params(&filter),
        };
        let (namespaces, sets, jobs, mut pods, claims, services, policies, budgets) = tokio::try_join!(
            self.list::<Namespace>(&ours),
            self.list::<StatefulSet>(&ours),
            self.list::<Job>(&ours),
            self.list::<Pod>(&ours),
            self.metadata_list::<PersistentVolumeClaim>(&filter, ObjectKind::Volume),
            self.list::<Service>(&service_params),
            self.metadata_list::<NetworkPolicy>(&filter, ObjectKind::Part),
            self.metadata_list::<PodDisruptionBudget>(&filter, ObjectKind::Part),
        )?;
        let instance = self.instance.to_string();
        let (services, others): (Vec<_>, Vec<_>) = services
            .into_iter()
            .partition(|s| s.labels().get(LABEL_INSTANCE) == Some(&instance));
        // A replaced job may have two pods: use the pod that is not being deleted.
        pods.sort_by_key(|pod| pod.metadata.deletion_timestamp.is_none());
        let pods: HashMap<NodeKey, Pod> = pods
            .into_iter()
            .filter_map(|pod| Some((node_key(&labels_of(&pod)?)?, pod)))
            .collect();
        let mut objects: Vec<Object> = namespaces
            .iter()
            .filter_map(|ns| object(ObjectKind::Network, ns, None))
            .collect();
        let pod_of = |labels: Option<Labels>| {
            labels
                .and_then(|labels| node_key(&labels))
                .and_then(|key| pods.get(&key))
        };
        objects.extend(sets.iter().filter_map(|set| {
            object(
                ObjectKind::Node,
                set,
                Some(set_state(set, pod_of(labels_of(set)))),
            )
        }));
        objects
            .extend(jobs.iter().filter_map(|job| {
                object(ObjectKind::Job, job, Some(job_state(job, pod_of(labels_of(job)))))
            }));
        objects.extend(
            services
                .iter()
                .filter_map(|service| object(ObjectKind::Part, service, None)),
        );
        for listed in [claims, policies, budgets] {
            objects.extend(listed);
        }
        Ok(Observation {
            objects,
            resources_in_use: ResourcesInUse {
                networks: Vec::new(),
                ports: others.into_iter().flat_map(node_ports).collect(),
            },
        })
    }

    async fn list<K>(&self, params: &ListParams) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api = self.server.all::<K>()?;
        let list = self.server.call(CALL, api.list(params)).await;
        Ok(list
            .map_err(|f| f.into_error(&format!("list {}", K::plural(&()))))?
            .items)
    }

    async fn metadata_list<K: NamespacedObject>(
        &self,
        filter: &LabelFilter,
        kind: ObjectKind,
    ) -> Result<Vec<Object>> {
        let api = self.server.all::<K>()?;
        let list = self.server.call(CALL, api.list_metadata(&params(filter))).await;
        let list = list.map_err(|f| f.into_error(&format!("list {}", K::plural(&()))))?;
        Ok(list
            .items
            .iter()
            .filter_map(|item| object(kind, item, None))
            .collect())
    }
}

/// The node ports of a service.
fn node_ports(service: Service) -> Vec<u16> {
    let Some(spec) = service.spec else {
        return Vec::new();
    };
    let ports = spec
        .ports
        .unwrap_or_default()
        .into_iter()
        .filter_map(|p| p.node_port)
        .chain(spec.health_check_node_port);
    ports
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .collect()
}

fn node_key(labels: &Labels) -> Option<NodeKey> {
    Some((labels.cluster, labels.generation, labels.node.clone()?))
}

fn object(kind: ObjectKind, object: &impl ResourceExt, state: Option<NodeState>) -> Option<Object> {
    let name = object.namespace().map_or_else(
        || object.name_any(),
        |namespace| format!("{namespace}/{}", object.name_any()),
    );
    let Some(labels) = labels_of(object) else {
        tracing::warn!(%name, ?kind, "an object with this instance's label has invalid cluster labels: ignoring it");
        return None;
    };
    let Labels {
        instance: _,
        cluster,
        generation,
        node,
        hash,
    } = labels;
    Some(Object {
        kind,
        name,
        id: object.uid().unwrap_or_default(),
        cluster,
        generation,
        node,
        hash,
        state,
    })
}

/// The state of a node by its stateful set and pod.
fn set_state(set: &StatefulSet, pod: Option<&Pod>) -> NodeState {
    if set.metadata.deletion_timestamp.is_some() {
        return NodeState::Changing("deleting".to_owned());
    }
    let wanted = set.spec.replicas.unwrap_or(1);
    match (pod, wanted) {
        (Some(pod), 1..) => PodStatus::of(pod).node_state(),
        (Some(_), _) => NodeState::Changing("stopping".to_owned()),
        (None, 1..) => NodeState::Changing("no pod yet".to_owned()),
        // Unchanged since its creation without a pod. Else exit code 0: the real one was lost with the pod.
        (None, _) if set.metadata.generation == Some(1) => NodeState::Created,
        (None, _) => NodeState::Exited(0),
    }
}

/// The state of a job by its conditions and pod. Only the job's condition means that it will not run again.
fn job_state(job: &Job, pod: Option<&Pod>) -> NodeState {
    if job.metadata.deletion_timestamp.is_some() {
        return NodeState::Changing("deleting".to_owned());
    }
    let code = || {
        pod.and_then(|pod| PodStatus::of(pod).termination())
            .map_or(1, |terminated| terminated.exit_code.into())
    };
    match (job_result(job), pod.map(|pod| PodStatus::of(pod).node_state())) {
        (Some(JobResult::Complete), _) => NodeState::Exited(0),
        (Some(JobResult::Failed(_)), _) => NodeState::Exited(code()),
        (None, None) => NodeState::Changing("no pod yet".to_owned()),
        (None, Some(NodeState::Exited(_))) => NodeState::Changing("ending".to_owned()),
        (None, Some(state)) => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_ends_with_its_condition() {
        let job = |condition: &str| -> Job {
            let conditions = json!([{ "type": condition, "status": "True" }]);
            serde_json::from_value(json!({ "metadata": {}, "status": { "conditions": conditions } }))
                .expect("a job")
        };
        let ended = json!({ "name": "node", "ready": false, "restartCount": 0, "image": "i", "imageID": "i",
            "state": { "terminated": { "exitCode": 7 } } });
        let pod: Pod =
            serde_json::from_value(json!({ "status": { "containerStatuses": [ended] } })).expect("a pod");
        assert_eq!(job_state(&job("Complete"), None), NodeState::Exited(0));
        assert_eq!(job_state(&job("Failed"), Some(&pod)), NodeState::Exited(7));
        assert_eq!(job_state(&job("Failed"), None), NodeState::Exited(1));
        assert!(matches!(
            job_state(&job("SuccessCriteriaMet"), Some(&pod)),
            NodeState::Changing(_)
        ));
        assert!(matches!(job_state(&Job::default(), None), NodeState::Changing(_)));
    }

    fn set(replicas: i32, generation: i64) -> StatefulSet {
        let spec = json!({ "replicas": replicas, "selector": {}, "serviceName": "v0", "template": {} });
        serde_json::from_value(json!({ "metadata": { "generation": generation }, "spec": spec }))
            .expect("a set")
    }

    #[test]
    fn a_set_without_a_pod_is_created_or_exited() {
        assert_eq!(set_state(&set(0, 1), None), NodeState::Created);
        assert_eq!(set_state(&set(0, 2), None), NodeState::Exited(0));
        assert!(matches!(set_state(&set(1, 1), None), NodeState::Changing(_)));
        assert!(matches!(
            set_state(&set(0, 2), Some(&Pod::default())),
            NodeState::Changing(_)
        ));
    }
}
