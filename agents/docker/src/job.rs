//! One job: its container, from absent to completed. The exited container stays as the record.

use crate::{
    DockerAgent,
    archive::Fresh,
    container::job_body,
    engine::{SETTLE, wait_for_retry},
    logs,
};
use bollard::{
    models::ContainerStateStatusEnum as Status,
    query_parameters::{LogsOptionsBuilder, WaitContainerOptions},
};
use chainpool_agent::{ClusterKey, Error, ImageRef, LogLine, LogStream, NodeSpec, Result, node_object_name};
use futures::{StreamExt, TryStreamExt};
use std::{collections::VecDeque, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};

/// Number of last lines of a failed job in its error.
pub(crate) const LAST_LINES: usize = 5;
/// Time limit of reading them.
pub(crate) const LAST_OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum bytes of each line.
const LINE: usize = 4 << 10;

impl DockerAgent {
    /// Runs a job to completion, unless it has completed before.
    pub(crate) async fn job_ensure(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        let name = node_object_name(key, &job.name);
        let deadline = Instant::now() + SETTLE;
        loop {
            match self.container_usable(key, job, None).await? {
                Some(found) => match found.status {
                    Status::EXITED if found.code == 0 => return Ok(()),
                    // It failed while no call waited for it, or its failure was reported before.
                    Status::EXITED => self.container_discard(&found.id, &name).await?,
                    Status::CREATED => {
                        // Never started: a previous call may have been cut off before it placed the files.
                        let volumes = self.volumes_ensure(key, job).await?;
                        return self
                            .job_run(
                                &found.id,
                                job,
                                &Fresh {
                                    container: false,
                                    volumes,
                                },
                                deadline,
                            )
                            .await;
                    }
                    _ => {
                        self.container_unpause(&found).await?;
                        return self.job_wait(&found.id, job, deadline).await;
                    }
                },
                None => {
                    let volumes = self.volumes_ensure(key, job).await?;
                    let body = job_body(self.instance, key, job, image)?;
                    if let Some(id) = self.container_create(key, &job.name, body, image).await? {
                        return self
                            .job_run(
                                &id,
                                job,
                                &Fresh {
                                    container: true,
                                    volumes,
                                },
                                deadline,
                            )
                            .await;
                    }
                }
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!("{name} is still changing on the engine")));
            }
        }
    }

    async fn job_run(&self, id: &str, job: &NodeSpec, fresh: &Fresh, deadline: Instant) -> Result<()> {
        self.files_place(id, job, fresh).await?;
        self.container_start(id, job).await?;
        self.job_wait(id, job, deadline).await
    }

    /// Waits for a started job to exit.
    async fn job_wait(&self, id: &str, job: &NodeSpec, deadline: Instant) -> Result<()> {
        let name = &job.name;
        loop {
            let docker = self.engine.docker().await?;
            // The result is inspected afterwards: the wait also ends when the engine stops.
            let mut end = docker.wait_container(id, None::<WaitContainerOptions>);
            let ended = timeout_at(deadline, end.next()).await.is_ok();
            let Some(found) = self.container_inspect(id).await? else {
                return Err(Error::Busy(format!("job {name} was removed while it ran")));
            };
            match found.status {
                Status::EXITED | Status::DEAD if found.code == 0 => return Ok(()),
                Status::EXITED | Status::DEAD => {
                    let output = self.last_output(id).await;
                    return Err(Error::Refused(format!(
                        "job {name} exited with {}{output}",
                        found.code
                    )));
                }
                _ if ended && wait_for_retry(deadline).await => {}
                _ => return Err(Error::Busy(format!("job {name} is still running"))),
            }
        }
    }

    /// The last output of a container, if available.
    async fn last_output(&self, id: &str) -> String {
        let Ok((docker, flow)) = self.engine.docker_streaming().await else {
            return String::new();
        };
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&LAST_LINES.to_string())
            .build();
        let lines = logs::lines(self.engine.clone(), flow, docker.logs(id, Some(options)), false);
        suffix(
            timeout(LAST_OUTPUT_TIMEOUT, last_lines(lines))
                .await
                .map_or_else(|_| VecDeque::new(), Result::unwrap_or_default),
        )
    }
}

/// The last lines of a log. Engines may send more lines than requested.
pub(crate) async fn last_lines(lines: LogStream) -> Result<VecDeque<LogLine>> {
    let keep = async |mut last: VecDeque<LogLine>, mut line: LogLine| {
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        line.bytes.truncate(LINE);
        last.push_back(line);
        Ok(last)
    };
    lines.try_fold(VecDeque::new(), keep).await
}

/// Lines as the suffix of an error message; empty without lines.
pub(crate) fn suffix(lines: VecDeque<LogLine>) -> String {
    let bytes: Vec<u8> = lines.into_iter().flat_map(|line| line.bytes).collect();
    let text = String::from_utf8_lossy(&bytes);
    if text.trim().is_empty() {
        String::new()
    } else {
        format!(": {}", text.trim())
    }
}
