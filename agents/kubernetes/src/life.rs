//! A node's process, as its pod tells of it.

use crate::pod::{NODE, PLACE};
use chainpool_agent::{Incarnation, NodeState};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use kube::ResourceExt;

/// What a pod says of its node.
pub(crate) struct Life<'a>(&'a Pod);

/// Why a pod does not get as far as running its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// It will be the same at the next try.
    Lasting(String),
    /// It may pass by itself.
    Passing(String),
}

/// How a machine says that its own time for a step was over, as opposed to that something is wrong.
const OUT_OF_TIME: [&str; 2] = ["timed out waiting for the condition", "context deadline exceeded"];

impl Hindrance {
    fn words(self) -> String {
        match self {
            Self::Lasting(words) | Self::Passing(words) => words,
        }
    }
}

impl<'a> Life<'a> {
    pub(crate) fn of(pod: &'a Pod) -> Self {
        Self(pod)
    }

    /// Whether the pod is on its way out.
    pub(crate) fn is_ending(&self) -> bool {
        self.0.metadata.deletion_timestamp.is_some()
    }

    /// Whether somebody took it away (drained its machine, evicted it), whatever its process made of that.
    pub(crate) fn is_taken_away(&self) -> bool {
        let conditions = self
            .0
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        self.is_ending()
            || conditions
                .into_iter()
                .any(|c| c.type_ == "DisruptionTarget" && c.status == "True")
    }

