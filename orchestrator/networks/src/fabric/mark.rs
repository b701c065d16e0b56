//! Marks of nodes, channels and chaincodes from evidence. Pure.

use crate::{
    fabric::{model::NodeKind, parameters::Parameters},
    node_mark,
};
use chainpool_api::{ChannelEvidence, Evidence, Mark, NodeEvidence};

/// The mark of a node. Orderers and peers that have not joined every channel are unavailable.
pub(super) fn mark(node: &NodeEvidence, evidence: &Evidence) -> Mark {
    let is_member = is_kind(node, NodeKind::Orderer) || is_kind(node, NodeKind::Peer);
    let is_outside = || {
        evidence
            .channels
            .iter()
            .any(|(name, channel)| channel.height.is_some() && !node.channels.contains_key(name))
    };
    match node_mark(node) {
        Mark::Ok | Mark::Attention if is_member && is_outside() => Mark::Problem,
        mark => mark,
    }
}

/// The mark of a channel. A channel that no node has joined is new if other channels exist, and lost otherwise.
pub(super) fn channel_mark(parameters: &Parameters, evidence: &Evidence, channel: &ChannelEvidence) -> Mark {
    let orderers = orderers(evidence);
    let quorum = parameters.consensus.quorum(orderers);
    let is_new = channel.height.is_none() && evidence.channels.values().any(|other| other.height.is_some());
    match (&channel.leader, active(channel)) {
        _ if channel.agree == Some(false) => Mark::Problem,
        _ if is_new => Mark::Attention,
        (None, _) => Mark::Problem,
        (Some(_), Some(active)) if active < quorum => Mark::Problem,
        (Some(_), Some(active)) if active < orderers => Mark::Attention,
        (Some(_), _) => Mark::Ok,
    }
}

/// Number of orderers.
pub(super) fn orderers(evidence: &Evidence) -> usize {
    let nodes = evidence.nodes.values();
    nodes.filter(|node| is_kind(node, NodeKind::Orderer)).count()
}

/// Number of active orderers of a channel, if counted: a leader counts nobody at first, and a single orderer
/// never does.
pub(super) fn active(channel: &ChannelEvidence) -> Option<usize> {
    let active = channel.active.filter(|active| *active > 0)?;
    usize::try_from(active).ok()
}

/// The mark of a chaincode on a channel.
pub(super) fn commit_mark(is_committed: bool) -> Mark {
    if is_committed { Mark::Ok } else { Mark::Attention }
}

/// Returns true if the node is of this kind.
pub(super) fn is_kind(node: &NodeEvidence, kind: NodeKind) -> bool {
    node.role.as_deref() == Some(kind.as_str())
}
