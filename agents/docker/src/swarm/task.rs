//! Tasks of services, one per incarnation of the process.

use super::{
    manager::Manager,
    service::{LABEL_PART, LABEL_READINESS},
};
use crate::{engine::LASTING, filter::as_map};
use bollard::{
    models::{Task as Listed, TaskState},
    query_parameters::ListTasksOptionsBuilder,
};
use chainpool_agent::{Incarnation, LABEL_JOB, LabelFilter, Labels, Result};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// One incarnation of a service's process.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) labels: Labels,
    /// A helper task of a node.
    pub(super) part: bool,
    /// A job's task.
    pub(super) job: bool,
    pub(super) machine: Option<String>,
    pub(super) container: Option<String>,
    pub(super) state: TaskState,
    /// The swarm is stopping it.
    pub(super) stopping: bool,
    /// The swarm's message about it.
    pub(super) message: String,
    code: Option<i64>,
    /// Its process has a readiness check: the swarm calls it starting until the first success.
    has_check: bool,
    created: OffsetDateTime,
}

/// The progress of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Its process has not started yet.
    Pending,
    /// Its process runs and is not ready yet.
    Unready,
    /// Its process runs.
    Running,
    /// Its process exited with this code.
    Exited(i64),
    /// Its process failed to start.
    Failed,
}

impl Task {
    pub(super) fn read(task: Listed) -> Option<Self> {
        let spec = task.spec.and_then(|s| s.container_spec)?;
        let labels = spec.labels.unwrap_or_default();
        let status = task.status.unwrap_or_default();
        let container = status.container_status.unwrap_or_default();
        let message = [status.err, status.message]
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty());
        Some(Self {
            id: task.id?,
            service: task.service_id.unwrap_or_default(),
            part: labels.contains_key(LABEL_PART),
            job: labels.contains_key(LABEL_JOB),
            labels: Labels::from_map(&labels)?,
            machine: task.node_id.filter(|id| !id.is_empty()),
            container: container.container_id.filter(|id| !id.is_empty()),
            state: status.state.unwrap_or(TaskState::NEW),
            stopping: matches!(
                task.desired_state,
                Some(TaskState::SHUTDOWN | TaskState::REMOVE | TaskState::COMPLETE)
            ),
            message: message.unwrap_or_default(),
            code: container.exit_code,
            has_check: labels.contains_key(LABEL_READINESS),
            created: task
                .created_at
                .and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok())
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        })
    }

    /// Returns true if its process has ended or will never start.
    pub(super) fn is_finished(&self) -> bool {
        matches!(
            self.state,
            TaskState::COMPLETE
                | TaskState::SHUTDOWN
                | TaskState::FAILED
                | TaskState::REJECTED
                | TaskState::REMOVE
                | TaskState::ORPHANED
        )
    }

    pub(super) fn progress(&self) -> Progress {
        match self.state {
            TaskState::RUNNING => Progress::Running,
            TaskState::STARTING if self.has_check && self.container.is_some() => Progress::Unready,
            TaskState::COMPLETE | TaskState::SHUTDOWN => Progress::Exited(self.code.unwrap_or_default()),
            TaskState::FAILED if self.message.starts_with("task: non-zero exit") => {
                Progress::Exited(self.code.unwrap_or_default())
            }
            TaskState::FAILED | TaskState::REJECTED | TaskState::ORPHANED | TaskState::REMOVE => {
                Progress::Failed
            }
            _ => Progress::Pending,
        }
    }

    /// Returns true if its process runs, ready or not.
    pub(super) fn runs(&self) -> bool {
        matches!(self.progress(), Progress::Running | Progress::Unready)
    }

    /// Returns true if a retry would fail again.
    pub(super) fn is_permanent_failure(&self) -> bool {
        self.progress() == Progress::Failed
            && (self.message.contains("No such image")
                || LASTING.iter().any(|text| self.message.contains(text)))
    }

    /// Its incarnation.
    pub(super) fn incarnation(&self) -> Incarnation {
        Incarnation(format!(
            "{}@{}",
            self.id,
            self.container.as_deref().unwrap_or_default()
        ))
    }
}

/// The newest of these tasks.
pub(super) fn newest<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> Option<&'a Task> {
    tasks
        .into_iter()
        .max_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)))
}

impl Manager<'_> {
    /// The tasks of services with these labels, and of removed services until their tasks end.
    pub(super) async fn tasks(&self, filter: &LabelFilter) -> Result<Vec<Task>> {
        let docker = self.docker().await?;
        let options = ListTasksOptionsBuilder::default()
            .filters(&as_map(filter))
            .build();
        let tasks = self
            .call(docker.list_tasks(Some(options)))
            .await
            .map_err(|f| f.into_error("list its tasks"))?;
        Ok(tasks.into_iter().filter_map(Task::read).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{TaskSpec, TaskSpecContainerSpec, TaskStatus};
    use chainpool_agent::{ClusterId, ClusterKey, InstanceId};

    fn task(id: &str, at: &str, state: TaskState, err: &str) -> Task {
        let key = ClusterKey {
            cluster: ClusterId::new(),
            generation: 1,
        };
        let labels = Labels::of_cluster(InstanceId::new(), &key).to_map();
        let container_spec = TaskSpecContainerSpec {
            labels: Some(labels),
            ..TaskSpecContainerSpec::default()
        };
        Task::read(Listed {
            id: Some(id.to_owned()),
            created_at: Some(at.to_owned()),
            spec: Some(TaskSpec {
                container_spec: Some(container_spec),
                ..TaskSpec::default()
            }),
            status: Some(TaskStatus {
                state: Some(state),
                err: Some(err.to_owned()),
                ..TaskStatus::default()
            }),
            ..Listed::default()
        })
        .expect("a task of ours")
    }

    #[test]
    fn an_exited_task_differs_from_a_failed_start() {
        let course = |state, err| task("a", "", state, err).progress();
        assert_eq!(
            course(TaskState::FAILED, "task: non-zero exit (2)"),
            Progress::Exited(0)
        );
        assert_eq!(
            course(TaskState::FAILED, "starting container failed: no"),
            Progress::Failed
        );
        assert_eq!(course(TaskState::COMPLETE, ""), Progress::Exited(0));
        assert_eq!(course(TaskState::PREPARING, ""), Progress::Pending);
        assert!(task("a", "", TaskState::REJECTED, "No such image: x").is_permanent_failure());
        assert!(!task("a", "", TaskState::REJECTED, "network not there yet").is_permanent_failure());
    }

    #[test]
    fn a_starting_task_with_a_readiness_check_runs_and_is_unready() {
        let starting = Task {
            container: Some("c".to_owned()),
            ..task("a", "", TaskState::STARTING, "")
        };
        assert_eq!(starting.progress(), Progress::Pending);
        let checked = Task {
            has_check: true,
            ..starting
        };
        assert_eq!((checked.progress(), checked.runs()), (Progress::Unready, true));
        let without_container = Task {
            container: None,
            ..checked
        };
        assert_eq!(without_container.progress(), Progress::Pending);
    }

    #[test]
    fn the_newest_is_chosen_by_time() {
        let old = task("b", "2026-01-01T00:00:00.5Z", TaskState::RUNNING, "");
        let new = task("a", "2026-01-01T00:00:00.51Z", TaskState::RUNNING, "");
        assert_eq!(newest([&old, &new]).map(|t| t.id.as_str()), Some("a"));
    }
}
