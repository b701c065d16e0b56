//! The policy and its default values.

use crate::setting::{Setting, Slot, Value, group, walk};
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

group! {
    /// Timing rules of health assessment and repair.
    pub struct HealthPolicy {
        /// Assessment of clusters and hosts by the watchdog.
        pub assessment: Assessment = Assessment::default(),
        /// Repair and reset of clusters.
        pub repair: Repair = Repair::default(),
        /// Hosts that reconnect or are slow to report their state.
        pub host: HostRules = HostRules::default(),
        /// Nodes that exit again and again.
        pub crash_loop: CrashLoop = CrashLoop::default(),
        /// Clusters of the type `cometbft`.
        pub cometbft: CometBft = CometBft::default(),
        /// Clusters of the type `fabric`.
        pub fabric: Fabric = Fabric::default(),
    }
}

group! {
    /// Assessment of clusters and hosts by the watchdog.
    pub struct Assessment {
        /// Interval between two probes of a ready cluster's ledger.
        pub probe_interval: Duration = s(2),
        /// Interval between two full passes. A full pass assesses every host and lists all its objects.
        pub full_pass_interval: Duration = s(30),
        /// `status` reports a problem if no full pass has completed for this long.
        pub full_pass_late: Duration = s(120),
        /// Interval at which the time of the latest probe is stored for each cluster.
        pub record_interval: Duration = s(10),
        /// Maximum age of the stored evidence of an offered cluster. An older cluster is not leased until its
        /// next probe.
        pub evidence_max_age: Duration = s(60),
        /// Interval at which the list of watched hosts is read. A lost event stream is reopened after the same
        /// time.
        pub watch_interval: Duration = s(1),
        /// Timeout of a platform's inventory. After it the verdict rests on the ledger alone, and nothing is
        /// repaired until the inventory has arrived.
        // A swarm that elects a leader cannot list for up to 25 s.
        pub inventory_timeout: Duration = ms(1_500),
        /// How far a platform's inventory usually lags behind its events. An exit reported within this time
        /// overrides the inventory. An inventory that contradicts an exit for longer, up to ten times this time,
        /// is checked by asking the platform about the node.
        // Measured on Docker 20.10: 66 to 230 ms.
        pub inventory_lag: Duration = ms(150),
        /// Timeout of the second probe of a node that answered before and does not now.
        // A disconnected machine must be reported within 5 s.
        pub reprobe_timeout: Duration = s(1),
        /// Grace period after a start or restart, during which a bad verdict has no effect.
        pub start_grace: Duration = s(30),
    }
}

group! {
    /// Repair and reset of clusters.
    pub struct Repair {
        /// How long a free cluster must be broken before it is reset.
        // An engine that shuts down stops its containers first.
        pub broken_confirm: Duration = ms(1_500),
        /// A free cluster that was broken, even briefly, is reset if it is still unhealthy after this time.
        // Ledgers that lost their quorum are slow to recover, and a reset is faster.
        pub broken_reset: Duration = s(5),
        /// A free cluster is reset if it is still unhealthy after this time.
        pub degraded_reset: Duration = s(20),
        /// A running node is restarted after it has been unresponsive for this long.
        pub node_unresponsive: Duration = s(30),
        /// A running node is restarted after it has been stalled for this long.
        pub node_stalled: Duration = s(15),
        /// Maximum factor by which the two limits for nodes grow with each restart, until the cluster is healthy.
        pub node_limit_factor: u32 = 4,
        /// Interval at which an operation that waits checks its cluster for stalled nodes.
        pub stall_check_interval: Duration = s(2),
        /// Minimum interval between two repairs of a cluster.
        pub backoff: Backoff = Backoff::default(),
    }
}

group! {
    /// Minimum interval between two repairs of a cluster.
    pub struct Backoff {
        /// Interval between two repairs of a cluster.
        pub initial: Duration = s(5),
        /// Maximum interval.
        pub max: Duration = s(300),
        /// Number of repairs of the same nodes without success at the initial interval. After each further one
        /// the interval doubles.
        // A missing image does not appear within five seconds.
        pub full_rate_repairs: u32 = 6,
    }
}

group! {
    /// Hosts that reconnect or are slow to report their state.
    pub struct HostRules {
        /// After a host reconnected, or was first assessed by this process, no cluster there is reset for this
        /// long.
        pub settle: Duration = s(20),
        /// A node that starts within this time after an unreachable host reconnected counts as started by the
        /// platform and restarts the settle time.
        pub startup: Duration = s(300),
        /// How long a host may answer without reporting its state before it counts as unreachable.
        pub busy_max: Duration = s(90),
    }
}

