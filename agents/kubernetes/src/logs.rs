//! A node's log. Kubernetes stores standard output and standard error as one stream.

use crate::{
    KubernetesAgent,
    build::pod_name,
    pod::NODE,
    server::{CALL, Server},
};
use bytes::Bytes;
use chainpool_agent::{ClusterKey, Error, LogLine, LogQuery, LogStream, NodeName, Result, network_name};
use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, StreamExt, stream};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, ResourceExt, api::LogParams};
use std::{pin::Pin, sync::Arc, time::Duration};

/// Maximum bytes of a buffered line. Longer lines are split.
const LINE: u64 = 1 << 20;

impl KubernetesAgent {
    pub(crate) async fn node_logs(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        query: &LogQuery,
    ) -> Result<LogStream> {
        let LogQuery { tail, since, follow } = query;
        // Check first: an absent node is an error, and a foreign node's log is never read.
        let pod = match self.pod_find(key, node).await? {
            None => self.job_pod(key, node).await?,
            pod => pod,
        };
        let Some(pod) = pod else {
            return Err(Error::Refused(format!(
                "node {node} has no pod {}/{}: it was not created, is stopped or was deleted",
                network_name(key),
                pod_name(node)
            )));
        };
        let api: Api<Pod> = self.server.within(&network_name(key))?;
        let params = LogParams {
            container: Some(NODE.to_owned()),
            follow: *follow,
            tail_lines: tail.map(i64::from),
            since_time: (*since > 0).then(|| Timestamp::from_second(*since).unwrap_or(Timestamp::MAX)),
            ..LogParams::default()
        };
        let reader = self
            .server
            .call(CALL, api.log_stream(&pod.name_any(), &params))
            .await
            .map_err(|error| {
                if error.message_contains("is waiting to start") {
                    return Error::Busy(format!(
                        "node {node} has no log yet: its container has not started"
                    ));
                }
                if error.message_contains("could not find the requested resource") {
                    // The pod exists: its kubelet has just started and does not know the container yet.
                    return Error::Busy(format!(
                        "the log of node {node} is not available yet on its machine"
                    ));
                }
                error.into_error(&format!("read the log of node {node}"))
            })?;
        let lines = Lines {
            server: self.server.clone(),
            reader: Box::pin(reader),
            limit: (!follow).then_some(CALL),
            failed: false,
        };
        Ok(stream::unfold(lines, async |mut lines| {
            lines.next().await.map(|line| (line, lines))
        })
        .boxed())
    }
}

/// The response as lines. Without `follow` each line has the time limit of a call; with it, there is no
/// limit.
struct Lines {
    server: Arc<Server>,
    reader: Pin<Box<dyn AsyncBufRead + Send>>,
    limit: Option<Duration>,
    failed: bool,
}

impl Lines {
    async fn next(&mut self) -> Option<Result<LogLine>> {
        if self.failed {
            return None;
        }
        let mut line = Vec::new();
        let mut part = self.reader.as_mut().take(LINE);
        let read = part.read_until(b'\n', &mut line);
        let read = match self.limit {
            None => read.await,
            Some(limit) => match tokio::time::timeout(limit, read).await {
                Ok(read) => read,
                Err(_) => return Some(self.fail("timed out while reading the log")),
            },
        };
        match read {
            Ok(0) => None,
            Ok(_) => Some(Ok(LogLine {
                stderr: false,
                bytes: Bytes::from(line),
            })),
            Err(e) => Some(self.fail(&e.to_string())),
        }
    }

    fn fail(&mut self, reason: &str) -> Result<LogLine> {
        self.failed = true;
        Err(Error::Unreachable(format!("{}: {reason}", self.server.address())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::{BufReader, Cursor, repeat};
    use kube::Config;

    fn lines(reader: impl AsyncBufRead + Send + 'static) -> Lines {
        let server = Arc::new(Server::new(Config::new(
            "https://h:6443".parse().expect("an address"),
        )));
        Lines {
            server,
            reader: Box::pin(reader),
            limit: Some(CALL),
            failed: false,
        }
    }

    async fn all(mut lines: Lines) -> Vec<Bytes> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line.expect("a line").bytes);
        }
        all
    }

    #[tokio::test]
    async fn an_endless_line_is_split() {
        let mut endless = lines(BufReader::new(repeat(b'x')));
        for _ in 0..3 {
            let piece = endless.next().await.expect("another piece").expect("a piece");
            assert_eq!(u64::try_from(piece.bytes.len()), Ok(LINE));
        }
    }

    #[tokio::test]
    async fn a_log_is_read_line_by_line() {
        assert_eq!(
            all(lines(Cursor::new("one\n\nlast"))).await,
            ["one\n", "\n", "last"]
        );
        let longest = "x".repeat(usize::try_from(LINE).expect("a length"));
        assert_eq!(
            all(lines(Cursor::new(format!("{longest}\nlast\n")))).await,
            [longest.as_str(), "\n", "last\n"]
        );
    }
}
