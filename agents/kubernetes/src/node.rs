//! One node: reconciles its stateful set and dependent objects to the wanted power, from any state.

use crate::{
    KubernetesAgent,
    apply::{FIELD_MANAGER, NamespacedObject, labels_of, title},
    build::{NodeObjects, pod_name, published_name},
    node_builder::{NodeBuilder, label_map},
    pod_status::{PodStatus, StartFailure},
    server::{CALL, CallError, SETTLE, wait_for_retry},
};
use chainpool_agent::{
    ClusterKey, Error, ImageRef, Incarnation, LABEL_HASH, LABEL_NODE, Labels, NodeName, NodeSpec, Place,
    Power, Result, absent_is_fine, network_name,
};
use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Event, Pod, Secret, Service},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    runtime::watcher::watch_object,
};
use serde_json::json;
use std::{pin::pin, time::Duration};
use tokio::time::Instant;

/// Cluster objects and settings that a node or job needs beside its spec.
pub(crate) struct NodeDependencies {
    /// The image that places files, if there are any.
    tools: Option<ImageRef>,
    /// The storage class of volumes, if there are any.
    class: Option<String>,
    /// The pull secret of the image.
    pub(crate) login: Option<Secret>,
}

/// How long a transient start failure may last before it is reported.
const START_FAILURE_GRACE: Duration = Duration::from_secs(20);

impl KubernetesAgent {
    /// Brings a node to `power`. The stateful set is applied last: if it has the right hash, all other
    /// objects exist.
    pub(crate) async fn node_ensure(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        let replicas = i32::from(*power != Power::Off);
        let dependencies = self.node_dependencies(key, node, image).await?;
        let objects = self
            .node_builder(key, node, image, &dependencies)
            .objects(replicas)?;
        let found = self.set_settled(&objects.set).await?;
        let is_current = found
            .as_ref()
            .is_some_and(|set| set.labels().get(LABEL_HASH) == Some(&node.hash.0));
        if is_current {
            Box::pin(self.objects_adopt(&objects)).await?;
            self.set_scale(&objects.set, found.as_ref(), replicas).await?;
        } else {
            if let Some(login) = &dependencies.login {
                self.server.apply_unchecked(login).await?;
            }
            Box::pin(self.objects_apply(&objects, node)).await?;
            let applied = self.server.apply_over(&objects.set, found.as_ref()).await;
            applied.map_err(|e| e.into_error(&format!("apply {}", title(&objects.set))))?;
        }
        match power {
            Power::Off => Box::pin(self.pod_wait_deleted(key, node)).await?,
            Power::On { after } => Box::pin(self.pod_wait_running(key, node, after.as_ref())).await?,
        }
        if found.is_some() && !is_current {
            self.stale_secrets_delete(key, node).await
        } else {
            Ok(())
        }
    }

    /// Finds the dependencies of a node or job.
    pub(crate) async fn node_dependencies(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
    ) -> Result<NodeDependencies> {
        let namespace = network_name(key);
        if !self.namespace_find(key).await? {
            return Err(Error::Refused(format!(
                "node {} has no namespace {namespace}: its network was not created or was deleted",
                node.name
            )));
        }
        Ok(NodeDependencies {
            tools: if node.files.is_empty() {
                None
            } else {
                Some(self.tools_image().await?)
            },
            class: if node.volumes.is_empty() {
                None
            } else {
                Some(self.storage_class().await?)
            },
            login: self.login(
                &image.name,
                &namespace,
                label_map(&Labels::of_cluster(self.instance, key)),
            ),
        })
    }

