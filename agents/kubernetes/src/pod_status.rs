//! The state of a node's process by the status of its pod.

use crate::pod::{NODE, PLACE};
use chainpool_agent::{Incarnation, NodeState};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use kube::ResourceExt;

/// The status of a node's pod.
pub(crate) struct PodStatus<'a>(&'a Pod);

/// The reason why a pod does not start its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StartFailure {
    /// A retry will fail in the same way.
    Permanent(String),
    /// It may resolve without intervention.
    Transient(String),
}

/// Messages of a kubelet whose step timed out, as opposed to a wrong configuration.
const KUBELET_TIMEOUTS: [&str; 2] = ["timed out waiting for the condition", "context deadline exceeded"];

impl StartFailure {
    fn into_reason(self) -> String {
        match self {
            Self::Permanent(reason) | Self::Transient(reason) => reason,
        }
    }
}

impl<'a> PodStatus<'a> {
    pub(crate) fn of(pod: &'a Pod) -> Self {
        Self(pod)
    }

    /// Returns true if the pod is being deleted.
    pub(crate) fn is_terminating(&self) -> bool {
        self.0.metadata.deletion_timestamp.is_some()
    }

    /// Returns true if the pod was deleted or evicted, for example by a drain, regardless of its exit code.
    pub(crate) fn is_disrupted(&self) -> bool {
        let conditions = self
            .0
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        self.is_terminating()
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

    /// The incarnation of the running node process.
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

    /// The last termination of the node's process.
    pub(crate) fn termination(&self) -> Option<&'a ContainerStateTerminated> {
        let container = self.container(NODE)?;
        let of = |state: &'a Option<ContainerState>| state.as_ref().and_then(|s| s.terminated.as_ref());
        of(&container.state).or_else(|| of(&container.last_state))
    }

    /// The node's state.
    pub(crate) fn node_state(&self) -> NodeState {
        if self.is_terminating() {
            return NodeState::Changing("stopping".to_owned());
        }
        match self.state(NODE) {
            Some(ContainerState { running: Some(_), .. }) if self.is_unready() => NodeState::Unready,
            Some(ContainerState { running: Some(_), .. }) => NodeState::Running,
            Some(ContainerState {
                terminated: Some(terminated),
                ..
            }) => NodeState::Exited(terminated.exit_code.into()),
            _ => match self.termination() {
                Some(terminated) => NodeState::Exited(terminated.exit_code.into()),
                None => NodeState::Changing(self.start_failure().map_or_else(
                    || {
                        self.waiting(NODE)
                            .map_or("waiting for a machine", |(reason, _)| reason)
                            .to_owned()
                    },
                    StartFailure::into_reason,
                )),
            },
        }
    }

    /// Returns true if the node has a readiness check that has not succeeded.
    fn is_unready(&self) -> bool {
        let containers = self.0.spec.iter().flat_map(|spec| &spec.containers);
        let has_check = containers
            .into_iter()
            .any(|container| container.name == NODE && container.readiness_probe.is_some());
        has_check && self.container(NODE).is_some_and(|status| !status.ready)
    }