    fn container(&self, name: &str) -> Option<&'a ContainerStatus> {
        let status = self.0.status.as_ref()?;
        let all = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .flatten();
        all.into_iter().find(|c| c.name == name)
    }

    fn state(&self, name: &str) -> Option<&'a ContainerState> {
        self.container(name)?.state.as_ref()
    }

    fn waiting(&self, name: &str) -> Option<(&'a str, &'a str)> {
        let waiting = self.state(name)?.waiting.as_ref()?;
        Some((
            waiting.reason.as_deref().unwrap_or_default(),
            waiting.message.as_deref().unwrap_or_default(),
        ))
    }

    /// The present life of the node's process.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        let container = self.container(NODE)?;
        let running = container.state.as_ref()?.running.is_some();
        running.then(|| {
            Incarnation(format!(
                "{}/{}",
                self.0.uid().unwrap_or_default(),
                container.container_id.as_deref().unwrap_or_default()
            ))
        })
    }

    /// How the node's process last ended, and in which container.
    pub(crate) fn ended(&self) -> Option<&'a ContainerStateTerminated> {
        let container = self.container(NODE)?;
        let of = |state: &'a Option<ContainerState>| state.as_ref().and_then(|s| s.terminated.as_ref());
        of(&container.state).or_else(|| of(&container.last_state))
    }

    /// The node's state.
    pub(crate) fn node_state(&self) -> NodeState {
        if self.is_ending() {
            return NodeState::Changing("stopping".to_owned());
        }
        match self.state(NODE) {
            Some(ContainerState { running: Some(_), .. }) => NodeState::Running,
            Some(ContainerState {
                terminated: Some(ended),
                ..
            }) => NodeState::Exited(ended.exit_code.into()),
            _ => match self.ended() {
                Some(ended) => NodeState::Exited(ended.exit_code.into()),
                None => NodeState::Changing(self.hindrance().map_or_else(
                    || {
                        self.waiting(NODE)
                            .map_or("waiting for a machine", |(reason, _)| reason)
                            .to_owned()
                    },
                    Hindrance::words,
                )),
            },
        }
    }

    /// Why the node does not start, in the platform's own words; `None` while nothing speaks against it.
    pub(crate) fn hindrance(&self) -> Option<Hindrance> {
        let status = self.0.status.as_ref()?;
        let unscheduled = status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "PodScheduled" && c.status == "False");
        if let Some(condition) = unscheduled {
            let message = condition
                .message
                .clone()
                .or_else(|| condition.reason.clone())
                .unwrap_or_default();
            return Some(Hindrance::Passing(format!("no machine takes it: {message}")));
        }
        if status.phase.as_deref() == Some("Failed") && status.container_statuses.is_none() {
            // The machine itself would not have the pod.
            let words = [status.reason.as_deref(), status.message.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": ");
            return Some(Hindrance::Lasting(words));
        }
        if let Some(ended) = self.failed_start() {
            return Some(Hindrance::Lasting(ended));
        }
        for container in [PLACE, NODE] {
            let Some((reason, message)) = self.waiting(container) else {
                continue;
            };
            let words = if message.is_empty() {
                reason.to_owned()
            } else {
                format!("{reason}: {message}")
            };
            match reason {
                // The machine is busy, and tries again itself.
                "CreateContainerConfigError" | "CreateContainerError"
                    if OUT_OF_TIME.iter().any(|late| message.contains(late)) =>
                {
                    return Some(Hindrance::Passing(words));
                }
                "ErrImagePull"
                | "ImagePullBackOff"
                | "InvalidImageName"
                | "ErrImageNeverPull"
                | "CreateContainerConfigError"
                | "CreateContainerError"
                | "RunContainerError" => return Some(Hindrance::Lasting(words)),
                _ => {}
            }
        }
        let placing = self.container(PLACE)?;
        let ended = [&placing.state, &placing.last_state]
            .into_iter()
            .flatten()
            .find_map(|s| s.terminated.as_ref())?;
        (ended.exit_code != 0).then(|| {
            let words = ended.message.clone().unwrap_or_default();
            Hindrance::Lasting(format!(
                "its files could not be placed: {} ended with {}: {}",
                PLACE,
                ended.exit_code,
                words.trim()
            ))
        })
    }

    /// The node's program could not be started at all: its end is the runtime's, not its own.
    fn failed_start(&self) -> Option<String> {
        let ended = self.ended()?;
        let words = ended.message.as_deref().unwrap_or_default();
        let runtime = matches!(ended.reason.as_deref(), Some("StartError" | "ContainerCannotRun"));
        runtime.then(|| words.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "uid": "u" }, "status": status })).expect("a pod")
    }

    fn node(state: &serde_json::Value, last: &serde_json::Value) -> Pod {
        pod(
            &json!({ "containerStatuses": [{ "name": "node", "containerID": "containerd://a", "ready": true, "restartCount": 0, "image": "i",
            "imageID": "i", "state": state, "lastState": last }] }),
        )
    }

    #[test]
    fn states_are_the_containers_and_not_the_pods() {
        let exited = json!({ "terminated": { "exitCode": 3 } });
        let backing_off = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        for (pod, state) in [
            (node(&json!({ "running": {} }), &json!({})), NodeState::Running),
            (node(&exited, &json!({})), NodeState::Exited(3)),
            (node(&backing_off, &exited), NodeState::Exited(3)),
            (
                node(&json!({ "waiting": { "reason": "PodInitializing" } }), &json!({})),
                NodeState::Changing("PodInitializing".into()),
            ),
            (
                pod(&json!({})),
                NodeState::Changing("waiting for a machine".into()),
            ),
        ] {
            assert_eq!(Life::of(&pod).node_state(), state);
        }
    }

    #[test]
    fn a_pod_that_was_taken_away_is_told_from_one_that_ended() {
        let taken = |pod: &Pod| Life::of(pod).is_taken_away();
        assert!(!taken(&node(
            &json!({ "terminated": { "exitCode": 143 } }),
            &json!({})
        )));
        assert!(taken(&pod(
            &json!({ "phase": "Failed", "conditions": [{ "type": "DisruptionTarget", "status": "True" }] })
        )));
        assert!(!taken(&pod(
            &json!({ "conditions": [{ "type": "DisruptionTarget", "status": "False" }] })
        )));
        let drained = json!({ "metadata": { "uid": "u", "deletionTimestamp": "2026-11-27T12:00:00Z" } });
        assert!(taken(&serde_json::from_value(drained).expect("a pod")));
    }

    #[test]
    fn a_life_has_the_pods_and_the_containers_id() {
        let running = node(&json!({ "running": {} }), &json!({}));
        assert_eq!(
            Life::of(&running).incarnation(),
            Some(Incarnation("u/containerd://a".into()))
        );
        let dead = node(&json!({ "terminated": { "exitCode": 0 } }), &json!({}));
        assert_eq!(Life::of(&dead).incarnation(), None);
    }

    #[test]
    fn what_hinders_a_pod_is_told_in_the_platforms_words() {
        let unschedulable = pod(
            &json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" }] }),
        );
        assert_eq!(
            Life::of(&unschedulable).hindrance(),
            Some(Hindrance::Passing("no machine takes it: 0/1 nodes".into()))
        );
        let pull = node(
            &json!({ "waiting": { "reason": "ErrImagePull", "message": "no such host" } }),
            &json!({}),
        );
        assert_eq!(
            Life::of(&pull).hindrance(),
            Some(Hindrance::Lasting("ErrImagePull: no such host".into()))
        );
        let config = |message: &str| {
            node(
                &json!({ "waiting": { "reason": "CreateContainerConfigError", "message": message } }),
                &json!({}),
            )
        };
        let busy = "failed to sync secret cache: timed out waiting for the condition";
        assert_eq!(
            Life::of(&config(busy)).hindrance(),
            Some(Hindrance::Passing(format!("CreateContainerConfigError: {busy}")))
        );
        let missing = "secret \"a\" not found";
        assert_eq!(
            Life::of(&config(missing)).hindrance(),
            Some(Hindrance::Lasting(format!(
                "CreateContainerConfigError: {missing}"
            )))
        );
        let start = node(
            &json!({ "terminated": { "exitCode": 128, "reason": "StartError", "message": "exec: /no: not found" } }),
            &json!({}),
        );
        assert_eq!(
            Life::of(&start).hindrance(),
            Some(Hindrance::Lasting("exec: /no: not found".into()))
        );
        let crash = node(
            &json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
            &json!({ "terminated": { "exitCode": 1 } }),
        );
        assert_eq!(Life::of(&crash).hindrance(), None);
    }
}
