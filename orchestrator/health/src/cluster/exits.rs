//! Exits of nodes' processes, as the platform reports them.

use crate::{CrashLoop, millis};
use chainpool_api::Timestamp;
use std::{collections::VecDeque, time::Duration};

/// The exit of a node's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeExit {
    /// The node.
    pub node: String,
    /// The exit code.
    pub code: i64,
    /// When the platform reported it.
    pub at: Timestamp,
}

/// The exits within the window of a crash loop, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exits(VecDeque<NodeExit>);

impl Exits {
    /// Adds an exit and drops those outside the window.
    pub(super) fn push(&mut self, exit: NodeExit, policy: &CrashLoop) {
        let now = exit.at;
        self.0.push_back(exit);
        let window = millis(policy.window);
        while self
            .0
            .front()
            .is_some_and(|exit| now.millis_since(exit.at) > window)
        {
            self.0.pop_front();
        }
    }

    /// Drops the exits reported until this time.
    pub(super) fn clear_until(&mut self, at: Timestamp) {
        self.0.retain(|exit| exit.at > at);
    }

    /// The exits within this time, which a platform's inventory may not show yet.
    pub fn within(&self, lag: Duration, now: Timestamp) -> impl Iterator<Item = &NodeExit> {
        let lag = millis(lag);
        self.0.iter().filter(move |exit| now.millis_since(exit.at) < lag)
    }

    /// The node in a crash loop since then, and its number of exits.
    pub fn crash_loop(&self, since: Timestamp, policy: &CrashLoop) -> Option<(&str, usize)> {
        let max_exits = usize::try_from(policy.max_exits).unwrap_or(usize::MAX);
        let recent = |node: &str| {
            self.0
                .iter()
                .filter(|exit| exit.node == node && exit.at >= since)
                .count()
        };
        let node = self.0.iter().find(|exit| recent(&exit.node) > max_exits)?;
        Some((node.node.as_str(), recent(&node.node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_exits_more_often_than_allowed_within_the_window_is_in_a_crash_loop() {
        let policy = CrashLoop::default();
        let mut exits = Exits::default();
        let mut exit = |node: &str, seconds| {
            let at = Timestamp(0).plus_seconds(seconds);
            exits.push(
                NodeExit {
                    node: node.to_owned(),
                    code: 1,
                    at,
                },
                &policy,
            );
            let since = Timestamp(at.0 - millis(policy.window));
            exits
                .crash_loop(since, &policy)
                .map(|(node, count)| (node.to_owned(), count))
        };
        assert_eq!(
            [0, 10, 20, 30, 40].map(|seconds| exit("a", seconds)),
            [const { None }; 5]
        );
        assert_eq!(exit("b", 50), None);
        assert_eq!(exit("a", 60), Some(("a".to_owned(), 6)));
        assert_eq!(exit("b", 125), None, "the first exit is outside the window");
        assert_eq!(
            exits.within(Duration::from_secs(1), Timestamp(125_500)).count(),
            1
        );
        assert_eq!(
            exits.within(Duration::from_secs(1), Timestamp(126_000)).count(),
            0
        );
    }
}