group! {
    /// Nodes that exit again and again.
    pub struct CrashLoop {
        /// A node that exits more often than this within the window is in a crash loop, and its cluster is
        /// broken.
        pub max_exits: u32 = 5,
        /// The window in which exits count.
        pub window: Duration = s(120),
        /// Timeout of the read of the node's last log lines.
        pub log_timeout: Duration = s(2),
    }
}

group! {
    /// Clusters of the type `cometbft`.
    pub struct CometBft {
        /// A height that has not grown for this long is stalled. Long block intervals extend the time.
        pub stalled: Duration = s(10),
        /// Time limit of one attempt of a proof, beyond two block intervals.
        pub proof_timeout: Duration = s(12),
        /// Time for a proof's transaction to be in a block, beyond the block interval.
        pub proof_read_back: Duration = s(3),
    }
}

group! {
    /// Clusters of the type `fabric`. Times of elections depend on Fabric's own timeouts.
    pub struct Fabric {
        /// Time for newly started nodes to participate. Until then missing orderers may be new ones and missing
        /// endorsers are tolerated.
        pub start: Duration = s(12),
        /// Time for Raft orderers to elect a leader that all follow.
        // A few Raft elections.
        pub raft_election: Duration = s(12),
        /// Time for BFT orderers to replace an unresponsive leader.
        // It takes ten seconds, and again if the next leader is unresponsive too.
        pub bft_election: Duration = s(30),
        /// How long lagging nodes are probed again within one assessment.
        pub lag_retry: Duration = s(1),
        /// How long an envelope is broadcast again while there is no leader.
        pub broadcast_retry: Duration = s(12),
        /// Time for a node to answer before it joins its channels.
        pub answer: Duration = s(10),
        /// Time for a peer to answer, and for a definition or approval to reach the other peers.
        pub propagation: Duration = s(10),
        /// Time for a transaction to be committed, beyond the batch timeout.
        pub commit: Duration = s(10),
        /// Time for the nodes to catch up between two steps of a rolling restart.
        pub catch_up: Duration = s(20),
        /// Time for a configuration update to be in the channel's configuration, beyond the batch timeout.
        pub update: Duration = s(15),
        /// An accepted configuration update that is not ordered within this time is submitted again.
        pub update_ordering: Duration = s(3),
        /// Time for a new orderer to catch up, and again to participate.
        // A polling interval of a follower, and an election.
        pub orderer_join: Duration = s(20),
        /// A new orderer without Raft activity for this long is stalled.
        // A leader's heartbeat causes activity every 100 ms; without one an election starts after 2 to 4 s.
        pub orderer_stalled: Duration = s(5),
        /// Time limit of one attempt of a proof, beyond the batch timeout.
        pub proof_timeout: Duration = s(12),
        /// Time for another peer to have a proof's transaction.
        pub proof_read_back: Duration = s(4),
    }
}

impl HealthPolicy {
    /// All settings with their descriptions, in the order of the fields. A group precedes its settings.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        walk(&mut self.clone(), "", &mut |key, description, slot| {
            settings.push(Setting {
                key: key.to_owned(),
                description: description.split_whitespace().collect::<Vec<_>>().join(" "),
                value: match slot {
                    Slot::Group(_) => Value::Group,
                    Slot::Duration(duration) => Value::Duration(*duration),
                    Slot::Count(count) => Value::Count(*count),
                },
            });
        });
        settings
    }

    /// The same policy with all durations multiplied, in whole milliseconds, for test beds. Numbers stay the
    /// same.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let mut scaled = self.clone();
        walk(&mut scaled, "", &mut |_, _, slot| {
            if let Slot::Duration(duration) = slot {
                let exact = duration.mul_f64(factor);
                *duration = Duration::from_millis(u64::try_from(exact.as_millis()).unwrap_or(u64::MAX));
            }
        });
        scaled
    }
}

