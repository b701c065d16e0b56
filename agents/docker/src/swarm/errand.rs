//! One run of our small program on one machine, and its end.

use super::{
    manager::Manager,
    node::Found,
    service::{Errand, errand_service},
    task::{Course, Task, newest},
};
use crate::engine::{PULL, SETTLE, absent_is_fine, look_again};
use bollard::models::TaskState;
use chainpool_agent::{Error, ImageRef, LABEL_HASH, Labels, Result};
use std::time::Duration;
use tokio::time::Instant;

/// How long the swarm may find no place for a task on a machine that is up.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How an errand came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did its work.
    Done,
    /// Somebody removed it before that was seen: look again at what there is.
    Removed,
}

impl Manager<'_> {
    /// The image of our small programs, of this very version.
    pub(super) async fn tools_image(&self) -> Result<ImageRef> {
        self.image_ensure(&[format!("chainpool/tools:{}", env!("CARGO_PKG_VERSION"))])
            .await
    }

    /// Runs an errand, or adopts the one of the same name and work that runs already. Leaves nothing of it behind when it is done.
    pub(super) async fn errand_run(&self, errand: Errand) -> Result<Outcome> {
        let (name, wanted) = (errand.name.clone(), errand.labels.clone());
        let Some(labels) = Labels::from_map(&wanted) else {
            return Err(Error::Refused(format!("{name}: an errand has readable labels")));
        };
        let spec = errand_service(errand);
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
                    let task = newest(&self.errand_tasks(&labels, &found.id).await?).cloned();
                    let failed = task.is_some_and(|t| {
                        !matches!(t.course(), Course::Before | Course::Runs | Course::Ended(0))
                    });
                    if !failed
                        && found.labels.and_then(|l| l.hash).map(|h| h.0).as_ref() == wanted.get(LABEL_HASH)
                    {
                        break found.id;
                    }
                    self.service_remove(&found.id, &name).await?;
                }
            }
            if !look_again(deadline).await {
                return Err(Error::Busy(format!(
                    "the errand {name} does not settle in the swarm"
                )));
            }
        };
        let outcome = self.errand_wait(&name, &labels, &id).await;
        self.service_remove(&id, &name).await?;
        outcome
    }

    async fn errand_wait(&self, name: &str, labels: &Labels, id: &str) -> Result<Outcome> {
        let start = Instant::now();
        loop {
            let tasks = self.errand_tasks(labels, id).await?;
            let task = newest(&tasks);
            match task.map(|task| (task, task.course())) {
                Some((_, Course::Ended(0))) => return Ok(Outcome::Done),
                // An engine may be unable to start a container at one moment (seen: a mount still busy) and able at the next.
                Some((task, Course::Failed)) if !task.fails_for_good() => {
                    return Err(Error::Busy(format!(
                        "the errand {name} could not be started: {}",
                        task.words
                    )));
                }
                Some((task, Course::Ended(_) | Course::Failed)) => {
                    let said = self.last_words(task).await;
                    return Err(Error::Refused(format!(
                        "the errand {name} failed: {}{said}",
                        task.words
                    )));
                }
                _ => {}
            }
            let limit = if task.is_some_and(|t| t.state == TaskState::PREPARING) {
                PULL
            } else {
                SETTLE
            };
            let waits =
                task.is_some_and(|t| t.state == TaskState::PENDING && t.words.contains("no suitable node"));
            if !look_again(start + if waits { PATIENCE } else { limit }).await {
                let words = task.map_or("the swarm has not begun it", |t| t.words.as_str());
                return Err(Error::Busy(format!(
                    "the errand {name} does not come to its end: {words}"
                )));
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

    async fn errand_tasks(&self, labels: &Labels, id: &str) -> Result<Vec<Task>> {
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
            Err(fault) if fault.is(404) => Ok(None),
            Err(fault) => Err(fault.into_error(&format!("show the service {name}"))),
        }
    }
}
