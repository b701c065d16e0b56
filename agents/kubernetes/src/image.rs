//! A node's image: found on the machines or pulled by one of them, then pinned.

use crate::{
    KubernetesAgent, namespace_objects,
    pod::{resources, security},
    server::{CALL, SETTLE, wait_for_retry},
};
use chainpool_agent::{Error, ImageName, ImageRef, ImageRequest, Result, absent_is_fine};
use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerStatus, LocalObjectReference, Namespace, Node, Pod, PodSecurityContext, PodSpec,
        SeccompProfile, Secret,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
    runtime::watcher::watch_object,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{
        PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Time limit for pulling an image.
const PULL: Duration = Duration::from_mins(10);
/// The place of present images, for errors.
const PLACE: &str = "on every machine of the cluster";
/// Label with the pulling instance. Pulls belong to no cluster, so the labels of cluster objects do not
/// apply.
const LABEL_PULL: &str = "chainpool.pull";
/// The command of a pulling pod. No image contains it, so nothing of the image ever runs.
const MISSING_COMMAND: &str = "/chainpool-only-pulls";

impl KubernetesAgent {
    /// Returns the first candidate that is present on all schedulable machines, else pulls the first
    /// available one.
    pub(crate) async fn image_ensure(&self, request: &ImageRequest) -> Result<ImageRef> {
        if request.candidates.is_empty() {
            return Err(request.unavailable(PLACE, &[]));
        }
        let nodes = self.server.all::<Node>()?;
        let nodes = self
            .server
            .call(CALL, nodes.list(&ListParams::default()))
            .await
            .map_err(|f| f.into_error("list nodes"))?
            .items;
        for name in self.images.present_names(&request.candidates) {
            if let Some(pinned) = pinned_on_all_machines(&nodes, &name) {
                return Ok(ImageRef { name, pinned });
            }
        }
        let pull = self.pull_namespace_create().await?;
        let found = self.pull_first(&pull.namespace, request).await;
        drop(pull);
        let removed = self.pull_namespace_delete().await;
        let found = found?;
        removed?;
        found.map_err(|reasons| request.unavailable(PLACE, &reasons))
    }

    /// Pulls the first available candidate. Returns the reasons if none is available.
    async fn pull_first(
        &self,
        namespace: &str,
        request: &ImageRequest,
    ) -> Result<Result<ImageRef, Vec<String>>> {
        let mut reasons = Vec::new();
        for name in self.images.pull_names(&request.candidates) {
            match self.image_pull(namespace, &name).await {
                Ok(pinned) => return Ok(Ok(ImageRef { name, pinned })),
                Err(Error::Refused(reason)) => reasons.push(format!("{name}: {reason}")),
                Err(error) => return Err(error),
            }
        }
        Ok(Err(reasons))
    }

    /// The image that places files. Searched once: it changes only with Chainpool's version.
    pub(crate) async fn tools_image(&self) -> Result<ImageRef> {
        let found = || self.tools_found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tools) = found().clone() {
            return Ok(tools);
        }
        let tools = self.image_ensure(&self.tools).await?;
        *found() = Some(tools.clone());
        Ok(tools)
    }

    /// The pull secret for this image, if it is in the registry of the credentials. Other registries must not
    /// get them.
    pub(crate) fn login(
        &self,
        image: &str,
        namespace: &str,
        labels: BTreeMap<String, String>,
    ) -> Option<Secret> {
        let login = self.images.login(image)?;
        Some(namespace_objects::login(
            namespace,
            labels,
            login.server(),
            &login.user,
            login.password.expose(),
        ))
    }

    /// Creates the namespace for pulls, which exists only while images are pulled.
    async fn pull_namespace_create(&self) -> Result<Pull<'_>> {
        let pull = Pull::begin(&self.pulls, self.pull_namespace());
        let mut labels = self.pull_labels();
        labels.extend(namespace_objects::restricted());
        let metadata = ObjectMeta {
            name: Some(pull.namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        self.namespace_create(&Namespace {
            metadata,
            ..Namespace::default()
        })
        .await?;
        Ok(pull)
    }

    fn pull_namespace(&self) -> String {
        format!("cp-pull-{}", &self.instance.0.simple().to_string()[20..])
    }

    fn pull_labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(LABEL_PULL.to_owned(), self.instance.to_string())])
    }

    /// Deletes the namespace when no pull is in progress, including leftovers of a killed process.
    pub(crate) async fn pull_namespace_delete(&self) -> Result<()> {
        if self.pulls.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        let namespace = &*self.pull_namespace();
        let api: Api<Namespace> = self.server.all()?;
        let found = self
            .server
            .call(CALL, api.get_opt(namespace))
            .await
            .map_err(|f| f.into_error(&format!("get the namespace {namespace}")))?;
        let is_ours = |found: &Namespace| found.labels().get(LABEL_PULL) == Some(&self.instance.to_string());
        let Some(found) = found.filter(is_ours) else {
            return Ok(());
        };
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: found.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.server.call(CALL, api.delete(namespace, &params)).await {
            Err(error) if error.has_code(409) => Ok(()),
            other => {
                absent_is_fine(other).map_err(|f| f.into_error(&format!("delete the namespace {namespace}")))
            }
        }
    }

    /// Pulls an image on a machine by a pod that cannot run. Returns the pinned reference.
    async fn image_pull(&self, namespace: &str, image: &str) -> Result<String> {
        let login = self.login(image, namespace, self.pull_labels());
        if let Some(login) = &login {
            self.server.apply_unchecked(login).await?;
        }
        let pods: Api<Pod> = self.server.within(namespace)?;
        let name = self
            .pull_pod_create(
                &pods,
                &pull_pod(image, login.as_ref().and_then(|l| l.metadata.name.as_deref())),
            )
            .await?;
        let outcome = tokio::time::timeout(PULL, self.pull_watch(pods.clone(), &name, image)).await;
        let deleted = self
            .server
            .call(CALL, pods.delete(&name, &DeleteParams::default().grace_period(0)))
            .await;
        absent_is_fine(deleted).map_err(|f| f.into_error(&format!("delete the pod {namespace}/{name}")))?;
        outcome.unwrap_or_else(|_| {
            Err(Error::Refused(format!(
                "pull timed out after {} min",
                PULL.as_secs() / 60
            )))
        })
    }

    /// Creates the pod. A new namespace has no service account at first.
    async fn pull_pod_create(&self, pods: &Api<Pod>, pod: &Pod) -> Result<String> {
        let deadline = Instant::now() + SETTLE;
        loop {
            match self
                .server
                .call(CALL, pods.create(&PostParams::default(), pod))
                .await
            {
                Ok(pod) => return Ok(pod.name_any()),
                Err(error)
                    if error.message_contains("serviceaccount")
                        && error.message_contains("not found")
                        && wait_for_retry(deadline).await => {}
                Err(error) => return Err(error.into_error("create a pod to pull an image")),
            }
        }
    }

    async fn pull_watch(&self, pods: Api<Pod>, name: &str, image: &str) -> Result<String> {
        let mut events = pin!(watch_object(pods, name));
        loop {
            match events.next().await {
                Some(Ok(Some(pod))) => match pull_outcome(&pod, image) {
                    Some(Ok(pinned)) => return Ok(pinned),
                    Some(Err(reason)) => return Err(Error::Refused(reason)),
                    None => {}
                },
                Some(Ok(None)) | None => {
                    return Err(Error::Busy(format!("the pod that pulls {image} was deleted")));
                }
                Some(Err(e)) => return Err(self.server.watch_error(e).into_error("watch pods")),
            }
        }
    }
}

