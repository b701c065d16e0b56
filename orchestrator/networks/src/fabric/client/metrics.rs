//! Status of an orderer's channels from its metrics, the only reliable source while the quorum is lost.
//!
//! Names of Fabric 2.5: `orderer/consensus/etcdraft/metrics.go`; of Fabric 3.1:
//! `orderer/consensus/smartbft/metrics.go`, and the leader of an orderer's view from `SmartBFT`'s
//! `pkg/api/metrics.go`. Two metrics are not used. `consensus_BFT_leader_id` changes only with a block, so it
//! names the previous leader on an idle channel. `consensus_BFT_committed_block_number` does not count blocks
//! that a reconnected orderer fetched from the others; the height of its ledger does
//! (`common/ledger/blkstorage`).

use crate::{
    client::call::CallError,
    fabric::{
        client::{access::Access, control::Control},
        model::ports::METRICS,
    },
};
use chainpool_agent::NodeName;
use chainpool_api::Timestamp;
use http::StatusCode;
use std::collections::BTreeMap;

/// Status of an orderer on one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OrdererStatus {
    /// It reports to be the leader. A leader without a quorum steps down after an election timeout.
    pub(crate) is_leader: bool,
    /// It has known a leader since its start, possibly itself.
    pub(crate) knows_leader: bool,
    /// Number of active orderers that it counts as the Raft leader, including itself. 0 for some seconds
    /// after its election, and always if it is the only orderer. With BFT [`leader`] counts them.
    pub(crate) active: u32,
    /// Id of the BFT leader that it follows, possibly itself. 0: none, and always with Raft.
    pub(crate) leader_id: u64,
    /// Number of blocks.
    pub(crate) height: u64,
    /// Number of Raft persist operations; every heartbeat of a leader adds one.
    pub(crate) persist_count: u64,
}

/// The leader of a channel with its number of followers. A disconnected leader reports to be the leader for a
/// while; it has fewer blocks or fewer followers.
pub(crate) fn leader<N: Copy>(statuses: &[(N, OrdererStatus)]) -> Option<(N, OrdererStatus)> {
    let active = |status: &OrdererStatus| match status.leader_id {
        0 => status.active,
        number => u32::try_from(
            statuses
                .iter()
                .filter(|(_, other)| other.leader_id == number)
                .count(),
        )
        .unwrap_or(u32::MAX),
    };
    let leaders = statuses
        .iter()
        .filter(|(_, status)| status.is_leader)
        .map(|(node, status)| {
            (
                *node,
                OrdererStatus {
                    active: active(status),
                    ..*status
                },
            )
        });
    leaders.max_by_key(|(_, status)| (status.height, status.active))
}

/// A connection to an orderer's metrics.
pub(crate) struct Metrics {
    control: Control,
    /// The orderer's own BFT id.
    number: u64,
}

impl Metrics {
    /// Connects to an orderer.
    pub(crate) async fn connect(access: &Access, node: &NodeName) -> Result<Self, CallError> {
        let number = access
            .orderers()
            .iter()
            .zip(1..)
            .find(|(name, _)| *name == node)
            .map_or(0, |(_, number)| number);
        Ok(Self {
            control: Control::connect(access, node, METRICS).await?,
            number,
        })
    }

    /// Its status on each joined channel.
    pub(crate) async fn statuses(&mut self) -> Result<BTreeMap<String, OrdererStatus>, CallError> {
        match self.control.http.get("/metrics").await? {
            (StatusCode::OK, body) => Ok(read(&String::from_utf8_lossy(&body), self.number)),
            (status, _) => Err(CallError::Refused(format!(
                "the metrics endpoint returned status {status}"
            ))),
        }
    }

    /// Expiry of its TLS certificate.
    pub(crate) fn certificate_expiry(&self) -> Option<Timestamp> {
        self.control.certificate_expiry
    }
}

