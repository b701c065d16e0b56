//! Helper tasks: one run of our tools image on one machine.

use super::{
    manager::Manager,
    service::{Found, HelperTask, helper_task_service},
    task::{Progress, Task, newest},
};
use crate::engine::{PULL, SETTLE, wait_for_retry};
use bollard::models::TaskState;
use chainpool_agent::{Error, ImageRef, LABEL_HASH, Labels, Result, absent_is_fine};
use std::time::Duration;
use tokio::time::Instant;

/// Time limit for the placement of a task on a machine that is up.
pub(super) const PLACEMENT: Duration = Duration::from_secs(10);

/// The outcome of a helper task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It completed.
    Done,
    /// It was removed concurrently: inspect the state again.
    Removed,
}

impl Manager<'_> {
    /// The image of our tools.
    pub(super) async fn tools_image(&self) -> Result<ImageRef> {
        self.image_ensure(&self.swarm.tools).await
    }

    /// Runs a helper task, or adopts a running one of the same name and content. Removes it when done.
    pub(super) async fn helper_task_run(&self, helper: HelperTask) -> Result<Outcome> {
        let (name, wanted) = (helper.name.clone(), helper.labels.clone());
        let Some(labels) = Labels::from_map(&wanted) else {
            return Err(Error::Refused(format!(
                "{name}: a helper task needs readable labels"
            )));
        };
        let spec = helper_task_service(helper);
        let deadline = Instant::now() + SETTLE;
        let id = loop {
            match self.service_inspect(&name).await? {
                None => {
                    if let Some(id) = self.service_create(spec.clone(), "").await? {
                        break id;
                    }
                }
                Some(found)
                    if found.labels.as_ref().is_none_or(|l| {
                        (Labels {
                            hash: None,
                            ..l.clone()
                        }) != (Labels {
                            hash: None,
                            ..labels.clone()
                        })
                    }) =>
                {
                    return Err(Error::Foreign(format!("service {name}")));
                }
                Some(found) => {
                    let task = newest(&self.helper_tasks(&labels, &found.id).await?).cloned();
                    let failed = task.is_some_and(|t| {
                        !matches!(
                            t.progress(),
                            Progress::Pending | Progress::Running | Progress::Exited(0)
                        )
                    });
                    if !failed
                        && found.labels.and_then(|l| l.hash).map(|h| h.0).as_ref() == wanted.get(LABEL_HASH)
                    {
                        break found.id;
                    }
                    self.service_remove(&found.id, &name).await?;
                }
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!(
                    "helper task {name} is still changing in the swarm"
                )));
            }
        };
        let outcome = self.helper_task_wait(&name, &labels, &id).await;
        self.service_remove(&id, &name).await?;
        outcome
    }

    async fn helper_task_wait(&self, name: &str, labels: &Labels, id: &str) -> Result<Outcome> {
        let start = Instant::now();
        loop {
            let tasks = self.helper_tasks(labels, id).await?;
            let task = newest(&tasks);
            match task.map(|task| (task, task.progress())) {
                Some((_, Progress::Exited(0))) => return Ok(Outcome::Done),
                // A start may fail transiently (observed: a busy mount).
                Some((task, Progress::Failed)) if !task.is_permanent_failure() => {
                    return Err(Error::Busy(format!(
                        "helper task {name} could not be started: {}",
                        task.message
                    )));
                }
                Some((task, Progress::Exited(_) | Progress::Failed)) => {
                    let output = self.last_output(task).await;
                    return Err(Error::Refused(format!(
                        "helper task {name} failed: {}{output}",
                        task.message
                    )));
                }
                _ => {}
            }
            let limit = if task.is_some_and(|t| t.state == TaskState::PREPARING) {
                PULL
            } else {
                SETTLE
            };
            let unplaced =
                task.is_some_and(|t| t.state == TaskState::PENDING && t.message.contains("no suitable node"));
            if !wait_for_retry(start + if unplaced { PLACEMENT } else { limit }).await {
                let message = task.map_or("the swarm has not started it yet", |t| t.message.as_str());
                return Err(Error::Busy(format!("helper task {name} timed out: {message}")));
            }
            if task.is_none()
                && self
                    .service_inspect(name)
                    .await?
                    .is_none_or(|found| found.id != id)
            {
                return Ok(Outcome::Removed);
            }
        }
    }

    async fn helper_tasks(&self, labels: &Labels, id: &str) -> Result<Vec<Task>> {
        let mut tasks = self.tasks(&self.node_filter_of(labels)).await?;
        tasks.retain(|task| task.service == id);
        Ok(tasks)
    }

    pub(super) async fn service_remove(&self, id: &str, name: &str) -> Result<()> {
        let docker = self.docker().await?;
        absent_is_fine(self.call(docker.delete_service(id)).await)
            .map_err(|f| f.into_error(&format!("remove the service {name}")))
    }

    pub(super) async fn service_inspect(&self, name: &str) -> Result<Option<Found>> {
        let docker = self.docker().await?;
        match self
            .call(docker.inspect_service(name, None::<bollard::query_parameters::InspectServiceOptions>))
            .await
        {
            Ok(service) => Ok(Some(Found::from(service))),
            Err(fault) if fault.has_code(404) => Ok(None),
            Err(fault) => Err(fault.into_error(&format!("inspect the service {name}"))),
        }
    }
}
