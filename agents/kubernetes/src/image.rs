//! A node's image: found on the machines, or pulled by one of them, and pinned.

use crate::{
    KubernetesAgent,
    pod::{resources, security},
    reference::{full, registry_of, repository_of},
    server::{CALL, SETTLE, absent_is_fine, look_again},
    whole,
};
use chainpool_agent::{Error, ImageRef, Result};
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

/// How long an image may take to come.
const PULL: Duration = Duration::from_mins(10);
/// Label: the instance that pulls. No cluster is behind it, so the labels of clusters' objects do not fit.
const LABEL_PULL: &str = "chainpool.pull";
/// What a pulling pod would run; no image has it, so that nothing of the image ever runs.
const NOTHING: &str = "/chainpool-only-pulls";

impl KubernetesAgent {
    /// Finds the first candidate that every open machine has, else pulls the first that can be had. With a mirror, a name
    /// without a registry of its own is pulled through the mirror alone, but one that is present under its bare name will do.
    pub(crate) async fn image_ensure(&self, candidates: &[String]) -> Result<ImageRef> {
        if candidates.is_empty() {
            return Err(Error::Refused("no image was named".to_owned()));
        }
        let nodes = self.server.all::<Node>()?;
        let nodes = self
            .server
            .call(CALL, nodes.list(&ListParams::default()))
            .await
            .map_err(|f| f.into_error("list its machines"))?
            .items;
        for candidate in candidates {
            let mirrored = self.mirrored(candidate);
            for name in mirrored.iter().chain([candidate]) {
                if let Some(pinned) = present(&nodes, name) {
                    return Ok(ImageRef {
                        name: name.clone(),
                        pinned,
                    });
                }
            }
        }
        let pull = self.pulling_start().await?;
        let found = self.pull_first(&pull.namespace, candidates).await;
        drop(pull);
        let ended = self.pulling_end().await;
        let found = found?;
        ended?;
        found.map_err(|reasons| missing(candidates, &reasons))
    }

    /// Pulls the first candidate that can be had; where none can, why not.
    async fn pull_first(
        &self,
        namespace: &str,
        candidates: &[String],
    ) -> Result<Result<ImageRef, Vec<String>>> {
        let mut reasons = Vec::new();
        for candidate in candidates {
            let name = self.mirrored(candidate).unwrap_or_else(|| candidate.clone());
            match self.image_pull(namespace, &name).await {
                Ok(pinned) => return Ok(Ok(ImageRef { name, pinned })),
                Err(Error::Refused(words)) => reasons.push(format!("{name}: {words}")),
                Err(error) => return Err(error),
            }
        }
        Ok(Err(reasons))
    }

