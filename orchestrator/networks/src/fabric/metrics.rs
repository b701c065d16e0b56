//! What an orderer's metrics tell of the channels that it orders. Nothing else tells the truth with the quorum lost.
//!
//! Names by Fabric 2.5: `orderer/consensus/etcdraft/metrics.go`; by Fabric 3.1: `orderer/consensus/smartbft/metrics.go`, and the leader
//! of the view that an orderer is in by `SmartBFT`'s own `pkg/api/metrics.go`. `consensus_BFT_leader_id` is not asked: it is set with each
//! block, so that it names the leader of before where nobody writes. Nor is `consensus_BFT_committed_block_number`, which does not count blocks
//! that an orderer fetched from the others, as one does that comes back; its ledger's own height does (`common/ledger/blkstorage`).

use super::{
    access::Access,
    connect::{CallError, Http},
    render::METRICS,
};
use chainpool_agent::NodeName;
use chainpool_api::Timestamp;
use http::StatusCode;
use std::collections::BTreeMap;

/// An orderer's part in one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Whether it says that it leads. A leader that hears no quorum stops leading after the time of an election.
    pub(super) leads: bool,
    /// Whether it has heard of a leader since it was started, or has led itself.
    pub(super) heard: bool,
    /// How many orderers it hears as the leader, itself among them; 0 for some seconds after it began to lead, and always where it
    /// is the only one. By BFT it counts nobody: [`leader`] does.
    pub(super) active: u32,
    /// The number of the leader that it follows by BFT, which may be itself; 0: none, and always by Raft.
    pub(super) follows: u64,
    /// How many blocks it has.
    pub(super) height: u64,
    /// How often its Raft has moved, which every heartbeat of a leader makes it do.
    pub(super) turns: u64,
}

/// Who leads, of what orderers say of one channel, and how many are with it. One that was cut off says for a while that it leads; it has
/// fewer blocks, or fewer with it.
pub(super) fn leader<N: Copy>(parts: &[(N, Part)]) -> Option<(N, Part)> {
    let active = |part: &Part| match part.follows {
        0 => part.active,
        number => u32::try_from(parts.iter().filter(|(_, other)| other.follows == number).count())
            .unwrap_or(u32::MAX),
    };
    let leaders = parts.iter().filter(|(_, part)| part.leads).map(|(node, part)| {
        (
            *node,
            Part {
                active: active(part),
                ..*part
            },
        )
    });
    leaders.max_by_key(|(_, part)| (part.height, part.active))
}

/// A connection to an orderer's metrics.
pub(super) struct Metrics {
    http: Http,
    /// The orderer's own number among those of BFT.
    number: u64,
}

impl Metrics {
    /// Connects to an orderer.
    pub(super) async fn connect(access: &Access, node: &NodeName) -> Result<Self, CallError> {
        let number = access
            .orderers()
            .iter()
            .zip(1..)
            .find(|(name, _)| *name == node)
            .map_or(0, |(_, number)| number);
        Ok(Self {
            http: Http::connect(access, node, METRICS).await?,
            number,
        })
    }

    /// Its part in each channel that it has joined.
    pub(super) async fn parts(&mut self) -> Result<BTreeMap<String, Part>, CallError> {
        match self.http.get("/metrics").await? {
            (StatusCode::OK, body) => Ok(read(&String::from_utf8_lossy(&body), self.number)),
            (status, _) => Err(CallError::Refused(format!("its metrics answer {status}"))),
        }
    }

    /// When the certificate ends that it showed.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        self.http.ends
    }
}

/// Reads the few lines that count, of the orderer of this number.
fn read(text: &str, number: u64) -> BTreeMap<String, Part> {
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    // Of every channel, also of those that it only follows.
    let mut heights = BTreeMap::new();
    for (name, channel, value) in text.lines().filter_map(line) {
        if name == LEDGER_HEIGHT {
            heights.insert(channel, value);
            continue;
        }
        let part = parts.entry(channel.to_owned()).or_default();
        match name {
            IS_LEADER => part.leads = value == 1,
            LEADER_CHANGES => part.heard = value > 0,
            TURNS => part.turns = value,
            ACTIVE => part.active = u32::try_from(value).unwrap_or(u32::MAX),
            BFT_LEADER => {
                (part.leads, part.heard, part.follows) = (value > 0 && value == number, value > 0, value);
            }
            // The first block has the number 0.
            _ => part.height = value.saturating_add(1),
        }
    }
    for (channel, part) in parts.iter_mut().filter(|(_, part)| part.height == 0) {
        part.height = heights.get(channel.as_str()).copied().unwrap_or_default();
    }
    parts
}

