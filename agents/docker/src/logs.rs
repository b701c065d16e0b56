//! A node's output.

use crate::{
    DockerAgent,
    engine::{CALL, Engine},
    transport::Flow,
};
use bollard::{container::LogOutput, errors::Error as Bollard, query_parameters::LogsOptionsBuilder};
use chainpool_agent::{ClusterKey, Error, LogLine, LogQuery, LogStream, NodeName, Result, node_object_name};
use futures::{Stream, StreamExt, stream};
use std::{sync::Arc, time::Duration};

/// The kind of a frame with an engine error, and the length of a frame header.
const SYSTEM_ERROR: u8 = 3;
const HEADER: usize = 8;

impl DockerAgent {
    pub(crate) async fn node_logs(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        query: &LogQuery,
    ) -> Result<LogStream> {
        let LogQuery { tail, since, follow } = query;
        // Looked up first: an absent node is an error, and foreign output is never read.
        let Some(container) = self.container_find(key, node).await? else {
            return Err(Error::Refused(format!(
                "node {node} has no container {}: it was not created, or was removed",
                node_object_name(key, node)
            )));
        };
        let (docker, flow) = self.engine.docker_streaming().await?;
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(*follow)
            .since(self::since(*since))
            .tail(&self::tail(*tail))
            .build();
        let source = docker.logs(&container.id, Some(options));
        Ok(lines(self.engine.clone(), flow, source, *follow))
    }
}

/// The lines of a log as the engine sends them.
pub(crate) fn lines<S>(engine: Arc<Engine>, flow: Arc<Flow>, source: S, follow: bool) -> LogStream
where
    S: Stream<Item = Result<LogOutput, Bollard>> + Send + 'static,
{
    let source = flow.through(source).boxed();
    let frames = Frames {
        engine,
        source,
        limit: (!follow).then_some(CALL),
        over: false,
    };
    stream::unfold(frames, async |mut frames| {
        frames.next().await.map(|line| (line, frames))
    })
    .boxed()
}

/// A log's first second, as an engine parameter.
pub(crate) fn since(second: i64) -> i32 {
    i32::try_from(second).unwrap_or(if second < 0 { 0 } else { i32::MAX })
}

/// The number of newest lines, as an engine parameter.
pub(crate) fn tail(lines: Option<u32>) -> String {
    lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string())
}

/// The engine's frames as lines. Without `follow`, each must arrive within the time limit of a call; a
/// followed log has no time limit.
struct Frames<S> {
    engine: Arc<Engine>,
    source: S,
    limit: Option<Duration>,
    over: bool,
}

impl<S: Stream<Item = Result<LogOutput, Bollard>> + Unpin> Frames<S> {
    async fn next(&mut self) -> Option<Result<LogLine>> {
        if self.over {
            return None;
        }
        let frame = match self.limit {
            None => self.source.next().await?,
            Some(limit) => {
                let Ok(frame) = tokio::time::timeout(limit, self.source.next()).await else {
                    self.over = true;
                    return Some(Err(Error::Unreachable(format!(
                        "{}: the log stream stalled; retry",
                        self.engine.address()
                    ))));
                };
                frame?
            }
        };
        Some(match frame {
            // An engine error, which bollard parses as console output: a swarm that cannot fetch the log
            // reports it here.
            Ok(LogOutput::Console { message }) if message.first() == Some(&SYSTEM_ERROR) => {
                self.over = true;
                let message = self
                    .engine
                    .sanitized(String::from_utf8_lossy(message.get(HEADER..).unwrap_or_default()).trim());
                Err(Error::Busy(format!("{}: {message}", self.engine.address())))
            }
            Ok(LogOutput::StdErr { message }) => Ok(LogLine {
                stderr: true,
                bytes: message,
            }),
            Ok(other) => Ok(LogLine {
                stderr: false,
                bytes: other.into_bytes(),
            }),
            Err(e) => {
                self.over = true;
                Err(self.engine.call_error(e).into_error("read the log"))
            }
        })
    }
}
