//! One job: its service, from absent to completed, and the record of its success.
//!
//! A swarm forgets what its tasks did. So a completed job gets an empty config as record, and its service is
//! removed with its environment, unless the job has a result: it is in its log. The service of a failed job
//! stays, with its log, until the job is requested again.

use super::{
    manager::Manager,
    service::job_service,
    task::{Progress, Task, newest},
};
use crate::{
    engine::{SETTLE, wait_for_retry},
    job::{LAST_LINES, LAST_OUTPUT_TIMEOUT, last_lines, suffix},
};
use bollard::{models::TaskState, query_parameters::LogsOptionsBuilder};
use chainpool_agent::{ClusterKey, Error, ImageRef, NodeSpec, Result, node_object_name};
use std::collections::VecDeque;
use tokio::time::{Instant, timeout};

impl Manager<'_> {
    /// Runs a job to completion, unless it has completed before.
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
                // A previous call may have been cut off right after the record.
                return match &service {
                    Some(found) if !job.result => self.service_remove(&found.id, &object).await,
                    _ => Ok(()),
                };
            }
            match service {
                Some(found) if found.labels.as_ref().and_then(|l| l.hash.as_ref()) == Some(&job.hash) => {
                    let tasks = self.job_tasks(key, job, &found.id).await?;
                    // It failed while no call waited for it, or its failure was reported before: run it
                    // again.
                    if !newest(&tasks).is_some_and(has_failed) {
                        return self.job_wait(key, job, &found.id, deadline).await;
                    }
                    self.node_remove_stale(key, job, &found).await?;
                }
                Some(stale) => self.node_remove_stale(key, job, &stale).await?,
                None => {}
            }
            if let Some(id) = self.job_create(key, job, image).await? {
                return self.job_wait(key, job, &id, deadline).await;
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!("{object} is still changing in the swarm")));
            }
        }
    }

    /// Creates the job's service and returns its id. `None`: a concurrent call was faster; inspect its
    /// service.
    async fn job_create(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<Option<String>> {
        let target = self.node_machine(key, job).await?;
        let network = self.network_id(key).await?;
        let spec = job_service(self.agent.instance, key, job, image, &target.machine.id, &network)?;
        if !self.node_prepare(key, job, &target.machine.id).await? {
            return Ok(None);
        }
        self.service_create(spec, &image.name).await
    }

    /// Waits for the job to exit, and records a success.
    async fn job_wait(&self, key: &ClusterKey, job: &NodeSpec, id: &str, deadline: Instant) -> Result<()> {
        let (name, object) = (&job.name, node_object_name(key, &job.name));
        loop {
            let tasks = self.job_tasks(key, job, id).await?;
            let task = newest(&tasks);
            match task.map(|task| (task, task.progress())) {
                Some((task, Progress::Exited(0))) if !has_failed(task) => {
                    self.success_record(key, job).await?;
                    return if job.result {
                        Ok(())
                    } else {
                        self.service_remove(id, &object).await
                    };
                }
                // The swarm stopped it, or a start failed transiently.
                Some((task, Progress::Failed)) if !task.is_permanent_failure() => {
                    return Err(self.job_discard(job, id, &object, task).await);
                }
                Some((task, _)) if task.state == TaskState::SHUTDOWN => {
                    return Err(self.job_discard(job, id, &object, task).await);
                }
                Some((task, Progress::Exited(code))) => {
                    return Err(Error::Refused(format!(
                        "job {name} exited with {code}{}",
                        self.last_output(task).await
                    )));
                }
                Some((task, Progress::Failed)) => {
                    return Err(Error::Refused(format!(
                        "the swarm failed to start job {name}: {}",
                        task.message
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
            if !wait_for_retry(deadline).await {
                let progress = match task.map(|task| (task, task.progress())) {
                    Some((_, Progress::Running)) => "is still running".to_owned(),
                    Some((task, _)) => format!("does not start: {}", task.message),
                    None => "does not start: the swarm has not started it yet".to_owned(),
                };
                return Err(Error::Busy(format!("job {name} {progress}")));
            }
        }
    }

    /// Removes the service for another attempt.
    async fn job_discard(&self, job: &NodeSpec, id: &str, object: &str, task: &Task) -> Error {
        match self.service_remove(id, object).await {
            Ok(()) => Error::Busy(format!(
                "job {} did not complete and is run again: {}",
                job.name, task.message
            )),
            Err(error) => error,
        }
    }

    async fn job_tasks(&self, key: &ClusterKey, job: &NodeSpec, id: &str) -> Result<Vec<Task>> {
        let mut tasks = self.node_tasks(key, &job.name).await?;
        tasks.retain(|task| task.service == id);
        Ok(tasks)
    }

    /// The last output of a failed task, if its machine still has it.
    pub(super) async fn last_output(&self, task: &Task) -> String {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&LAST_LINES.to_string())
            .build();
        let lines = async { last_lines(self.task_log(task, options, false).await?).await };
        suffix(
            timeout(LAST_OUTPUT_TIMEOUT, lines)
                .await
                .map_or_else(|_| VecDeque::new(), Result::unwrap_or_default),
        )
    }
}

/// Returns true if a job's task has finished without success.
fn has_failed(task: &Task) -> bool {
    task.is_finished() && task.state != TaskState::COMPLETE
}
