//! Tasks: what a swarm makes of a service, one a life of its process.

use super::{manager::Manager, service::LABEL_PART};
use crate::{engine::LASTING, observe::Filter};
use bollard::{
    models::{Task as Listed, TaskState},
    query_parameters::ListTasksOptionsBuilder,
};
use chainpool_agent::{Incarnation, LABEL_JOB, Labels, Result};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// One life of a service's process.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) labels: Labels,
    /// Whether it serves a node's making.
    pub(super) part: bool,
    /// Whether it is a job's.
    pub(super) job: bool,
    pub(super) machine: Option<String>,
    pub(super) container: Option<String>,
    pub(super) state: TaskState,
    /// Whether the swarm wants it to end.
    pub(super) ending: bool,
    /// The swarm's own words about it.
    pub(super) words: String,
    code: Option<i64>,
    created: OffsetDateTime,
}

/// How far a task has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course {
    /// Its process is not there yet.
    Before,
    /// Its process runs.
    Runs,
    /// Its process ran and ended, with this code.
    Ended(i64),
    /// Its process could not be started.
    Failed,
}

impl Task {
    pub(super) fn read(task: Listed) -> Option<Self> {
        let spec = task.spec.and_then(|s| s.container_spec)?;
        let labels = spec.labels.unwrap_or_default();
        let status = task.status.unwrap_or_default();
        let container = status.container_status.unwrap_or_default();
        let said = [status.err, status.message]
            .into_iter()
            .flatten()
            .find(|words| !words.is_empty());
        Some(Self {
            id: task.id?,
            service: task.service_id.unwrap_or_default(),
            part: labels.contains_key(LABEL_PART),
            job: labels.contains_key(LABEL_JOB),
            labels: Labels::from_map(&labels)?,
            machine: task.node_id.filter(|id| !id.is_empty()),
            container: container.container_id.filter(|id| !id.is_empty()),
            state: status.state.unwrap_or(TaskState::NEW),
            ending: matches!(
                task.desired_state,
                Some(TaskState::SHUTDOWN | TaskState::REMOVE | TaskState::COMPLETE)
            ),
            words: said.unwrap_or_default(),
            code: container.exit_code,
            created: task
                .created_at
                .and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok())
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        })
    }

    /// Whether its process is gone, or never came to be.
    pub(super) fn is_over(&self) -> bool {
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

    pub(super) fn course(&self) -> Course {
        match self.state {
            TaskState::RUNNING => Course::Runs,
            TaskState::COMPLETE | TaskState::SHUTDOWN => Course::Ended(self.code.unwrap_or_default()),
            TaskState::FAILED if self.words.starts_with("task: non-zero exit") => {
                Course::Ended(self.code.unwrap_or_default())
            }
            TaskState::FAILED | TaskState::REJECTED | TaskState::ORPHANED | TaskState::REMOVE => {
                Course::Failed
            }
            _ => Course::Before,
        }
    }

    /// Whether trying again would end the same way.
    pub(super) fn fails_for_good(&self) -> bool {
        self.course() == Course::Failed
            && (self.words.contains("No such image")
                || LASTING.iter().any(|words| self.words.contains(words)))
    }

    /// The life that it is.
    pub(super) fn incarnation(&self) -> Incarnation {
        Incarnation(format!(
            "{}@{}",
            self.id,
            self.container.as_deref().unwrap_or_default()
        ))
    }
}

/// The youngest of these.
pub(super) fn newest<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> Option<&'a Task> {
    tasks
        .into_iter()
        .max_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)))
}

impl Manager<'_> {
    /// The tasks of services with these labels; those of services that are gone, too, until they have ended.
    pub(super) async fn tasks(&self, filter: &Filter) -> Result<Vec<Task>> {
        let docker = self.docker().await?;
        let options = ListTasksOptionsBuilder::default()
            .filters(&filter.as_map())
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
    fn a_task_that_ran_is_told_from_one_that_never_did() {
        let course = |state, err| task("a", "", state, err).course();
        assert_eq!(
            course(TaskState::FAILED, "task: non-zero exit (2)"),
            Course::Ended(0)
        );
        assert_eq!(
            course(TaskState::FAILED, "starting container failed: no"),
            Course::Failed
        );
        assert_eq!(course(TaskState::COMPLETE, ""), Course::Ended(0));
        assert_eq!(course(TaskState::PREPARING, ""), Course::Before);
        assert!(task("a", "", TaskState::REJECTED, "No such image: x").fails_for_good());
        assert!(!task("a", "", TaskState::REJECTED, "network not there yet").fails_for_good());
    }

    #[test]
    fn the_newest_is_told_by_time_and_not_by_text() {
        let old = task("b", "2026-01-01T00:00:00.5Z", TaskState::RUNNING, "");
        let new = task("a", "2026-01-01T00:00:00.51Z", TaskState::RUNNING, "");
        assert_eq!(newest([&old, &new]).map(|t| t.id.as_str()), Some("a"));
    }
}