    /// The image that places files. Looked for once: it changes with Chainpool's version alone.
    pub(crate) async fn tools(&self) -> Result<ImageRef> {
        if let Some(tools) = self.tools.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(tools);
        }
        let tools = self
            .image_ensure(&[concat!("chainpool/tools:", env!("CARGO_PKG_VERSION")).to_owned()])
            .await?;
        *self.tools.lock().unwrap_or_else(PoisonError::into_inner) = Some(tools.clone());
        Ok(tools)
    }

    /// The name on the mirror; `None` without a mirror, or when the name has a registry of its own.
    fn mirrored(&self, name: &str) -> Option<String> {
        let mirror = self.mirror.as_deref()?.trim_end_matches('/');
        registry_of(name).is_none().then(|| format!("{mirror}/{name}"))
    }

    /// The secret with which a machine pulls this image, where it is of the login's registry. Others must not learn it.
    pub(crate) fn login(
        &self,
        image: &str,
        namespace: &str,
        labels: BTreeMap<String, String>,
    ) -> Option<Secret> {
        let login = self.registry.as_ref().filter(|login| login.is_for(image))?;
        Some(whole::login(
            namespace,
            labels,
            login.server(),
            &login.user,
            login.password.expose(),
        ))
    }

    /// The namespace for pulling, which lives as long as something is pulled.
    async fn pulling_start(&self) -> Result<Pull<'_>> {
        let pull = Pull::begin(&self.pulls, self.pull_namespace());
        let mut labels = self.pull_labels();
        labels.extend(whole::restricted());
        let metadata = ObjectMeta {
            name: Some(pull.namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        self.namespace_make(&Namespace {
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

    /// Removes the namespace when nothing is pulled, with what a process left there that was killed.
    pub(crate) async fn pulling_end(&self) -> Result<()> {
        if self.pulls.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        let namespace = &*self.pull_namespace();
        let api: Api<Namespace> = self.server.all()?;
        let found = self
            .server
            .call(CALL, api.get_opt(namespace))
            .await
            .map_err(|f| f.into_error(&format!("show the namespace {namespace}")))?;
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
            Err(fault) if fault.is(409) => Ok(()),
            other => {
                absent_is_fine(other).map_err(|f| f.into_error(&format!("remove the namespace {namespace}")))
            }
        }
    }

    /// Has a machine pull an image, by a pod that cannot run; says how the image is pinned.
    async fn image_pull(&self, namespace: &str, image: &str) -> Result<String> {
        let login = self.login(image, namespace, self.pull_labels());
        if let Some(login) = &login {
            self.server.apply_blindly(login).await?;
        }
        let pods: Api<Pod> = self.server.within(namespace)?;
        let name = self
            .pulling_pod(
                &pods,
                &pull_pod(image, login.as_ref().and_then(|l| l.metadata.name.as_deref())),
            )
            .await?;
        let outcome = tokio::time::timeout(PULL, self.pull_watch(pods.clone(), &name, image)).await;
        let gone = self
            .server
            .call(CALL, pods.delete(&name, &DeleteParams::default().grace_period(0)))
            .await;
        absent_is_fine(gone).map_err(|f| f.into_error(&format!("remove the pod {namespace}/{name}")))?;
        outcome.unwrap_or_else(|_| {
            Err(Error::Refused(format!(
                "not pulled within {} min",
                PULL.as_secs() / 60
            )))
        })
    }

    /// Makes the pod. A new namespace has no account for pods in its first moments.
    async fn pulling_pod(&self, pods: &Api<Pod>, pod: &Pod) -> Result<String> {
        let deadline = Instant::now() + SETTLE;
        loop {
            match self
                .server
                .call(CALL, pods.create(&PostParams::default(), pod))
                .await
            {
                Ok(made) => return Ok(made.name_any()),
                Err(fault)
                    if fault.says("serviceaccount")
                        && fault.says("not found")
                        && look_again(deadline).await => {}
                Err(fault) => return Err(fault.into_error("make a pod that pulls")),
            }
        }
    }

    async fn pull_watch(&self, pods: Api<Pod>, name: &str, image: &str) -> Result<String> {
        let mut told = pin!(watch_object(pods, name));
        loop {
            match told.next().await {
                Some(Ok(Some(pod))) => match pulled(&pod, image) {
                    Some(Ok(pinned)) => return Ok(pinned),
                    Some(Err(words)) => return Err(Error::Refused(words)),
                    None => {}
                },
                Some(Ok(None)) | None => {
                    return Err(Error::Busy(format!("the pod that pulls {image} was removed")));
                }
                Some(Err(e)) => return Err(self.server.watch_fault(e).into_error("tell of its pods")),
            }
        }
    }
}

/// One pull under way, by this process.
struct Pull<'a> {
    namespace: String,
    all: &'a AtomicUsize,
}

impl<'a> Pull<'a> {
    fn begin(all: &'a AtomicUsize, namespace: String) -> Self {
        all.fetch_add(1, Ordering::SeqCst);
        Self { namespace, all }
    }
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How the image is pinned, when every machine that takes pods has it.
fn present(nodes: &[Node], name: &str) -> Option<String> {
    let wanted = full(name);
    let repository = format!("{}@", repository_of(&wanted));
    let open = nodes
        .iter()
        .filter(|n| n.spec.as_ref().and_then(|s| s.unschedulable) != Some(true));
    let mut digests: Option<BTreeSet<&String>> = None;
    let mut any = false;
    for node in open {
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
    // Without a digest that all machines agree on, its name must do.
    any.then(|| {
        digests
            .and_then(|d| d.into_iter().next().cloned())
            .unwrap_or_else(|| name.to_owned())
    })
}

/// What a pulling pod tells: the pinned image, why there is none, or nothing yet.
fn pulled(pod: &Pod, image: &str) -> Option<Result<String, String>> {
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
        // It came as far as starting what is not in the image.
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
                command: Some(vec![NOTHING.to_owned()]),
                resources: Some(resources("16Mi")),
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

fn missing(candidates: &[String], reasons: &[String]) -> Error {
    let make = candidates
        .iter()
        .find_map(|c| repository_of(c).rsplit('/').next())
        .map(|name| name.strip_prefix("chainpool-").unwrap_or(name));
    let make = make.map_or_else(String::new, |name| {
        format!("build it with `make docker-{name}` and load it into the machines' runtime, ")
    });
    Error::Refused(format!(
        "none of the images is on every machine of the cluster, and none can be pulled ({}): {make}push it to a registry, or set a mirror",
        reasons.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_agent::{Connection, InstanceId};
    use serde_json::json;

    fn node(names: &[&str]) -> Node {
        serde_json::from_value(json!({ "status": { "images": [{ "names": names }] } })).expect("a node")
    }

    #[test]
    fn an_image_is_present_when_every_machine_has_it() {
        let with = node(&["docker.io/a/b:1", "docker.io/a/b@sha256:0"]);
        assert_eq!(
            present(std::slice::from_ref(&with), "a/b:1").as_deref(),
            Some("docker.io/a/b@sha256:0")
        );
        assert_eq!(
            present(&[with.clone(), node(&["docker.io/a/b:1"])], "a/b:1").as_deref(),
            Some("a/b:1")
        );
        assert_eq!(present(&[with, node(&[])], "a/b:1"), None);
        assert_eq!(present(&[], "a/b:1"), None);
    }

    #[test]
    fn a_login_is_shown_to_its_own_registry_alone() {
        let agent = |mirror: Option<&str>| {
            KubernetesAgent::connect(&Connection {
                instance: InstanceId::new(),
                address: "https://h:6443".into(),
                kubeconfig: Some(chainpool_agent::Secret::new(
                    "{clusters: [{name: c, cluster: {}}], users: [{name: u, user: {token: t}}], contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}".into(),
                )),
                storage_class: None,
                tls: None,
                insecure: false,
                bind: "0.0.0.0".parse().expect("an address"),
                mirror: mirror.map(str::to_owned),
                registry: Some(chainpool_agent::RegistryLogin {
                    address: "m.example:5000".into(),
                    user: "me".into(),
                    password: chainpool_agent::Secret::new("secret".into()),
                }),
            })
            .expect("an agent")
        };
        let shown = |mirror, image| agent(mirror).login(image, "n", BTreeMap::new()).is_some();
        assert!(shown(Some("m.example:5000"), "m.example:5000/a"));
        assert!(!shown(Some("m.example:5000"), "m.example:5000.evil.example/a"));
        assert!(!shown(Some("m.example:5000"), "ghcr.io/x/y:1"));
        assert!(!shown(None, "ghcr.io/x/y:1") && shown(None, "m.example:5000/a"));
        assert!(!shown(Some("evil.example"), "evil.example/a"));
    }

    #[test]
    fn a_pulling_pod_tells_how_it_went() {
        let pod = |id: &str, reason: &str| -> Pod {
            let state = json!({ "waiting": { "reason": reason, "message": "no such host" } });
            let status = json!({ "name": "pull", "image": "a", "imageID": id, "ready": false, "restartCount": 0, "state": state });
            serde_json::from_value(json!({ "status": { "containerStatuses": [status] } })).expect("a pod")
        };
        assert_eq!(pulled(&pod("", "ContainerCreating"), "a:1"), None);
        assert_eq!(
            pulled(&pod("", "ErrImagePull"), "a:1"),
            Some(Err("no such host".into()))
        );
        assert_eq!(
            pulled(&pod("", "RunContainerError"), "a:1"),
            Some(Ok("a:1".into()))
        );
        assert_eq!(
            pulled(&pod("docker.io/a@sha256:0", "x"), "a:1"),
            Some(Ok("docker.io/a@sha256:0".into()))
        );
        assert_eq!(pulled(&pod("sha256:0", "x"), "a:1"), Some(Ok("a:1".into())));
    }
}
