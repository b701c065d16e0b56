//! Sections from evidence. Pure.

use crate::{
    cell,
    fabric::{
        health::verdict::expires_soon,
        mark::{active, channel_mark, commit_mark, is_kind, mark, orderers},
        model::NodeKind,
        parameters::Parameters,
    },
};
use chainpool_api::{ChannelEvidence, Evidence, Mark, NodeEvidence, Row, Section, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Columns of the organisations, with the nodes that they count.
const MEMBERS: [(&str, NodeKind); 4] = [
    ("orderers", NodeKind::Orderer),
    ("peers", NodeKind::Peer),
    ("state databases", NodeKind::Database),
    ("Fabric CAs", NodeKind::Ca),
];

/// Organisations, channels, chaincodes and certificates; each only with rows.
pub(super) fn sections(parameters: &Parameters, evidence: &Evidence, now: Timestamp) -> Vec<Section> {
    let channels = evidence
        .channels
        .iter()
        .map(|(name, channel)| channel_row(parameters, evidence, name, channel));
    let sections = [
        section(
            "Organisations",
            &MEMBERS.map(|(title, _)| title),
            organisations(evidence),
        ),
        section(
            "Channels",
            &["blocks", "leader", "active orderers", "blocks agree"],
            channels.collect(),
        ),
        section(
            "Chaincodes",
            &["channel", "committed", "process"],
            chaincodes(parameters, evidence),
        ),
        section(
            "Certificates",
            &["expiry"],
            certificates(parameters, evidence, now),
        ),
    ];
    sections.into_iter().flatten().collect()
}

fn section(title: &str, columns: &[&str], rows: Vec<Row>) -> Option<Section> {
    (!rows.is_empty()).then(|| Section {
        title: title.to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows,
    })
}

/// Available nodes of each organisation by role, of all of them.
fn organisations(evidence: &Evidence) -> Vec<Row> {
    let of = |name: &str| -> Vec<&NodeEvidence> {
        let nodes = evidence.nodes.values();
        nodes
            .filter(|node| node.organisation.as_deref() == Some(name))
            .collect()
    };
    let names: BTreeSet<&str> = evidence
        .nodes
        .values()
        .filter_map(|node| node.organisation.as_deref())
        .collect();
    let row = |name: &str| {
        let nodes = of(name);
        let count = |kind| {
            let members: Vec<Mark> = nodes
                .iter()
                .filter(|node| is_kind(node, kind))
                .map(|node| mark(node, evidence))
                .collect();
            let available = members
                .iter()
                .filter(|mark| matches!(mark, Mark::Ok | Mark::Attention))
                .count();
            (!members.is_empty()).then(|| format!("{available} of {}", members.len()))
        };
        let worst = nodes.iter().map(|node| mark(node, evidence)).max();
        Row {
            label: name.to_owned(),
            values: MEMBERS.iter().map(|(_, kind)| cell(count(*kind))).collect(),
            mark: worst.unwrap_or(Mark::None),
        }
    };
    names.into_iter().map(row).collect()
}

fn channel_row(parameters: &Parameters, evidence: &Evidence, name: &str, channel: &ChannelEvidence) -> Row {
    let orderers = orderers(evidence);
    Row {
        label: name.to_owned(),
        values: vec![
            cell(channel.height),
            channel.leader.clone().unwrap_or_else(|| "none".to_owned()),
            cell(active(channel).map(|active| format!("{active} of {orderers}"))),
            cell(channel.agree.map(yes)),
        ],
        mark: channel_mark(parameters, evidence, channel),
    }
}

fn chaincodes(parameters: &Parameters, evidence: &Evidence) -> Vec<Row> {
    let nodes: BTreeMap<String, &NodeEvidence> = parameters
        .chaincodes()
        .into_iter()
        .filter_map(|chaincode| Some((evidence.nodes.get(chaincode.node().as_str())?, chaincode)))
        .map(|(node, chaincode)| (chaincode.name, node))
        .collect();
    let row = |channel: &str, name: &String, is_committed: bool| {
        let node = nodes.get(name);
        let process = node.map_or(Mark::None, |node| mark(node, evidence));
        Row {
            label: name.clone(),
            values: vec![
                channel.to_owned(),
                yes(is_committed).to_owned(),
                cell(node.map(|node| &node.process)),
            ],
            mark: process.max(commit_mark(is_committed)),
        }
    };
    let channels = evidence.channels.iter();
    channels
        .flat_map(|(channel, seen)| {
            let chaincodes = seen.chaincodes.iter();
            chaincodes.map(move |(name, is_committed)| (channel, name, *is_committed))
        })
        .map(|(channel, name, is_committed)| row(channel, name, is_committed))
        .collect()
}

/// The certificates that nodes present, and the first of all to expire.
fn certificates(parameters: &Parameters, evidence: &Evidence, now: Timestamp) -> Vec<Row> {
    let row = |label: &str, expiry: Timestamp| Row {
        label: label.to_owned(),
        values: vec![expiry.to_string()],
        mark: if expiry <= now {
            Mark::Problem
        } else if expires_soon(parameters, expiry, now) {
            Mark::Attention
        } else {
            Mark::Ok
        },
    };
    let first = evidence
        .certificate_ends
        .map(|expiry| row("first of the network", expiry));
    let nodes = evidence
        .nodes
        .iter()
        .filter_map(|(name, node)| Some(row(name, node.certificate_ends?)));
    first.into_iter().chain(nodes).collect()
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[cfg(test)]
#[path = "sections_tests.rs"]
mod tests;