/// Parses the metrics of the orderer with this id.
fn read(text: &str, number: u64) -> BTreeMap<String, OrdererStatus> {
    let mut statuses: BTreeMap<String, OrdererStatus> = BTreeMap::new();
    // Heights of all channels, also of those that it only follows.
    let mut heights = BTreeMap::new();
    for (name, channel, value) in text.lines().filter_map(line) {
        if name == LEDGER_HEIGHT {
            heights.insert(channel, value);
            continue;
        }
        let status = statuses.entry(channel.to_owned()).or_default();
        match name {
            IS_LEADER => status.is_leader = value == 1,
            LEADER_CHANGES => status.knows_leader = value > 0,
            PERSIST_COUNT => status.persist_count = value,
            ACTIVE => status.active = u32::try_from(value).unwrap_or(u32::MAX),
            BFT_LEADER => {
                (status.is_leader, status.knows_leader, status.leader_id) =
                    (value > 0 && value == number, value > 0, value);
            }
            // Block numbers start at 0.
            _ => status.height = value.saturating_add(1),
        }
    }
    for (channel, status) in statuses.iter_mut().filter(|(_, status)| status.height == 0) {
        status.height = heights.get(channel.as_str()).copied().unwrap_or_default();
    }
    statuses
}

const IS_LEADER: &str = "consensus_etcdraft_is_leader";
const LEADER_CHANGES: &str = "consensus_etcdraft_leader_changes";
const ACTIVE: &str = "consensus_etcdraft_active_nodes";
const PERSIST_COUNT: &str = "consensus_etcdraft_data_persist_duration_count";
const HEIGHT: &str = "consensus_etcdraft_committed_block_number";
const BFT_LEADER: &str = "consensus_smartbft_view_leader_id";
const LEDGER_HEIGHT: &str = "ledger_blockchain_height";

/// Parses `<name>{channel="<channel>"} <value>`. `None`: another line.
fn line(line: &str) -> Option<(&str, &str, u64)> {
    let (name, rest) = line.split_once("{channel=\"")?;
    let (channel, value) = rest.split_once("\"} ")?;
    [
        IS_LEADER,
        LEADER_CHANGES,
        ACTIVE,
        PERSIST_COUNT,
        HEIGHT,
        BFT_LEADER,
        LEDGER_HEIGHT,
    ]
    .contains(&name)
    .then_some(())?;
    Some((name, channel, number(value)?))
}