const IS_LEADER: &str = "consensus_etcdraft_is_leader";
const LEADER_CHANGES: &str = "consensus_etcdraft_leader_changes";
const ACTIVE: &str = "consensus_etcdraft_active_nodes";
const TURNS: &str = "consensus_etcdraft_data_persist_duration_count";
const HEIGHT: &str = "consensus_etcdraft_committed_block_number";
const BFT_LEADER: &str = "consensus_smartbft_view_leader_id";
const LEDGER_HEIGHT: &str = "ledger_blockchain_height";

/// `<name>{channel="<channel>"} <value>`; `None`: a line about something else.
fn line(line: &str) -> Option<(&str, &str, u64)> {
    let (name, rest) = line.split_once("{channel=\"")?;
    let (channel, value) = rest.split_once("\"} ")?;
    [
        IS_LEADER,
        LEADER_CHANGES,
        ACTIVE,
        TURNS,
        HEIGHT,
        BFT_LEADER,
        LEDGER_HEIGHT,
    ]
    .contains(&name)
    .then_some(())?;
    Some((name, channel, number(value)?))
}

/// Gauges are whole numbers here; large ones come as `1.234567e+06`.
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
    fn an_orderers_part_is_read_for_each_channel() {
        let expected = [
            (
                "ch1".to_owned(),
                Part {
                    leads: true,
                    heard: true,
                    active: 3,
                    height: 1_234_568,
                    turns: 42,
                    follows: 0,
                },
            ),
            (
                "ch2".to_owned(),
                Part {
                    height: 1,
                    ..Part::default()
                },
            ),
        ];
        assert_eq!(read(TEXT, 1), expected.into());
        assert_eq!(read("", 1), BTreeMap::new());
    }

    /// As an orderer of 3.1.5 told them that had fetched what it lacked.
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
    fn by_bft_an_orderer_leads_that_is_the_leader_of_its_own_view() {
        let follower = Part {
            heard: true,
            height: 8,
            follows: 2,
            ..Part::default()
        };
        let outside = Part {
            height: 1,
            ..Part::default()
        };
        assert_eq!(
            read(BFT, 1),
            [("ch1".to_owned(), follower), ("ch2".to_owned(), outside)].into()
        );
        assert_eq!(
            read(BFT, 2)["ch1"],
            Part {
                leads: true,
                ..follower
            }
        );
        assert!(!read(BFT, 0)["ch2"].leads);
    }

    #[test]
    fn a_leader_has_those_with_it_that_it_hears_or_that_follow_it() {
        let raft = |leads, active, height| Part {
            leads,
            heard: true,
            active,
            height,
            ..Part::default()
        };
        assert_eq!(
            leader(&[(0, raft(true, 2, 7)), (1, raft(false, 0, 7))]),
            Some((0, raft(true, 2, 7)))
        );
        // The first was cut off from the others.
        assert_eq!(
            leader(&[(0, raft(true, 3, 6)), (1, raft(true, 2, 7))]),
            Some((1, raft(true, 2, 7)))
        );
        assert_eq!(leader(&[(0, raft(false, 0, 7))]), None);

        let bft = |number, follows| Part {
            leads: number == follows,
            heard: true,
            height: 7,
            follows,
            ..Part::default()
        };
        let counted = |active, follows| Part {
            active,
            ..bft(follows, follows)
        };
        let orderers = |follows: &[u64]| {
            follows
                .iter()
                .zip(1u64..)
                .map(|(follows, number)| (number, bft(number, *follows)))
                .collect::<Vec<_>>()
        };
        assert_eq!(leader(&orderers(&[1, 1, 1, 1])), Some((1, counted(4, 1))));
        assert_eq!(leader(&orderers(&[1, 2, 2, 2])), Some((2, counted(3, 2))));
        // The leader of the others is away.
        assert_eq!(leader(&orderers(&[4, 4, 4])), None);
    }

    #[test]
    fn numbers_are_whole_or_none() {
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
        fn no_text_makes_us_panic(text: String) {
            read(&format!("consensus_etcdraft_{text}\nconsensus_etcdraft_is_leader{{channel=\"c\"}} {text}"), 1);
        }
    }
}