    pub(crate) fn node_builder<'a>(
        &self,
        key: &'a ClusterKey,
        node: &'a NodeSpec,
        image: &'a ImageRef,
        dependencies: &'a NodeDependencies,
    ) -> NodeBuilder<'a> {
        NodeBuilder {
            instance: self.instance,
            key,
            node,
            image,
            tools: dependencies.tools.as_ref(),
            storage_class: dependencies.class.as_deref(),
            login: dependencies
                .login
                .as_ref()
                .and_then(|secret| secret.metadata.name.as_deref()),
        }
    }

    /// The node's stateful set, if it exists. Waits while an old one is being deleted.
    async fn set_settled(&self, wanted: &StatefulSet) -> Result<Option<StatefulSet>> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let found = self.server.find(wanted).await?;
            if found
                .as_ref()
                .is_none_or(|set| set.metadata.deletion_timestamp.is_none())
            {
                return Ok(found);
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!("{} is still being deleted", title(wanted))));
            }
        }
    }

    /// Recreates missing objects that a current stateful set depends on.
    async fn objects_adopt(&self, objects: &NodeObjects) -> Result<()> {
        let NodeObjects {
            peer_service,
            published_service,
            policy,
            secrets: _,
            claims,
            set: _,
        } = objects;
        let published_service = async {
            match published_service {
                Some(service) if self.server.find(service).await?.is_none() => {
                    self.service_publish(service).await
                }
                _ => Ok(()),
            }
        };
        let (peer_service, policy) = (
            self.object_adopt(peer_service.as_ref()),
            self.object_adopt(policy.as_ref()),
        );
        let claims = futures::future::try_join_all(claims.iter().map(|claim| self.server.adopt(claim)));
        tokio::try_join!(peer_service, published_service, policy, claims)?;
        Ok(())
    }

    /// Applies all objects except the stateful set. Existing claims keep their data and settings.
    async fn objects_apply(&self, objects: &NodeObjects, node: &NodeSpec) -> Result<()> {
        let NodeObjects {
            peer_service,
            published_service,
            policy,
            secrets,
            claims,
            set,
        } = objects;
        let namespace = set.namespace().unwrap_or_default();
        let published_service = async {
            match published_service {
                Some(service) => self.service_publish(service).await,
                None => {
                    self.server
                        .delete_owned::<Service>(&namespace, &published_name(&node.name), &node.name)
                        .await
                }
            }
        };
        let peer_service = self.object_apply(peer_service.as_ref(), &namespace, &node.name);
        let policy = self.object_apply(policy.as_ref(), &namespace, &node.name);
        let secrets =
            futures::future::try_join_all(secrets.iter().map(|secret| self.server.apply_unchecked(secret)));
        let claims = futures::future::try_join_all(claims.iter().map(|claim| self.server.adopt(claim)));
        tokio::try_join!(peer_service, published_service, policy, secrets, claims)?;
        Ok(())
    }

    async fn object_adopt<K: NamespacedObject>(&self, object: Option<&K>) -> Result<()> {
        match object {
            Some(object) => self.server.adopt(object).await,
            None => Ok(()),
        }
    }

    /// Applies the object with the node's name, or deletes it if the spec has none.
    async fn object_apply<K: NamespacedObject>(
        &self,
        object: Option<&K>,
        namespace: &str,
        node: &NodeName,
    ) -> Result<()> {
        match object {
            Some(object) => self.server.apply(object).await,
            None => {
                self.server
                    .delete_owned::<K>(namespace, node.as_str(), node)
                    .await
            }
        }
    }

    async fn service_publish(&self, service: &Service) -> Result<()> {
        let found = self.server.find(service).await?;
        self.server
            .apply_over(service, found.as_ref())
            .await
            .map_err(|error| publish_error(error, service))
    }

    /// Changes only the replicas: the rest of the set stays as its version of Chainpool created it.
    async fn set_scale(
        &self,
        wanted: &StatefulSet,
        found: Option<&StatefulSet>,
        replicas: i32,
    ) -> Result<()> {
        let Some(found) = found.filter(|set| set.spec.replicas != Some(replicas)) else {
            return Ok(());
        };
        let api: Api<StatefulSet> = self.server.within(&wanted.namespace().unwrap_or_default())?;
        let patch =
            Patch::Merge(json!({ "metadata": { "uid": found.uid() }, "spec": { "replicas": replicas } }));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = wanted.name_any();
        self.server
            .call(CALL, api.patch_metadata(&name, &params, &patch))
            .await
            .map(drop)
            .map_err(|f| f.into_error(&format!("scale {}", title(wanted))))
    }

    /// Waits until the node has no pod.
    async fn pod_wait_deleted(&self, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
        let deadline = Instant::now() + SETTLE + Duration::from_secs(node.stop_timeout.into());
        let api: Api<Pod> = self.server.within(&network_name(key))?;
        let mut pods = pin!(watch_object(api, &pod_name(&node.name)));
        loop {
            match tokio::time::timeout_at(deadline, pods.next()).await {
                Ok(Some(Ok(None)) | None) => return Ok(()),
                Ok(Some(Ok(Some(_)))) => {}
                Ok(Some(Err(e))) => return Err(self.server.watch_error(e).into_error("watch pods")),
                Err(_) => return Err(Error::Busy(format!("node {} does not stop", node.name))),
            }
        }
    }

    /// Waits until the node's process runs, or has run, in an incarnation of this spec other than `after`.
    async fn pod_wait_running(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        after: Option<&Incarnation>,
    ) -> Result<()> {
        let deadline = Instant::now() + SETTLE + Duration::from_secs(node.stop_timeout.into());
        let api: Api<Pod> = self.server.within(&network_name(key))?;
        let mut pods = pin!(watch_object(api, &pod_name(&node.name)));
        let mut wait = StartWait {
            node,
            after,
            first: true,
            failure: None,
        };
        loop {
            let until = wait
                .failure
                .as_ref()
                .map_or(deadline, |(since, _)| deadline.min(*since + START_FAILURE_GRACE));
            match tokio::time::timeout_at(until, pods.next()).await {
                Ok(Some(Ok(pod))) => match wait.step(pod.as_ref())? {
                    Step::Done => return Ok(()),
                    Step::Wait => {}
                    Step::Replace(uid) => self.pod_delete(key, node, uid).await?,
                },
                Ok(Some(Err(e))) => return Err(self.server.watch_error(e).into_error("watch pods")),
                Ok(None) | Err(_) => {
                    return Err(self
                        .start_timeout(key, node, wait.failure.map(|(_, reason)| reason))
                        .await);
                }
            }
        }
    }

    async fn pod_delete(&self, key: &ClusterKey, node: &NodeSpec, uid: Option<String>) -> Result<()> {
        let api: Api<Pod> = self.server.within(&network_name(key))?;
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid,
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self
            .server
            .call(CALL, api.delete(&pod_name(&node.name), &params))
            .await
        {
            // The pod has already been replaced.
            Err(error) if error.has_code(409) => Ok(()),
            other => absent_is_fine(other).map_err(|f| f.into_error(&format!("restart node {}", node.name))),
        }
    }

    /// The error for a missing or failing pod, with the reason of the pod, else of the stateful set's events.
    async fn start_timeout(&self, key: &ClusterKey, node: &NodeSpec, failure: Option<String>) -> Error {
        let events = async {
            let api: Api<Event> = self.server.within(&network_name(key)).ok()?;
            let params =
                ListParams::default().fields(&format!("involvedObject.name={},type=Warning", node.name));
            let list = self.server.call(CALL, api.list(&params)).await.ok()?;
            list.items.into_iter().next_back()?.message
        };
        let reason = match failure {
            Some(reason) if reason != NO_POD => reason,
            _ => events.await.unwrap_or_else(|| NO_POD.to_owned()),
        };
        Error::Busy(format!("node {} does not start: {reason}", node.name))
    }

    /// Deletes the secrets of the node's previous specs.
    pub(crate) async fn stale_secrets_delete(&self, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
        let api: Api<Secret> = self.server.within(&network_name(key))?;
        let stale =
            ListParams::default().labels(&format!("{LABEL_NODE}={},{LABEL_HASH}!={}", node.name, node.hash));
        let params = DeleteParams::default();
        self.server
            .call(CALL, api.delete_collection(&params, &stale))
            .await
            .map(drop)
            .map_err(|f| f.into_error(&format!("delete old secrets of node {}", node.name)))
    }

    /// The node's pod, if it exists. A foreign pod or stateful set of that name is an error.
    pub(crate) async fn pod_find(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Pod>> {
        let namespace = network_name(key);
        let api: Api<Pod> = self.server.within(&namespace)?;
        let found = self
            .server
            .call(CALL, api.get_opt(&pod_name(node)))
            .await
            .map_err(|f| f.into_error(&format!("get the pod of node {node}")))?;
        let Some(pod) = found else {
            self.check_set_not_foreign(key, node).await?;
            return Ok(None);
        };
        let ours = Labels::of_cluster(self.instance, key).node(node);
        if labels_of(&pod).map(|labels| Labels { hash: None, ..labels }) != Some(ours) {
            return Err(Error::Foreign(title(&pod)));
        }
        Ok(Some(pod))
    }

    /// Refuses a foreign namespace or stateful set, which may exist without a pod.
    async fn check_set_not_foreign(&self, key: &ClusterKey, node: &NodeName) -> Result<()> {
        if !self.namespace_find(key).await? {
            return Ok(());
        }
        let api: Api<StatefulSet> = self.server.within(&network_name(key))?;
        let set = self
            .server
            .call(CALL, api.get_opt(node.as_str()))
            .await
            .map_err(|f| f.into_error(&format!("get the stateful set of node {node}")))?;
        let ours = Labels::of_cluster(self.instance, key).node(node);
        match set {
            Some(set) if labels_of(&set).map(|labels| Labels { hash: None, ..labels }) != Some(ours) => {
                Err(Error::Foreign(title(&set)))
            }
            _ => Ok(()),
        }
    }
}

