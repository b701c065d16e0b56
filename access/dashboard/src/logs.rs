//! A node's log: a page, a download, and a stream that follows.

use crate::{
    clusters::Head,
    error::{Outcome, Refused},
    leases::download as as_file,
    page::{self, Frame},
    session::Visit,
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
use chainpool_orchestrator::{ClusterLog, Error, LogQuery, LogStream, StreamOf};
use futures::StreamExt;
use std::{convert::Infallible, time::Duration};
use tokio::time::{Instant, timeout_at};

/// A log that is shown ends after this long, even when the platform goes on telling.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that a page shows.
const PAGE_BYTES: usize = 512 * 1024;
/// The most that a download holds.
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
    /// The choices of how many lines, and whether each is the chosen one.
    fn tails(&self) -> [(u32, bool); 4] {
        [50, 200, 1000, 5000].map(|count| (count, count == self.tail))
    }
}

/// A line as it is shown.
struct Line {
    stderr: bool,
    text: String,
}

/// Which part of which log the address asks for.
struct Wanted {
    node: String,
    tail: u32,
    minutes: String,
    search: String,
}

impl Wanted {
    fn of(visit: &Visit, head: &Head) -> Result<Self, Error> {
        let first = head.cluster.nodes.first().map(|node| node.name.clone());
        let node = visit.query("node").or(first).ok_or_else(|| {
            Error::conflict("no_nodes", "the cluster has no nodes yet; wait until it is made")
        })?;
        let tail = visit
            .query("tail")
            .and_then(|tail| tail.parse().ok())
            .unwrap_or(200)
            .clamp(1, 5000);
        let minutes = visit
            .query("minutes")
            .filter(|minutes| minutes.parse::<u32>().is_ok())
            .unwrap_or_default();
        Ok(Self {
            node,
            tail,
            minutes,
            search: visit.query("search").unwrap_or_default(),
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

/// The newest lines of a node's log.
pub(crate) async fn show(State(app): State<App>, visit: Visit, Path(cluster): Path<String>) -> Outcome {
    let head = Head::read(&app, &visit, &cluster, "logs").await?;
    let wanted = Wanted::of(&visit, &head)?;
    let id = head.cluster.id.to_string();
    let (mut lines, note) = match app
        .orchestrator
        .cluster_logs(&visit.caller, &id, &wanted.node, wanted.query(false))
        .await
    {
        Ok(log) => gather(log.lines, PAGE_BYTES).await,
        Err(error @ (Error::Unavailable(_) | Error::Conflict(_))) => (Vec::new(), error.problem().message),
        Err(error) => return Err(error.into()),
    };
    if !wanted.search.is_empty() {
        let search = wanted.search.to_lowercase();
        lines.retain(|line| line.text.to_lowercase().contains(&search));
    }
    let frame = head.frame(&app, &visit).await.crumb("Logs", "");
    let Wanted {
        node,
        tail,
        minutes,
        search,
    } = wanted;
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

/// Reads a log to its end, or to the limits of size and patience; says which.
async fn gather(mut stream: LogStream, most: usize) -> (Vec<Line>, String) {
    let end = Instant::now() + PATIENCE;
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
                    "the platform is slow; these are the lines that came in 10 s".into(),
                );
            }
        }
        if size > most {
            return (
                lines,
                "the log is longer than what is shown; ask for fewer lines, or download it".into(),
            );
        }
    }
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    without_colours(text.trim_end_matches(['\n', '\r']))
}

/// Takes terminal colours out: `ESC [ … letter`.
fn without_colours(text: &str) -> String {
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
pub(crate) async fn download(State(app): State<App>, visit: Visit, Path(cluster): Path<String>) -> Outcome {
    let head = Head::read(&app, &visit, &cluster, "logs").await?;
    let wanted = Wanted::of(&visit, &head)?;
    let query = LogQuery {
        tail: None,
        since: 0,
        follow: false,
    };
    let log = app
        .orchestrator
        .cluster_logs(&visit.caller, &head.cluster.id.to_string(), &wanted.node, query)
        .await?;
    let (lines, note) = gather(log.lines, FILE_BYTES).await;
    let mut content: String = lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect();
    if !note.is_empty() {
        content.extend(["-- ", note.as_str(), "\n"]);
    }
    Ok(as_file(
        &format!("{}-{}.log", head.cluster.name, wanted.node),
        "text/plain; charset=utf-8",
        content,
    ))
}

/// New lines as they are written, for as long as the visitor is signed in and holds the cluster.
pub(crate) async fn stream(
    State(app): State<App>,
    visit: Visit,
    Path(cluster): Path<String>,
) -> Result<impl IntoResponse, Refused> {
    let head = Head::read(&app, &visit, &cluster, "logs").await?;
    let wanted = Wanted::of(&visit, &head)?;
    let query = LogQuery {
        tail: Some(0),
        since: 0,
        follow: true,
    };
    let log = app
        .orchestrator
        .cluster_logs(&visit.caller, &head.cluster.id.to_string(), &wanted.node, query)
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
    let end = visit.stream_end(&app, StreamOf::Cluster(cluster))?;
    Ok(Sse::new(events.take_until(Box::pin(end))).keep_alive(KeepAlive::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(
            text(b"\x1b[90m12:04\x1b[0m \x1b[32mINF\x1b[0m committed <1>\r\n"),
            "12:04 INF committed <1>"
        );
    }
}
