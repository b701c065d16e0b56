//! One job: its container, from absent to its end. The container stays when it has ended: it is the record.

use crate::{
    DockerAgent,
    archive::Fresh,
    container::job_body,
    engine::{SETTLE, look_again},
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

/// How many lines of a job that ended badly are told.
pub(crate) const LAST_LINES: usize = 5;
/// How long they may take to come.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(5);
/// How much of each is told, in bytes.
const LINE: usize = 4 << 10;

impl DockerAgent {
    /// Runs a job to its end, unless it has ended well before.
    pub(crate) async fn job_ensure(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        let name = node_object_name(key, &job.name);
        let deadline = Instant::now() + SETTLE;
        loop {
            match self.container_usable(key, job, None).await? {
                Some(found) => match found.status {
                    Status::EXITED if found.code == 0 => return Ok(()),
                    // It ended badly when nobody waited for it, or was told so before.
                    Status::EXITED => self.container_discard(&found.id, &name).await?,
                    Status::CREATED => {
                        // Never started: whoever made it may have been cut off before its files were there.
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
            if !look_again(deadline).await {
                return Err(Error::Busy(format!("{name} does not settle on the engine")));
            }
        }
    }

    async fn job_run(&self, id: &str, job: &NodeSpec, fresh: &Fresh, deadline: Instant) -> Result<()> {
        self.files_place(id, job, fresh).await?;
        self.container_start(id, job).await?;
        self.job_wait(id, job, deadline).await
    }

    /// Waits for the end of a job that was started.
    async fn job_wait(&self, id: &str, job: &NodeSpec, deadline: Instant) -> Result<()> {
        let name = &job.name;
        loop {
            let docker = self.engine.docker().await?;
            // What it answers is looked up: it knows no more, and is over early when the engine goes down.
            let mut end = docker.wait_container(id, None::<WaitContainerOptions>);
            let ended = timeout_at(deadline, end.next()).await.is_ok();
            let Some(found) = self.container_inspect(id).await? else {
                return Err(Error::Busy(format!("job {name} was removed while it ran")));
            };
            match found.status {
                Status::EXITED | Status::DEAD if found.code == 0 => return Ok(()),
                Status::EXITED | Status::DEAD => {
                    let said = self.last_words(id).await;
                    return Err(Error::Refused(format!(
                        "job {name} ended with {}{said}",
                        found.code
                    )));
                }
                _ if ended && look_again(deadline).await => {}
                _ => return Err(Error::Busy(format!("job {name} still runs"))),
            }
        }
    }

    /// What a container wrote last, if the engine tells.
    async fn last_words(&self, id: &str) -> String {
        let Ok((docker, flow)) = self.engine.docker_streaming().await else {
            return String::new();
        };
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&LAST_LINES.to_string())
            .build();
        let lines = logs::lines(self.engine.clone(), flow, docker.logs(id, Some(options)), false);
        told(
            timeout(LAST_WORDS, last_lines(lines))
                .await
                .map_or_else(|_| VecDeque::new(), Result::unwrap_or_default),
        )
    }
}

/// The last lines of a log, of which an engine may send more than it was asked for.
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

/// Lines as the end of a sentence; the words before them must do when there are none.
pub(crate) fn told(lines: VecDeque<LogLine>) -> String {
    let bytes: Vec<u8> = lines.into_iter().flat_map(|line| line.bytes).collect();
    let text = String::from_utf8_lossy(&bytes);
    if text.trim().is_empty() {
        String::new()
    } else {
        format!(": {}", text.trim())
    }
}