impl Backoff {
    /// The time until the next repair after this many repairs of the same nodes.
    pub fn interval(&self, repairs: u32) -> Duration {
        let doubled = repairs.saturating_sub(self.full_rate_repairs).min(16);
        self.initial.saturating_mul(1 << doubled).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The default values. A change here is a change of behaviour: describe it in `docs/decisions.md`.
    const DEFAULTS: [(&str, &str); 44] = [
        ("assessment.probe_interval", "2 s"),
        ("assessment.full_pass_interval", "30 s"),
        ("assessment.full_pass_late", "2 min"),
        ("assessment.record_interval", "10 s"),
        ("assessment.evidence_max_age", "1 min"),
        ("assessment.watch_interval", "1 s"),
        ("assessment.inventory_timeout", "1.5 s"),
        ("assessment.inventory_lag", "150 ms"),
        ("assessment.reprobe_timeout", "1 s"),
        ("assessment.start_grace", "30 s"),
        ("repair.broken_confirm", "1.5 s"),
        ("repair.broken_reset", "5 s"),
        ("repair.degraded_reset", "20 s"),
        ("repair.node_unresponsive", "30 s"),
        ("repair.node_stalled", "15 s"),
        ("repair.node_limit_factor", "4"),
        ("repair.stall_check_interval", "2 s"),
        ("repair.backoff.initial", "5 s"),
        ("repair.backoff.max", "5 min"),
        ("repair.backoff.full_rate_repairs", "6"),
        ("host.settle", "20 s"),
        ("host.startup", "5 min"),
        ("host.busy_max", "90 s"),
        ("crash_loop.max_exits", "5"),
        ("crash_loop.window", "2 min"),
        ("crash_loop.log_timeout", "2 s"),
        ("cometbft.stalled", "10 s"),
        ("cometbft.proof_timeout", "12 s"),
        ("cometbft.proof_read_back", "3 s"),
        ("fabric.start", "12 s"),
        ("fabric.raft_election", "12 s"),
        ("fabric.bft_election", "30 s"),
        ("fabric.lag_retry", "1 s"),
        ("fabric.broadcast_retry", "12 s"),
        ("fabric.answer", "10 s"),
        ("fabric.propagation", "10 s"),
        ("fabric.commit", "10 s"),
        ("fabric.catch_up", "20 s"),
        ("fabric.update", "15 s"),
        ("fabric.update_ordering", "3 s"),
        ("fabric.orderer_join", "20 s"),
        ("fabric.orderer_stalled", "5 s"),
        ("fabric.proof_timeout", "12 s"),
        ("fabric.proof_read_back", "4 s"),
    ];

    #[test]
    fn the_defaults_are_these_values() {
        let settings = HealthPolicy::default().settings();
        let found: Vec<(String, String)> = settings
            .into_iter()
            .filter_map(|setting| match setting.value {
                Value::Group => None,
                Value::Duration(duration) => Some((setting.key, crate::text(duration))),
                Value::Count(count) => Some((setting.key, count.to_string())),
            })
            .collect();
        let expected: Vec<(String, String)> = DEFAULTS
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn scaling_multiplies_every_duration_and_no_number() {
        let policy = HealthPolicy::default();
        for factor in [0.5, 3.0] {
            let scaled = policy.scaled(factor);
            for (before, after) in policy.settings().into_iter().zip(scaled.settings()) {
                match (before.value, after.value) {
                    (Value::Duration(before), Value::Duration(after)) => {
                        assert_eq!(after, before.mul_f64(factor));
                    }
                    (before, after) => assert_eq!(before, after),
                }
            }
            assert_eq!(scaled.validate(), Ok(()));
        }
        assert_eq!(policy.scaled(2.0).repair.broken_confirm, s(3));
        assert_eq!(policy.scaled(1.0), policy);
    }

    #[test]
    fn repairs_without_success_are_retried_at_growing_intervals() {
        let backoff = Backoff::default();
        let intervals = [1, 6, 7, 8, 12, 13, u32::MAX].map(|repairs| backoff.interval(repairs).as_secs());
        assert_eq!(intervals, [5, 5, 10, 20, 300, 300, 300]);
    }

    #[test]
    fn a_file_changes_only_the_settings_that_it_names() {
        let policy: HealthPolicy = toml::from_str(
            "crash_loop.max_exits = 9\n[repair]\nbroken_confirm = \"2s\"\nbackoff.max = \"10m\"",
        )
        .unwrap();
        let expected = HealthPolicy {
            repair: Repair {
                broken_confirm: s(2),
                backoff: Backoff {
                    max: s(600),
                    ..Backoff::default()
                },
                ..Repair::default()
            },
            crash_loop: CrashLoop {
                max_exits: 9,
                ..CrashLoop::default()
            },
            ..HealthPolicy::default()
        };
        assert_eq!(policy, expected);
    }

    #[test]
    fn unknown_keys_and_values_of_another_type_are_refused() {
        for (text, expected) in [
            ("repairs.broken_confirm = \"2s\"", "unknown field `repairs`"),
            ("repair.confirm = \"2s\"", "unknown field `confirm`"),
            ("repair.backoff.most = \"2s\"", "unknown field `most`"),
            (
                "repair.broken_confirm = 2",
                "expected a duration in quotes, such as",
            ),
            (
                "repair.broken_confirm = \"2\"",
                "write a number with its unit, such as",
            ),
            ("crash_loop.max_exits = -1", "expected u32"),
        ] {
            let error = toml::from_str::<HealthPolicy>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
