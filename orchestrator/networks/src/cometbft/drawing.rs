//! The drawing from evidence. Pure.

use crate::node_mark;
use chainpool_api::{Drawing, DrawnNode, Evidence, NodeEvidence};

/// The validators. Evidence counts the peers of a node and does not name them, so there are no edges.
pub(super) fn drawing(evidence: &Evidence) -> Option<Drawing> {
    let node = |(name, node): (&String, &NodeEvidence)| DrawnNode {
        name: name.clone(),
        group: None,
        role: if node.power == Some(0) {
            "node without voting power".to_owned()
        } else {
            "validator".to_owned()
        },
        mark: node_mark(node),
    };
    (!evidence.nodes.is_empty()).then(|| Drawing {
        groups: vec![],
        nodes: evidence.nodes.iter().map(node).collect(),
        edges: vec![],
    })
}
