//! One node: its stateful set and what belongs to it, from absent to the wanted power, whatever is found on the way.

use crate::{
    KubernetesAgent,
    apply::{MANAGER, Part, labels_of, title},
    build::{Making, NodeObjects, label_map, pod_name, published_name},
    life::{Hindrance, Life},
    server::{CALL, Fault, SETTLE, absent_is_fine, look_again},
};
use chainpool_agent::{
    ClusterKey, Error, ImageRef, Incarnation, LABEL_HASH, LABEL_NODE, Labels, NodeName, NodeSpec, Place,
    Power, Result, network_name,
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

/// What a node or job is made with, beside its spec.
pub(crate) struct Stuff {
    /// The image that places files, where there are any.
    tools: Option<ImageRef>,
    /// The storage class of volumes, where there are any.
    class: Option<String>,
    /// The secret with which its image is pulled.
    pub(crate) login: Option<Secret>,
}

/// How long what hinders a pod may stay before it is told.
const PATIENCE: Duration = Duration::from_secs(20);

impl KubernetesAgent {
    /// Brings a node to `power`. Its stateful set is made last: one with the right hash shows that all else was made.
    pub(crate) async fn node_ensure(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        let replicas = i32::from(*power != Power::Off);
        let stuff = self.stuff(key, node, image).await?;
        let objects = self.making(key, node, image, &stuff).objects(replicas)?;
        let found = self.set_settled(&objects.set).await?;
        let right = found
            .as_ref()
            .is_some_and(|set| set.labels().get(LABEL_HASH) == Some(&node.hash.0));
        if right {
            Box::pin(self.parts_adopt(&objects)).await?;
            self.set_scale(&objects.set, found.as_ref(), replicas).await?;
        } else {
            if let Some(login) = &stuff.login {
                self.server.apply_blindly(login).await?;
            }
            Box::pin(self.parts_apply(&objects, node)).await?;
            let made = self.server.apply_over(&objects.set, found.as_ref()).await;
            made.map_err(|f| f.into_error(&format!("make {}", title(&objects.set))))?;
        }
        match power {
            Power::Off => Box::pin(self.pod_gone(key, node)).await?,
            Power::On { after } => Box::pin(self.pod_runs(key, node, after.as_ref())).await?,
        }
        if found.is_some() && !right {
            self.secrets_tidy(key, node).await
        } else {
            Ok(())
        }
    }

    /// Finds what a node or job is made with.
    pub(crate) async fn stuff(&self, key: &ClusterKey, node: &NodeSpec, image: &ImageRef) -> Result<Stuff> {
        let namespace = network_name(key);
        if !self.namespace_find(key).await? {
            return Err(Error::Refused(format!(
                "node {} has no namespace {namespace}: its network was not made, or is gone",
                node.name
            )));
        }
        Ok(Stuff {
            tools: if node.files.is_empty() {
                None
            } else {
                Some(self.tools().await?)
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

    pub(crate) fn making<'a>(
        &self,
        key: &'a ClusterKey,
        node: &'a NodeSpec,
        image: &'a ImageRef,
        stuff: &'a Stuff,
    ) -> Making<'a> {
        Making {
            instance: self.instance,
            key,
            node,
            image,
            tools: stuff.tools.as_ref(),
            storage_class: stuff.class.as_deref(),
            login: stuff
                .login
                .as_ref()
                .and_then(|secret| secret.metadata.name.as_deref()),
        }
    }

    /// The node's stateful set, if it is there; one that is going is waited for.
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
            if !look_again(deadline).await {
                return Err(Error::Busy(format!("{} is still being removed", title(wanted))));
            }
        }
    }

    /// What a right stateful set stands on is put back where somebody took it away.
    async fn parts_adopt(&self, objects: &NodeObjects) -> Result<()> {
        let NodeObjects {
            names,
            published,
            policy,
            secrets: _,
            claims,
            set: _,
        } = objects;
        let published = async {
            match published {
                Some(service) if self.server.find(service).await?.is_none() => {
                    self.service_publish(service).await
                }
                _ => Ok(()),
            }
        };
        let (names, policy) = (self.part_adopt(names.as_ref()), self.part_adopt(policy.as_ref()));
        let claims = futures::future::try_join_all(claims.iter().map(|claim| self.server.adopt(claim)));
        tokio::try_join!(names, published, policy, claims)?;
        Ok(())
    }

    /// Makes all but the stateful set. Claims keep what they hold and were made with.
    async fn parts_apply(&self, objects: &NodeObjects, node: &NodeSpec) -> Result<()> {
        let NodeObjects {
            names,
            published,
            policy,
            secrets,
            claims,
            set,
        } = objects;
        let namespace = set.namespace().unwrap_or_default();
        let published = async {
            match published {
                Some(service) => self.service_publish(service).await,
                None => {
                    self.server
                        .drop_ours::<Service>(&namespace, &published_name(&node.name), &node.name)
                        .await
                }
            }
        };
        let names = self.part_apply(names.as_ref(), &namespace, &node.name);
        let policy = self.part_apply(policy.as_ref(), &namespace, &node.name);
        let secrets =
            futures::future::try_join_all(secrets.iter().map(|secret| self.server.apply_blindly(secret)));
        let claims = futures::future::try_join_all(claims.iter().map(|claim| self.server.adopt(claim)));
        tokio::try_join!(names, published, policy, secrets, claims)?;
        Ok(())
    }

    async fn part_adopt<K: Part>(&self, part: Option<&K>) -> Result<()> {
        match part {
            Some(part) => self.server.adopt(part).await,
            None => Ok(()),
        }
    }

    /// Makes the part that has the node's name, or removes it where the node has none any more.
    async fn part_apply<K: Part>(&self, part: Option<&K>, namespace: &str, node: &NodeName) -> Result<()> {
        match part {
            Some(part) => self.server.apply(part).await,
            None => self.server.drop_ours::<K>(namespace, node.as_str(), node).await,
        }
    }

    async fn service_publish(&self, service: &Service) -> Result<()> {
        let found = self.server.find(service).await?;
        self.server
            .apply_over(service, found.as_ref())
            .await
            .map_err(|fault| publish_error(fault, service))
    }

    /// A change of power alone: the rest of the set is left as it was made, by whichever version of Chainpool.
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
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = wanted.name_any();
        self.server
            .call(CALL, api.patch_metadata(&name, &params, &patch))
            .await
            .map(drop)
            .map_err(|f| f.into_error(&format!("scale {}", title(wanted))))
    }

    /// Waits until no pod of the node is left.
    async fn pod_gone(&self, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
        let deadline = Instant::now() + SETTLE + Duration::from_secs(node.stop_timeout.into());
        let api: Api<Pod> = self.server.within(&network_name(key))?;
        let mut pods = pin!(watch_object(api, &pod_name(&node.name)));
        loop {
            match tokio::time::timeout_at(deadline, pods.next()).await {
                Ok(Some(Ok(None)) | None) => return Ok(()),
                Ok(Some(Ok(Some(_)))) => {}
                Ok(Some(Err(e))) => return Err(self.server.watch_fault(e).into_error("tell of its pods")),
                Err(_) => return Err(Error::Busy(format!("node {} does not stop", node.name))),
            }
        }
    }

    /// Waits until the node's process runs, or has run, in a life of this spec that is not `after`.
    async fn pod_runs(&self, key: &ClusterKey, node: &NodeSpec, after: Option<&Incarnation>) -> Result<()> {
        let deadline = Instant::now() + SETTLE + Duration::from_secs(node.stop_timeout.into());
        let api: Api<Pod> = self.server.within(&network_name(key))?;
        let mut pods = pin!(watch_object(api, &pod_name(&node.name)));
        let mut wait = Wait {
            node,
            after,
            first: true,
            hindrance: None,
        };
        loop {
            let until = wait
                .hindrance
                .as_ref()
                .map_or(deadline, |(since, _)| deadline.min(*since + PATIENCE));
            match tokio::time::timeout_at(until, pods.next()).await {
                Ok(Some(Ok(pod))) => match wait.step(pod.as_ref())? {
                    Step::Done => return Ok(()),
                    Step::Wait => {}
                    Step::Renew(uid) => self.pod_delete(key, node, uid).await?,
                },
                Ok(Some(Err(e))) => return Err(self.server.watch_fault(e).into_error("tell of its pods")),
                Ok(None) | Err(_) => {
                    return Err(self
                        .stuck(key, node, wait.hindrance.map(|(_, words)| words))
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
            // Another life has come already.
            Err(fault) if fault.is(409) => Ok(()),
            other => absent_is_fine(other).map_err(|f| f.into_error(&format!("restart node {}", node.name))),
        }
    }

    /// Why there is no running pod: what the pod says, else what the stateful set's events say.
    async fn stuck(&self, key: &ClusterKey, node: &NodeSpec, hindrance: Option<String>) -> Error {
        let events = async {
            let api: Api<Event> = self.server.within(&network_name(key)).ok()?;
            let params =
                ListParams::default().fields(&format!("involvedObject.name={},type=Warning", node.name));
            let list = self.server.call(CALL, api.list(&params)).await.ok()?;
            list.items.into_iter().next_back()?.message
        };
        let words = match hindrance {
            Some(words) if words != NO_POD => words,
            _ => events.await.unwrap_or_else(|| NO_POD.to_owned()),
        };
        Error::Busy(format!("node {} does not start: {words}", node.name))
    }

    /// Removes the secrets of the node's earlier specs.
    pub(crate) async fn secrets_tidy(&self, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
        let api: Api<Secret> = self.server.within(&network_name(key))?;
        let stale =
            ListParams::default().labels(&format!("{LABEL_NODE}={},{LABEL_HASH}!={}", node.name, node.hash));
        let params = DeleteParams::default();
        self.server
            .call(CALL, api.delete_collection(&params, &stale))
            .await
            .map(drop)
            .map_err(|f| f.into_error(&format!("remove old secrets of node {}", node.name)))
    }

    /// The node's pod, if there is one; of a stateful set that is not ours it is an error.
    pub(crate) async fn pod_find(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Pod>> {
        let namespace = network_name(key);
        let api: Api<Pod> = self.server.within(&namespace)?;
        let found = self
            .server
            .call(CALL, api.get_opt(&pod_name(node)))
            .await
            .map_err(|f| f.into_error(&format!("show the pod of node {node}")))?;
        let Some(pod) = found else {
            self.set_not_foreign(key, node).await?;
            return Ok(None);
        };
        let ours = Labels::of_cluster(self.instance, key).node(node);
        if labels_of(&pod).map(|labels| Labels { hash: None, ..labels }) != Some(ours) {
            return Err(Error::Foreign(title(&pod)));
        }
        Ok(Some(pod))
    }

    /// There is no pod, but the namespace or a resting stateful set may be somebody's.
    async fn set_not_foreign(&self, key: &ClusterKey, node: &NodeName) -> Result<()> {
        if !self.namespace_find(key).await? {
            return Ok(());
        }
        let api: Api<StatefulSet> = self.server.within(&network_name(key))?;
        let set = self
            .server
            .call(CALL, api.get_opt(node.as_str()))
            .await
            .map_err(|f| f.into_error(&format!("show the set of node {node}")))?;
        let ours = Labels::of_cluster(self.instance, key).node(node);
        match set {
            Some(set) if labels_of(&set).map(|labels| Labels { hash: None, ..labels }) != Some(ours) => {
                Err(Error::Foreign(title(&set)))
            }
            _ => Ok(()),
        }
    }
}

const NO_POD: &str = "the cluster makes no pod for it";

/// What comes next for a pod that shall run.
enum Step {
    Done,
    Wait,
    /// It must make room for another; its uid.
    Renew(Option<String>),
}

/// The wait for a node's process.
struct Wait<'a> {
    node: &'a NodeSpec,
    after: Option<&'a Incarnation>,
    /// Whether no pod was looked at yet.
    first: bool,
    /// Since when what hinders it.
    hindrance: Option<(Instant, String)>,
}

impl Wait<'_> {
    fn step(&mut self, pod: Option<&Pod>) -> Result<Step> {
        let Some(pod) = pod else {
            self.first = false;
            self.hinder(Some(NO_POD.to_owned()));
            return Ok(Step::Wait);
        };
        let (life, first) = (Life::of(pod), std::mem::take(&mut self.first));
        if life.is_ending() {
            self.hinder(None);
            return Ok(Step::Wait);
        }
        let renew = Ok(Step::Renew(pod.uid()));
        if pod.labels().get(LABEL_HASH) != Some(&self.node.hash.0) {
            return renew;
        }
        if let Some(incarnation) = life.incarnation() {
            return if self.after == Some(&incarnation) {
                renew
            } else {
                Ok(Step::Done)
            };
        }
        let hindrance = life.hindrance();
        let ended = life.ended().map(|ended| {
            Incarnation(format!(
                "{}/{}",
                pod.uid().unwrap_or_default(),
                ended.container_id.as_deref().unwrap_or_default()
            ))
        });
        // What was found dead or stuck gets one fresh start: the cluster itself would wait ever longer before its next try.
        if (first && (ended.is_some() || matches!(hindrance, Some(Hindrance::Lasting(_)))))
            || (ended.is_some() && ended.as_ref() == self.after)
        {
            return renew;
        }
        match hindrance {
            Some(Hindrance::Lasting(words)) => Err(Error::Refused(format!(
                "node {} does not start: {words}",
                self.node.name
            ))),
            Some(Hindrance::Passing(words)) => {
                self.hinder(Some(words));
                Ok(Step::Wait)
            }
            None if ended.is_some() => Ok(Step::Done),
            None => {
                self.hinder(None);
                Ok(Step::Wait)
            }
        }
    }

    fn hinder(&mut self, words: Option<String>) {
        let since = self
            .hindrance
            .as_ref()
            .map_or_else(Instant::now, |(since, _)| *since);
        self.hindrance = words.map(|words| (since, words));
    }
}

/// A port that somebody has is told as such, so that the planner can choose another.
fn publish_error(fault: Fault, service: &Service) -> Error {
    let ports = || {
        service
            .spec
            .iter()
            .flat_map(|s| s.ports.iter().flatten())
            .filter_map(|p| p.node_port)
            .filter_map(|p| u16::try_from(p).ok())
    };
    if fault.says("already allocated") {
        let named = ports().find(|port| fault.says(&format!("Invalid value: {port}:")));
        if let Some(port) = named {
            let words = format!(
                "port {port} of the cluster's machines is taken by another service: free it or give the host other ports"
            );
            return Error::Occupied {
                place: Place::Port(port),
                words,
            };
        }
    }
    if fault.says("not in the valid range") {
        let all = ports().map(|p| p.to_string()).collect::<Vec<_>>().join(", ");
        return Error::Refused(format!(
            "{}. Give the host ports in the range that the cluster has for them, not {all}",
            fault.into_error("publish them")
        ));
    }
    fault.into_error(&format!("make {}", title(service)))
}