    /// The reason why the node does not start, with the platform's message; `None` without a known problem.
    pub(crate) fn start_failure(&self) -> Option<StartFailure> {
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
            return Some(StartFailure::Transient(format!("unschedulable: {message}")));
        }
        if status.phase.as_deref() == Some("Failed") && status.container_statuses.is_none() {
            // The kubelet rejected the pod.
            let reason = [status.reason.as_deref(), status.message.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": ");
            return Some(StartFailure::Permanent(reason));
        }
        if let Some(message) = self.runtime_start_error() {
            return Some(StartFailure::Permanent(message));
        }
        for container in [PLACE, NODE] {
            let Some((reason, message)) = self.waiting(container) else {
                continue;
            };
            let text = if message.is_empty() {
                reason.to_owned()
            } else {
                format!("{reason}: {message}")
            };
            match reason {
                // The machine is busy and retries.
                "CreateContainerConfigError" | "CreateContainerError"
                    if KUBELET_TIMEOUTS.iter().any(|timeout| message.contains(timeout)) =>
                {
                    return Some(StartFailure::Transient(text));
                }
                "ErrImagePull"
                | "ImagePullBackOff"
                | "InvalidImageName"
                | "ErrImageNeverPull"
                | "CreateContainerConfigError"
                | "CreateContainerError"
                | "RunContainerError" => return Some(StartFailure::Permanent(text)),
                _ => {}
            }
        }
        let init = self.container(PLACE)?;
        let terminated = [&init.state, &init.last_state]
            .into_iter()
            .flatten()
            .find_map(|s| s.terminated.as_ref())?;
        (terminated.exit_code != 0).then(|| {
            let message = terminated.message.clone().unwrap_or_default();
            StartFailure::Permanent(format!(
                "cannot place its files: {} exited with status {}: {}",
                PLACE,
                terminated.exit_code,
                message.trim()
            ))
        })
    }

    /// The container runtime's message if it could not start the node's program.
    fn runtime_start_error(&self) -> Option<String> {
        let terminated = self.termination()?;
        let message = terminated.message.as_deref().unwrap_or_default();
        let by_runtime = matches!(
            terminated.reason.as_deref(),
            Some("StartError" | "ContainerCannotRun")
        );
        by_runtime.then(|| message.to_owned())
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
    fn the_node_state_is_the_container_state() {
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
            assert_eq!(PodStatus::of(&pod).node_state(), state);
        }
    }

    #[test]
    fn a_node_with_a_readiness_check_runs_when_it_is_ready() {
        let pod = |ready: bool, probe: &serde_json::Value| -> Pod {
            serde_json::from_value(json!({
                "spec": { "containers": [{ "name": "node", "readinessProbe": probe }] },
                "status": { "containerStatuses": [{ "name": "node", "ready": ready, "restartCount": 0, "image": "i",
                    "imageID": "i", "state": { "running": {} } }] },
            }))
            .expect("a pod")
        };
        let probe = json!({ "exec": { "command": ["check"] } });
        for (ready, probe, state) in [
            (false, &probe, NodeState::Unready),
            (true, &probe, NodeState::Running),
            // Without a check, a container is ready a moment after its start.
            (false, &json!(null), NodeState::Running),
        ] {
            assert_eq!(PodStatus::of(&pod(ready, probe)).node_state(), state);
        }
    }

    #[test]
    fn a_disrupted_pod_is_distinguished_from_an_exited_one() {
        let disrupted = |pod: &Pod| PodStatus::of(pod).is_disrupted();
        assert!(!disrupted(&node(
            &json!({ "terminated": { "exitCode": 143 } }),
            &json!({})
        )));
        assert!(disrupted(&pod(
            &json!({ "phase": "Failed", "conditions": [{ "type": "DisruptionTarget", "status": "True" }] })
        )));
        assert!(!disrupted(&pod(
            &json!({ "conditions": [{ "type": "DisruptionTarget", "status": "False" }] })
        )));
        let drained = json!({ "metadata": { "uid": "u", "deletionTimestamp": "2026-11-27T12:00:00Z" } });
        assert!(disrupted(&serde_json::from_value(drained).expect("a pod")));
    }

    #[test]
    fn an_incarnation_is_the_pod_uid_and_container_id() {
        let running = node(&json!({ "running": {} }), &json!({}));
        assert_eq!(
            PodStatus::of(&running).incarnation(),
            Some(Incarnation("u/containerd://a".into()))
        );
        let dead = node(&json!({ "terminated": { "exitCode": 0 } }), &json!({}));
        assert_eq!(PodStatus::of(&dead).incarnation(), None);
    }

    #[test]
    fn start_failures_carry_the_platform_message() {
        let unschedulable = pod(
            &json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" }] }),
        );
        assert_eq!(
            PodStatus::of(&unschedulable).start_failure(),
            Some(StartFailure::Transient("unschedulable: 0/1 nodes".into()))
        );
        let pull = node(
            &json!({ "waiting": { "reason": "ErrImagePull", "message": "no such host" } }),
            &json!({}),
        );
        assert_eq!(
            PodStatus::of(&pull).start_failure(),
            Some(StartFailure::Permanent("ErrImagePull: no such host".into()))
        );
        let config = |message: &str| {
            node(
                &json!({ "waiting": { "reason": "CreateContainerConfigError", "message": message } }),
                &json!({}),
            )
        };
        let busy = "failed to sync secret cache: timed out waiting for the condition";
        assert_eq!(
            PodStatus::of(&config(busy)).start_failure(),
            Some(StartFailure::Transient(format!(
                "CreateContainerConfigError: {busy}"
            )))
        );
        let missing = "secret \"a\" not found";
        assert_eq!(
            PodStatus::of(&config(missing)).start_failure(),
            Some(StartFailure::Permanent(format!(
                "CreateContainerConfigError: {missing}"
            )))
        );
        let start = node(
            &json!({ "terminated": { "exitCode": 128, "reason": "StartError", "message": "exec: /no: not found" } }),
            &json!({}),
        );
        assert_eq!(
            PodStatus::of(&start).start_failure(),
            Some(StartFailure::Permanent("exec: /no: not found".into()))
        );
        let crash = node(
            &json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
            &json!({ "terminated": { "exitCode": 1 } }),
        );
        assert_eq!(PodStatus::of(&crash).start_failure(), None);
    }
}
