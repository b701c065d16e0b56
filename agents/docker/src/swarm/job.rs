//! One job: its service, from absent to its end, and the record of its success.
//!
//! A swarm forgets what its tasks did. So a job that has ended well gets a config without content that says so, and its service is
//! removed, its environment with it. The service of one that ended badly stays with its log, until the job is asked for again.

use super::{
    manager::Manager,
    service::job_service,
    task::{Course, Task, newest},
};
use crate::{
    engine::{SETTLE, look_again},
    job::{LAST_LINES, LAST_WORDS, last_lines, told},
};
use bollard::{models::TaskState, query_parameters::LogsOptionsBuilder};
use chainpool_agent::{ClusterKey, Error, ImageRef, NodeSpec, Result, node_object_name};
use std::collections::VecDeque;
use tokio::time::{Instant, timeout};

impl Manager<'_> {
    /// Runs a job to its end, unless it has ended well before.
    pub(super) async fn job_ensure(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        let object = node_object_name(key, &job.name);
        let deadline = Instant::now() + SETTLE;
        loop {
            let service = self.node_service(key, &job.name).await?;
            for success in self.records(&self.node_filter(key, &job.name)).await?.successes {
                if success.labels.hash.as_ref() != Some(&job.hash) {
                    self.success_remove(&success).await?;
                    continue;
                }
                // Whoever wrote it down may have been cut off right after.
                return match &service {
                    Some(found) => self.service_remove(&found.id, &object).await,
                    None => Ok(()),
                };
            }
            match service {
                Some(found) if found.labels.as_ref().and_then(|l| l.hash.as_ref()) == Some(&job.hash) => {
                    let tasks = self.job_tasks(key, job, &found.id).await?;
                    // One that ended badly when nobody waited for it, or was told so before, runs anew.
                    if !newest(&tasks).is_some_and(is_bad) {
                        return self.job_wait(key, job, &found.id, deadline).await;
                    }
                    self.node_retire(key, job, &found).await?;
                }
                Some(stale) => self.node_retire(key, job, &stale).await?,
                None => {}
            }
            if let Some(id) = self.job_create(key, job, image).await? {
                return self.job_wait(key, job, &id, deadline).await;
            }
            if !look_again(deadline).await {
                return Err(Error::Busy(format!("{object} does not settle in the swarm")));
            }
        }
    }

    /// Makes the job's service and returns its id. `None`: somebody else was faster; look at theirs.
    async fn job_create(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<Option<String>> {
        let seen = self.node_machine(key, job).await?;
        let network = self.network_id(key).await?;
        let spec = job_service(self.hands.instance, key, job, image, &seen.machine.id, &network)?;
        if !self.node_prepare(key, job, &seen.machine.id).await? {
            return Ok(None);
        }
        self.service_create(spec, &image.name).await
    }

    /// Waits for the job's end, and writes a good one down.
    async fn job_wait(&self, key: &ClusterKey, job: &NodeSpec, id: &str, deadline: Instant) -> Result<()> {
        let (name, object) = (&job.name, node_object_name(key, &job.name));
        loop {
            let tasks = self.job_tasks(key, job, id).await?;
            let task = newest(&tasks);
            match task.map(|task| (task, task.course())) {
                Some((task, Course::Ended(0))) if !is_bad(task) => {
                    self.success_note(key, job).await?;
                    return self.service_remove(id, &object).await;
                }
                // It was ended by the swarm, or the engine could not start it at this moment, and may at the next.
                Some((task, Course::Failed)) if !task.fails_for_good() => {
                    return Err(self.job_again(job, id, &object, task).await);
                }
                Some((task, _)) if task.state == TaskState::SHUTDOWN => {
                    return Err(self.job_again(job, id, &object, task).await);
                }
                Some((task, Course::Ended(code))) => {
                    return Err(Error::Refused(format!(
                        "job {name} ended with {code}{}",
                        self.last_words(task).await
                    )));
                }
                Some((task, Course::Failed)) => {
                    return Err(Error::Refused(format!(
                        "the swarm would not start job {name}: {}",
                        task.words
                    )));
                }
                None if self
                    .service_inspect(&object)
                    .await?
                    .is_none_or(|found| found.id != id) =>
                {
                    return Err(Error::Busy(format!("job {name} was removed while it ran")));
                }
                _ => {}
            }
            if !look_again(deadline).await {
                let words = match task.map(|task| (task, task.course())) {
                    Some((_, Course::Runs)) => "still runs".to_owned(),
                    Some((task, _)) => format!("does not start: {}", task.words),
                    None => "does not start: the swarm has not begun it".to_owned(),
                };
                return Err(Error::Busy(format!("job {name} {words}")));
            }
        }
    }

    /// Clears the way for another try.
    async fn job_again(&self, job: &NodeSpec, id: &str, object: &str, task: &Task) -> Error {
        match self.service_remove(id, object).await {
            Ok(()) => Error::Busy(format!(
                "job {} did not come to its end and is run anew: {}",
                job.name, task.words
            )),
            Err(error) => error,
        }
    }

    async fn job_tasks(&self, key: &ClusterKey, job: &NodeSpec, id: &str) -> Result<Vec<Task>> {
        let mut tasks = self.node_tasks(key, &job.name).await?;
        tasks.retain(|task| task.service == id);
        Ok(tasks)
    }

    /// What a task that failed wrote last, if its machine still tells; the task's own word must do otherwise.
    pub(super) async fn last_words(&self, task: &Task) -> String {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&LAST_LINES.to_string())
            .build();
        let lines = async { last_lines(self.task_log(task, options, false).await?).await };
        told(
            timeout(LAST_WORDS, lines)
                .await
                .map_or_else(|_| VecDeque::new(), Result::unwrap_or_default),
        )
    }
}

/// Whether a job's task is over and did not end well.
fn is_bad(task: &Task) -> bool {
    task.is_over() && task.state != TaskState::COMPLETE
}
