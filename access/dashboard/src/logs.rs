//! The log of a node: a page, a download, and a stream that follows.

use crate::{
    clusters::Head,
    error::{PageResult, Rejection},
    leases::attachment,
    page::{self, Frame},
    request::AuthedRequest,
    state::App,
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use chainpool_api::Timestamp;
use chainpool_orchestrator::{ClusterLog, Error, LogQuery, LogStream, StreamScope};
use futures::StreamExt;
use std::{convert::Infallible, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Time limit for reading a log, even if the platform is still sending.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a log on a page.
const PAGE_BYTES: usize = 512 * 1024;
/// Maximum size of a download.
const FILE_BYTES: usize = 32 * 1024 * 1024;

#[derive(Template)]
#[template(path = "clusters/logs.html")]
struct LogsPage {
    frame: Frame,
    head: Head,
    node: String,
    tail: u32,
    minutes: String,
    search: String,
    lines: Vec<Line>,
    note: String,
}

impl LogsPage {
    /// The choices for the number of lines; true for the selected one.
    fn tails(&self) -> [(u32, bool); 4] {
        [50, 200, 1000, 5000].map(|count| (count, count == self.tail))
    }
}

/// A displayed line.
struct Line {
    stderr: bool,
    text: String,
}

/// The node and the range of its log that the address requests.
struct LogRequest {
    node: String,
    tail: u32,
    minutes: String,
    search: String,
}

impl LogRequest {
    fn of(request: &AuthedRequest, head: &Head) -> Result<Self, Error> {
        let first = head.cluster.nodes.first().map(|node| node.name.clone());
        let node = request.query("node").or(first).ok_or_else(|| {
            Error::conflict(
                "no_nodes",
                "the cluster has no nodes yet; wait until it is created",
            )
        })?;
        let tail = request
            .query("tail")
            .and_then(|tail| tail.parse().ok())
            .unwrap_or(200)
            .clamp(1, 5000);
        let minutes = request
            .query("minutes")
            .filter(|minutes| minutes.parse::<u32>().is_ok())
            .unwrap_or_default();
        Ok(Self {
            node,
            tail,
            minutes,
            search: request.query("search").unwrap_or_default(),
        })
    }

    fn query(&self, follow: bool) -> LogQuery {
        let minutes: i64 = self.minutes.parse().unwrap_or_default();
        let since = if minutes > 0 {
            Timestamp::now().0 / 1000 - minutes * 60
        } else {
            0
        };
        LogQuery {
            tail: Some(self.tail),
            since,
            follow,
        }
    }
}

/// The most recent lines of a node's log.
pub(crate) async fn show(
    State(app): State<App>,
    request: AuthedRequest,
    Path(cluster): Path<String>,
) -> PageResult {
    let head = Head::read(&app, &request, &cluster, "logs").await?;
    let log_request = LogRequest::of(&request, &head)?;
    let id = head.cluster.id.to_string();
    let (mut lines, note) = match app
        .orchestrator
        .cluster_logs(&request.caller, &id, &log_request.node, log_request.query(false))
        .await
    {
        Ok(log) => read_lines(log.lines, PAGE_BYTES).await,
        Err(error @ (Error::Unavailable(_) | Error::Conflict(_))) => (Vec::new(), error.problem().message),
        Err(error) => return Err(error.into()),
    };
    if !log_request.search.is_empty() {
        let search = log_request.search.to_lowercase();
        lines.retain(|line| line.text.to_lowercase().contains(&search));
    }
    let frame = head.frame(&app, &request).await.crumb("Logs", "");
    let LogRequest {
        node,
        tail,
        minutes,
        search,
    } = log_request;
    page::html(&LogsPage {
        frame,
        head,
        node,
        tail,
        minutes,
        search,
        lines,
        note,
    })
}

/// Reads a log to its end or to a limit of size or time. Returns a note if it is incomplete.
async fn read_lines(mut stream: LogStream, most: usize) -> (Vec<Line>, String) {
    let end = Instant::now() + READ_TIMEOUT;
    let (mut lines, mut size) = (Vec::new(), 0);
    loop {
        match timeout_at(end, stream.next()).await {
            Ok(Some(Ok(line))) => {
                size += line.bytes.len();
                lines.push(Line {
                    stderr: line.stderr,
                    text: text(&line.bytes),
                });
            }
            Ok(Some(Err(error))) => return (lines, error.to_string()),
            Ok(None) => return (lines, String::new()),
            Err(_) => {
                return (
                    lines,
                    "the platform is slow; showing the lines received in 10 s".into(),
                );
            }
        }
        if size > most {
            return (
                lines,
                "the log is truncated; select fewer lines or download it".into(),
            );
        }
    }
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    strip_colours(text.trim_end_matches(['\n', '\r']))
}

/// Removes terminal colour sequences: `ESC [ … letter`.
fn strip_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            out.push(c);
        } else if rest.next() == Some('[') {
            rest.by_ref().find(char::is_ascii_alphabetic);
        }
    }
    out
}

/// The log as a file.
pub(crate) async fn download(
    State(app): State<App>,
    request: AuthedRequest,
    Path(cluster): Path<String>,
) -> PageResult {
    let head = Head::read(&app, &request, &cluster, "logs").await?;
    let log_request = LogRequest::of(&request, &head)?;
    let query = LogQuery {
        tail: None,
        since: 0,
        follow: false,
    };
    let log = app
        .orchestrator
        .cluster_logs(
            &request.caller,
            &head.cluster.id.to_string(),
            &log_request.node,
            query,
        )
        .await?;
    let (lines, note) = read_lines(log.lines, FILE_BYTES).await;
    let mut content: String = lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect();
    if !note.is_empty() {
        content.extend(["-- ", note.as_str(), "\n"]);
    }
    Ok(attachment(
        &format!("{}-{}.log", head.cluster.name, log_request.node),
        "text/plain; charset=utf-8",
        content,
    ))
}

/// New lines as they are written, while the caller is signed in and has access to the cluster.
pub(crate) async fn stream(
    State(app): State<App>,
    request: AuthedRequest,
    Path(cluster): Path<String>,
) -> Result<impl IntoResponse, Rejection> {
    let head = Head::read(&app, &request, &cluster, "logs").await?;
    let log_request = LogRequest::of(&request, &head)?;
    let query = LogQuery {
        tail: Some(0),
        since: 0,
        follow: true,
    };
    let log = app
        .orchestrator
        .cluster_logs(
            &request.caller,
            &head.cluster.id.to_string(),
            &log_request.node,
            query,
        )
        .await?;
    let ClusterLog { cluster, lines } = log;
    let events = lines.map(|line| {
        Ok::<_, Infallible>(match line {
            Ok(line) => Event::default()
                .event(if line.stderr { "stderr" } else { "stdout" })
                .data(text(&line.bytes).replace('\r', "")),
            Err(error) => Event::default()
                .event("end")
                .data(error.to_string().replace(['\n', '\r'], " ")),
        })
    });
    let end = request.stream_end(&app, StreamScope::Cluster(cluster))?;
    Ok(Sse::new(events.take_until(Box::pin(end))).keep_alive(KeepAlive::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_colours_are_removed() {
        assert_eq!(
            text(b"\x1b[90m12:04\x1b[0m \x1b[32mINF\x1b[0m committed <1>\r\n"),
            "12:04 INF committed <1>"
        );
    }
}
