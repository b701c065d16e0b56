//! A node's output. The machines keep it as one stream, so what went to the error output is not told apart.

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

/// The most that is held of one line, in bytes. A longer one comes in pieces.
const LINE: u64 = 1 << 20;

impl KubernetesAgent {
    pub(crate) async fn node_logs(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        query: &LogQuery,
    ) -> Result<LogStream> {
        let LogQuery { tail, since, follow } = query;
        // Looked at first, so that an absent node is an error here and a foreign one's output is never read.
        let pod = match self.pod_find(key, node).await? {
            None => self.job_pod(key, node).await?,
            pod => pod,
        };
        let Some(pod) = pod else {
            return Err(Error::Refused(format!(
                "node {node} has no pod {}/{}: it was not made, is stopped, or is gone",
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
            .map_err(|fault| {
                if fault.says("is waiting to start") {
                    return Error::Busy(format!(
                        "node {node} has said nothing yet: its container has not started"
                    ));
                }
                if fault.says("could not find the requested resource") {
                    // The pod is there: this is its machine's word, which has just started and knows none yet.
                    return Error::Busy(format!("node {node}'s machine does not know its log yet"));
                }
                fault.into_error(&format!("show the log of node {node}"))
            })?;
        let lines = Lines {
            server: self.server.clone(),
            reader: Box::pin(reader),
            limit: (!follow).then_some(CALL),
            over: false,
        };
        Ok(stream::unfold(lines, async |mut lines| {
            lines.next().await.map(|line| (line, lines))
        })
        .boxed())
    }
}

/// The server's bytes as lines. Without `follow` each must come within the limit of a call; a followed node may be
/// silent for as long as it likes.
struct Lines {
    server: Arc<Server>,
    reader: Pin<Box<dyn AsyncBufRead + Send>>,
    limit: Option<Duration>,
    over: bool,
}

impl Lines {
    async fn next(&mut self) -> Option<Result<LogLine>> {
        if self.over {
            return None;
        }
        let mut line = Vec::new();
        let mut part = self.reader.as_mut().take(LINE);
        let read = part.read_until(b'\n', &mut line);
        let read = match self.limit {
            None => read.await,
            Some(limit) => match tokio::time::timeout(limit, read).await {
                Ok(read) => read,
                Err(_) => return Some(self.end("the log stopped in the middle")),
            },
        };
        match read {
            Ok(0) => None,
            Ok(_) => Some(Ok(LogLine {
                stderr: false,
                bytes: Bytes::from(line),
            })),
            Err(e) => Some(self.end(&e.to_string())),
        }
    }

    fn end(&mut self, why: &str) -> Result<LogLine> {
        self.over = true;
        Err(Error::Unreachable(format!("{}: {why}", self.server.address())))
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
            over: false,
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
    async fn a_line_without_end_comes_in_pieces() {
        let mut endless = lines(BufReader::new(repeat(b'x')));
        for _ in 0..3 {
            let piece = endless.next().await.expect("it goes on").expect("a piece");
            assert_eq!(u64::try_from(piece.bytes.len()), Ok(LINE));
        }
    }

    #[tokio::test]
    async fn a_log_is_read_line_by_line_to_its_last() {
        assert_eq!(
            all(lines(Cursor::new("one\n\nlast"))).await,
            ["one\n", "\n", "last"]
        );
        let most = "x".repeat(usize::try_from(LINE).expect("a length"));
        assert_eq!(
            all(lines(Cursor::new(format!("{most}\nlast\n")))).await,
            [most.as_str(), "\n", "last\n"]
        );
    }
}
