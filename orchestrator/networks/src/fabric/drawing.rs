//! The drawing from evidence. Pure.

use crate::fabric::{
    mark::{channel_mark, commit_mark, is_kind, mark},
    model::{NodeKind, names},
    parameters::Parameters,
};
use chainpool_agent::NodeName;
use chainpool_api::{ChannelEvidence, Drawing, DrawnNode, Edge, Evidence, Group, Mark, NodeEvidence};
use std::collections::{BTreeMap, BTreeSet};

/// Organisations as groups; nodes and channels; leaders, memberships, databases and chaincodes as edges.
pub(super) fn drawing(parameters: &Parameters, evidence: &Evidence) -> Option<Drawing> {
    if evidence.nodes.is_empty() {
        return None;
    }
    let marks: BTreeMap<&str, Mark> = evidence
        .nodes
        .iter()
        .map(|(name, node)| (name.as_str(), mark(node, evidence)))
        .collect();
    let organisations: BTreeSet<&String> = evidence
        .nodes
        .values()
        .filter_map(|node| node.organisation.as_ref())
        .collect();
    let group = |name: &String| Group {
        name: name.clone(),
        title: name.clone(),
    };
    let node = |(name, node): (&String, &NodeEvidence)| DrawnNode {
        name: name.clone(),
        group: node.organisation.clone(),
        role: node.role.clone().unwrap_or_default(),
        mark: marks[name.as_str()],
    };
    let channel = |(name, channel): (&String, &ChannelEvidence)| DrawnNode {
        name: channel_name(name),
        group: None,
        role: "channel".to_owned(),
        mark: channel_mark(parameters, evidence, channel),
    };
    let channels = evidence.channels.iter().map(channel);
    let mut edges = memberships(evidence);
    edges.extend(databases(evidence, &marks));
    edges.extend(chaincodes(parameters, evidence, &marks));
    Some(Drawing {
        groups: organisations.into_iter().map(group).collect(),
        nodes: evidence.nodes.iter().map(node).chain(channels).collect(),
        edges,
    })
}

/// The drawn name of a channel; nodes of the cluster have no space in their names.
fn channel_name(channel: &str) -> String {
    format!("channel {channel}")
}

/// Orderers and peers with their channels.
fn memberships(evidence: &Evidence) -> Vec<Edge> {
    let of_node = |(name, node): (&String, &NodeEvidence)| -> Vec<Edge> {
        let edge = |channel: &String| {
            let seen = evidence.channels.get(channel)?;
            let leads = seen.leader.as_ref() == Some(name);
            Some(Edge {
                from: name.clone(),
                to: channel_name(channel),
                meaning: if leads { "leads" } else { "has joined" }.to_owned(),
                mark: if node.catching_up == Some(true) {
                    Mark::Attention
                } else {
                    Mark::Ok
                },
            })
        };
        node.channels.keys().filter_map(edge).collect()
    };
    evidence.nodes.iter().flat_map(of_node).collect()
}

fn peers(evidence: &Evidence) -> impl Iterator<Item = (&String, &NodeEvidence)> {
    let nodes = evidence.nodes.iter();
    nodes.filter(|(_, node)| is_kind(node, NodeKind::Peer))
}

/// Peers with their databases.
fn databases(evidence: &Evidence, marks: &BTreeMap<&str, Mark>) -> Vec<Edge> {
    let edge = |(name, peer): (&String, &NodeEvidence)| {
        let database = names::database(&NodeName::parse(name).ok()?);
        let mark = *marks.get(database.as_str())?;
        Some(Edge {
            from: name.clone(),
            to: database.to_string(),
            meaning: "stores its state in".to_owned(),
            mark: if peer.unable.is_some() {
                Mark::Problem
            } else {
                mark
            },
        })
    };
    peers(evidence).filter_map(edge).collect()
}

/// Peers with the chaincodes of their channels. The worst commit status of these channels counts.
fn chaincodes(parameters: &Parameters, evidence: &Evidence, marks: &BTreeMap<&str, Mark>) -> Vec<Edge> {
    let chaincodes = parameters.chaincodes();
    let of_peer = |(name, peer): (&String, &NodeEvidence)| -> Vec<Edge> {
        let joined: Vec<&ChannelEvidence> = peer
            .channels
            .keys()
            .filter_map(|channel| evidence.channels.get(channel))
            .collect();
        let edges = chaincodes.iter().filter_map(|chaincode| {
            let node = chaincode.node();
            let of_node = *marks.get(node.as_str())?;
            let commits = joined
                .iter()
                .filter_map(|channel| channel.chaincodes.get(&chaincode.name));
            let mark = commits.map(|is_committed| commit_mark(*is_committed)).max()?;
            Some(Edge {
                from: name.clone(),
                to: node.to_string(),
                meaning: "calls".to_owned(),
                mark: mark.max(of_node),
            })
        });
        edges.collect()
    };
    peers(evidence).flat_map(of_peer).collect()
}