const NO_POD: &str = "the cluster creates no pod for it";

/// The next step for a pod that must run.
enum Step {
    Done,
    Wait,
    /// Delete the pod with this uid, so that another replaces it.
    Replace(Option<String>),
}

/// State of waiting for a node's process.
struct StartWait<'a> {
    node: &'a NodeSpec,
    after: Option<&'a Incarnation>,
    /// True until a pod was checked.
    first: bool,
    /// The current start failure and the time of its beginning.
    failure: Option<(Instant, String)>,
}

impl StartWait<'_> {
    fn step(&mut self, pod: Option<&Pod>) -> Result<Step> {
        let Some(pod) = pod else {
            self.first = false;
            self.note_failure(Some(NO_POD.to_owned()));
            return Ok(Step::Wait);
        };
        let (status, first) = (PodStatus::of(pod), std::mem::take(&mut self.first));
        if status.is_terminating() {
            self.note_failure(None);
            return Ok(Step::Wait);
        }
        let replace = Ok(Step::Replace(pod.uid()));
        if pod.labels().get(LABEL_HASH) != Some(&self.node.hash.0) {
            return replace;
        }
        if let Some(incarnation) = status.incarnation() {
            return if self.after == Some(&incarnation) {
                replace
            } else {
                Ok(Step::Done)
            };
        }
        let failure = status.start_failure();
        let terminated = status.termination().map(|terminated| {
            Incarnation(format!(
                "{}/{}",
                pod.uid().unwrap_or_default(),
                terminated.container_id.as_deref().unwrap_or_default()
            ))
        });
        // Replace a dead or stuck pod once: the cluster itself backs off longer before each retry.
        if (first && (terminated.is_some() || matches!(failure, Some(StartFailure::Permanent(_)))))
            || (terminated.is_some() && terminated.as_ref() == self.after)
        {
            return replace;
        }
        match failure {
            Some(StartFailure::Permanent(reason)) => Err(Error::Refused(format!(
                "node {} does not start: {reason}",
                self.node.name
            ))),
            Some(StartFailure::Transient(reason)) => {
                self.note_failure(Some(reason));
                Ok(Step::Wait)
            }
            None if terminated.is_some() => Ok(Step::Done),
            None => {
                self.note_failure(None);
                Ok(Step::Wait)
            }
        }
    }

    fn note_failure(&mut self, reason: Option<String>) {
        let since = self
            .failure
            .as_ref()
            .map_or_else(Instant::now, |(since, _)| *since);
        self.failure = reason.map(|reason| (since, reason));
    }
}

/// The error of a failed publish. An occupied port is [`Error::Occupied`], so that the planner chooses
/// another.
fn publish_error(error: CallError, service: &Service) -> Error {
    let ports = || {
        service
            .spec
            .iter()
            .flat_map(|s| s.ports.iter().flatten())
            .filter_map(|p| p.node_port)
            .filter_map(|p| u16::try_from(p).ok())
    };
    if error.message_contains("already allocated") {
        let named = ports().find(|port| error.message_contains(&format!("Invalid value: {port}:")));
        if let Some(port) = named {
            let reason = format!(
                "port {port} of the cluster's machines is used by another service: free it or set another port range for the host"
            );
            return Error::Occupied {
                place: Place::Port(port),
                reason,
            };
        }
    }
    if error.message_contains("not in the valid range") {
        let all = ports().map(|p| p.to_string()).collect::<Vec<_>>().join(", ");
        return Error::Refused(format!(
            "{}. Set the host's ports to the cluster's node port range; {all} is outside of it",
            error.into_error("publish ports")
        ));
    }
    error.into_error(&format!("apply {}", title(service)))
}
