//! The nodes of a ledger's evidence for the health machines.

use chainpool_api::{Evidence, NodeEvidence};
use chainpool_health::NodeReport;
use std::collections::BTreeMap;

/// The nodes of evidence as the health machines see them.
pub fn node_reports(evidence: &Evidence) -> BTreeMap<String, NodeReport> {
    let report = |(name, node): (&String, &NodeEvidence)| {
        let report = NodeReport {
            process: node.process.clone(),
            answers: node.answers,
            stalled: node.stuck,
        };
        (name.clone(), report)
    };
    evidence.nodes.iter().map(report).collect()
}