/// Parses a gauge: an integer, written as `1.234567e+06` if large.
fn number(text: &str) -> Option<u64> {
    let Some((mantissa, exponent)) = text.split_once("e+") else {
        return text.parse().ok();
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zeros = exponent
        .parse::<usize>()
        .ok()?
        .checked_sub(part.len())
        .filter(|zeros| *zeros < 20)?;
    format!("{whole}{part}{}", "0".repeat(zeros)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP consensus_etcdraft_active_nodes Number of active nodes in this channel.
# TYPE consensus_etcdraft_active_nodes gauge
consensus_etcdraft_active_nodes{channel="ch1"} 3
consensus_etcdraft_active_nodes{channel="ch2"} 0
consensus_etcdraft_cluster_size{channel="ch1"} 3
consensus_etcdraft_committed_block_number{channel="ch1"} 1.234567e+06
consensus_etcdraft_committed_block_number{channel="ch2"} 0
consensus_etcdraft_data_persist_duration_bucket{channel="ch1",le="+Inf"} 42
consensus_etcdraft_data_persist_duration_sum{channel="ch1"} 0.25
consensus_etcdraft_data_persist_duration_count{channel="ch1"} 42
consensus_etcdraft_is_leader{channel="ch1"} 1
consensus_etcdraft_is_leader{channel="ch2"} 0
consensus_etcdraft_leader_changes{channel="ch1"} 2
go_goroutines 104
participation_status{channel="ch1"} 1
"#;

    #[test]
    fn an_orderers_status_is_read_for_each_channel() {
        let expected = [
            (
                "ch1".to_owned(),
                OrdererStatus {
                    is_leader: true,
                    knows_leader: true,
                    active: 3,
                    height: 1_234_568,
                    persist_count: 42,
                    leader_id: 0,
                },
            ),
            (
                "ch2".to_owned(),
                OrdererStatus {
                    height: 1,
                    ..OrdererStatus::default()
                },
            ),
        ];
        assert_eq!(read(TEXT, 1), expected.into());
        assert_eq!(read("", 1), BTreeMap::new());
    }

    /// Metrics of an orderer of 3.1.5 that had fetched missing blocks.
    const BFT: &str = r#"
consensus_BFT_cluster_size{channel="ch1"} 4
consensus_BFT_committed_block_number{channel="ch1"} 3
consensus_BFT_committed_block_number{channel="ch2"} 0
consensus_BFT_is_leader{channel="ch1"} 1
consensus_BFT_leader_id{channel="ch1"} 1
consensus_smartbft_view_leader_id{channel="ch1"} 2
consensus_smartbft_view_leader_id{channel="ch2"} 0
consensus_smartbft_view_number{channel="ch1"} 1
ledger_blockchain_height{channel="ch1"} 8
ledger_blockchain_height{channel="ch2"} 1
ledger_blockchain_height{channel="followed"} 5
"#;

    #[test]
    fn a_bft_orderer_leads_if_it_is_the_leader_of_its_own_view() {
        let follower = OrdererStatus {
            knows_leader: true,
            height: 8,
            leader_id: 2,
            ..OrdererStatus::default()
        };
        let outside = OrdererStatus {
            height: 1,
            ..OrdererStatus::default()
        };
        assert_eq!(
            read(BFT, 1),
            [("ch1".to_owned(), follower), ("ch2".to_owned(), outside)].into()
        );
        assert_eq!(
            read(BFT, 2)["ch1"],
            OrdererStatus {
                is_leader: true,
                ..follower
            }
        );
        assert!(!read(BFT, 0)["ch2"].is_leader);
    }

    #[test]
    fn a_leaders_followers_are_counted() {
        let raft = |is_leader, active, height| OrdererStatus {
            is_leader,
            knows_leader: true,
            active,
            height,
            ..OrdererStatus::default()
        };
        assert_eq!(
            leader(&[(0, raft(true, 2, 7)), (1, raft(false, 0, 7))]),
            Some((0, raft(true, 2, 7)))
        );
        // The first is disconnected from the others.
        assert_eq!(
            leader(&[(0, raft(true, 3, 6)), (1, raft(true, 2, 7))]),
            Some((1, raft(true, 2, 7)))
        );
        assert_eq!(leader(&[(0, raft(false, 0, 7))]), None);

        let bft = |number, leader_id| OrdererStatus {
            is_leader: number == leader_id,
            knows_leader: true,
            height: 7,
            leader_id,
            ..OrdererStatus::default()
        };
        let counted = |active, leader_id| OrdererStatus {
            active,
            ..bft(leader_id, leader_id)
        };
        let orderers = |leader_id: &[u64]| {
            leader_id
                .iter()
                .zip(1u64..)
                .map(|(leader_id, number)| (number, bft(number, *leader_id)))
                .collect::<Vec<_>>()
        };
        assert_eq!(leader(&orderers(&[1, 1, 1, 1])), Some((1, counted(4, 1))));
        assert_eq!(leader(&orderers(&[1, 2, 2, 2])), Some((2, counted(3, 2))));
        // The leader of the others is unreachable.
        assert_eq!(leader(&orderers(&[4, 4, 4])), None);
    }

    #[test]
    fn numbers_are_integers_or_none() {
        for (text, value) in [
            ("0", Some(0)),
            ("1e+06", Some(1_000_000)),
            ("1.5e+01", Some(15)),
            ("NaN", None),
            ("1.55e+01", None),
        ] {
            assert_eq!(number(text), value, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_causes_a_panic(text: String) {
            read(&format!("consensus_etcdraft_{text}\nconsensus_etcdraft_is_leader{{channel=\"c\"}} {text}"), 1);
        }
    }
}
