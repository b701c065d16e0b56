//! Sections and the drawing from evidence. Pure.

use chainpool_api::{Drawing, DrawnNode, Evidence, NodeEvidence, Row, Section};
use chainpool_networks::{cell, node_mark};

/// The members of the ledger; nothing without nodes.
pub(super) fn sections(evidence: &Evidence) -> Vec<Section> {
    let row = |(name, node): (&String, &NodeEvidence)| Row {
        label: name.clone(),
        values: vec![node.process.to_string(), cell(node.height), cell(node.peers)],
        mark: node_mark(node),
    };
    let members = Section {
        title: "Members".to_owned(),
        columns: ["process", "height", "peers"].map(str::to_owned).into(),
        rows: evidence.nodes.iter().map(row).collect(),
    };
    if members.rows.is_empty() {
        vec![]
    } else {
        vec![members]
    }
}

/// The members, without edges: evidence does not name their peers.
pub(super) fn drawing(evidence: &Evidence) -> Option<Drawing> {
    let node = |(name, node): (&String, &NodeEvidence)| DrawnNode {
        name: name.clone(),
        group: None,
        role: "member".to_owned(),
        mark: node_mark(node),
    };
    (!evidence.nodes.is_empty()).then(|| Drawing {
        groups: vec![],
        nodes: evidence.nodes.iter().map(node).collect(),
        edges: vec![],
    })
}
