//! Crash loops: a node that exits again and again, and the last lines of its log.

use crate::runtime::{agents::HostAgent, cluster_runtime::ClusterRuntime};
use chainpool_agent::{ClusterKey, LogLine, LogQuery, NodeName};
use chainpool_api::Timestamp;
use chainpool_health::{CrashLoop, millis};
use futures::StreamExt;
use std::{collections::VecDeque, time::Duration};
use tokio::time::timeout;

/// Limits for the last log lines of a node: lines, and characters per line.
const LINES: u8 = 20;
const LINE_CHARACTERS: usize = 400;

/// Returns the node in a crash loop and its number of exits.
pub(crate) fn crash_loop(runtime: &ClusterRuntime, policy: &CrashLoop) -> Option<(NodeName, usize)> {
    let since = Timestamp(Timestamp::now().0 - millis(policy.window));
    crash_loop_since(runtime, since, policy)
}

/// Returns the node in a crash loop since then and its number of exits.
pub(crate) fn crash_loop_since(
    runtime: &ClusterRuntime,
    since: Timestamp,
    policy: &CrashLoop,
) -> Option<(NodeName, usize)> {
    let max_exits = usize::try_from(policy.max_exits).unwrap_or(usize::MAX);
    let recent = |node: &NodeName| {
        runtime
            .exits
            .iter()
            .filter(|exit| exit.node == *node && exit.at >= since)
            .count()
    };
    let node = &runtime
        .exits
        .iter()
        .find(|exit| recent(&exit.node) > max_exits)?
        .node;
    Some((node.clone(), recent(node)))
}

/// Describes a crash loop with the node's last log lines.
pub(crate) async fn crash_loop_text(
    agent: &HostAgent,
    key: &ClusterKey,
    (node, exits): (&NodeName, usize),
    policy: &CrashLoop,
) -> String {
    let lines = last_lines(agent, key, node, policy.log_timeout).await;
    format!(
        "{node} exited {exits} times within {} (crash loop); last log lines: {lines}",
        chainpool_health::text(policy.window)
    )
}

/// Joins the last lines of a node's log into one text. The timeout is short because the assessment waits for
/// it.
async fn last_lines(agent: &HostAgent, key: &ClusterKey, node: &NodeName, limit: Duration) -> String {
    let query = LogQuery {
        tail: Some(LINES.into()),
        ..LogQuery::default()
    };
    // A platform may send more lines than requested.
    let keep = async |mut last: VecDeque<String>, line| {
        if last.len() == usize::from(LINES) {
            last.pop_front();
        }
        last.push_back(text(line));
        last
    };
    let read = async {
        match agent.agent.logs(key, node, query).await {
            Ok(lines) => Vec::from(lines.fold(VecDeque::new(), keep).await).join(" | "),
            Err(error) => format!("(cannot read its log: {error})"),
        }
    };
    timeout(limit, read)
        .await
        .unwrap_or_else(|_| "(reading its log timed out)".to_owned())
}

/// Shortens a log line for a reason.
fn text(line: chainpool_agent::Result<LogLine>) -> String {
    match line {
        Ok(line) => String::from_utf8_lossy(&line.bytes)
            .trim_end()
            .chars()
            .take(LINE_CHARACTERS)
            .collect(),
        Err(error) => format!("(its log ends here: {error})"),
    }
}