/// A pull in progress in this process.
struct Pull<'a> {
    namespace: String,
    count: &'a AtomicUsize,
}

impl<'a> Pull<'a> {
    fn begin(count: &'a AtomicUsize, namespace: String) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self { namespace, count }
    }
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The pinned reference of an image that is present on all schedulable machines.
fn pinned_on_all_machines(nodes: &[Node], name: &str) -> Option<String> {
    let wanted = ImageName(name).full();
    let repository = format!("{}@", ImageName(&wanted).repository());
    let schedulable = nodes
        .iter()
        .filter(|n| n.spec.as_ref().and_then(|s| s.unschedulable) != Some(true));
    let mut digests: Option<BTreeSet<&String>> = None;
    let mut any = false;
    for node in schedulable {
        any = true;
        let mut images = node
            .status
            .iter()
            .flat_map(|s| s.images.iter().flatten())
            .filter_map(|i| i.names.as_ref());
        let names = images.find(|names| names.contains(&wanted))?;
        let here: BTreeSet<_> = names.iter().filter(|n| n.starts_with(&repository)).collect();
        digests = Some(digests.map_or(here.clone(), |all| all.intersection(&here).copied().collect()));
    }
    // Without a common digest, use the name.
    any.then(|| {
        digests
            .and_then(|d| d.into_iter().next().cloned())
            .unwrap_or_else(|| name.to_owned())
    })
}

/// The outcome of a pull by the pod's status: the pinned image or the reason of failure; `None` while
/// pulling.
fn pull_outcome(pod: &Pod, image: &str) -> Option<Result<String, String>> {
    let status = pod.status.as_ref()?;
    let ContainerStatus { image_id, state, .. } = status.container_statuses.as_ref()?.first()?;
    if !image_id.is_empty() {
        let id = image_id.split_once("://").map_or(image_id.as_str(), |(_, id)| id);
        return Some(Ok(if id.contains("@sha256:") {
            id.to_owned()
        } else {
            image.to_owned()
        }));
    }
    let waiting = state.as_ref()?.waiting.as_ref()?;
    match waiting.reason.as_deref()? {
        "ContainerCreating" | "PodInitializing" => None,
        reason @ ("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "RegistryUnavailable") => {
            Some(Err(waiting
                .message
                .clone()
                .filter(|m| !m.is_empty())
                .unwrap_or_else(|| reason.to_owned())))
        }
        // The pull succeeded; only the missing command failed to start.
        _ => Some(Ok(image.to_owned())),
    }
}

fn pull_pod(image: &str, login: Option<&str>) -> Pod {
    Pod {
        metadata: ObjectMeta {
            generate_name: Some("pull-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![Container {
                name: "pull".to_owned(),
                image: Some(image.to_owned()),
                image_pull_policy: Some("IfNotPresent".to_owned()),
                command: Some(vec![MISSING_COMMAND.to_owned()]),
                resources: Some(resources("16Mi", None)),
                security_context: Some(security(true)),
                ..Container::default()
            }],
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(10_001),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            image_pull_secrets: login.map(|name| {
                vec![LocalObjectReference {
                    name: name.to_owned(),
                }]
            }),
            restart_policy: Some("Never".to_owned()),
            active_deadline_seconds: Some(PULL.as_secs().try_into().unwrap_or(i64::MAX)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            ..PodSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(names: &[&str]) -> Node {
        serde_json::from_value(json!({ "status": { "images": [{ "names": names }] } })).expect("a node")
    }

    #[test]
    fn an_image_is_present_when_every_machine_has_it() {
        let with = node(&["docker.io/a/b:1", "docker.io/a/b@sha256:0"]);
        assert_eq!(
            pinned_on_all_machines(std::slice::from_ref(&with), "a/b:1").as_deref(),
            Some("docker.io/a/b@sha256:0")
        );
        assert_eq!(
            pinned_on_all_machines(&[with.clone(), node(&["docker.io/a/b:1"])], "a/b:1").as_deref(),
            Some("a/b:1")
        );
        assert_eq!(pinned_on_all_machines(&[with, node(&[])], "a/b:1"), None);
        assert_eq!(pinned_on_all_machines(&[], "a/b:1"), None);
    }

    #[test]
    fn the_pull_outcome_is_read_from_the_pod_status() {
        let pod = |id: &str, reason: &str| -> Pod {
            let state = json!({ "waiting": { "reason": reason, "message": "no such host" } });
            let status = json!({ "name": "pull", "image": "a", "imageID": id, "ready": false, "restartCount": 0, "state": state });
            serde_json::from_value(json!({ "status": { "containerStatuses": [status] } })).expect("a pod")
        };
        assert_eq!(pull_outcome(&pod("", "ContainerCreating"), "a:1"), None);
        assert_eq!(
            pull_outcome(&pod("", "ErrImagePull"), "a:1"),
            Some(Err("no such host".into()))
        );
        assert_eq!(
            pull_outcome(&pod("", "RunContainerError"), "a:1"),
            Some(Ok("a:1".into()))
        );
        assert_eq!(
            pull_outcome(&pod("docker.io/a@sha256:0", "x"), "a:1"),
            Some(Ok("docker.io/a@sha256:0".into()))
        );
        assert_eq!(pull_outcome(&pod("sha256:0", "x"), "a:1"), Some(Ok("a:1".into())));
    }
}
