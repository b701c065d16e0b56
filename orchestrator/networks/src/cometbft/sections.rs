//! Sections from evidence. Pure.

use super::verdict::is_quorum;
use crate::{cell, node_mark};
use chainpool_api::{Evidence, Mark, NodeEvidence, Row, Section};

/// The consensus and the validators; nothing without nodes.
pub(super) fn sections(evidence: &Evidence) -> Vec<Section> {
    if evidence.nodes.is_empty() {
        return vec![];
    }
    let consensus = consensus(evidence);
    let consensus = (!consensus.is_empty()).then(|| Section {
        title: "Consensus".to_owned(),
        columns: vec![],
        rows: consensus,
    });
    let validators = Section {
        title: "Validators".to_owned(),
        columns: ["process", "voting power", "height", "peers"]
            .map(str::to_owned)
            .into(),
        rows: evidence.nodes.iter().map(validator).collect(),
    };
    consensus.into_iter().chain([validators]).collect()
}

fn consensus(evidence: &Evidence) -> Vec<Row> {
    let row = |label: &str, value: String, mark| Row {
        label: label.to_owned(),
        values: vec![value],
        mark,
    };
    let power = evidence.power.map(|(part, all)| {
        let mark = match is_quorum(part, all) {
            _ if part == all => Mark::Ok,
            true => Mark::Attention,
            false => Mark::Problem,
        };
        row("Connected voting power", format!("{part} of {all}"), mark)
    });
    let agree = evidence.agree.map(|agree| {
        let (value, mark) = if agree {
            ("yes", Mark::Ok)
        } else {
            ("no", Mark::Problem)
        };
        row("Blocks agree", value.to_owned(), mark)
    });
    power.into_iter().chain(agree).collect()
}

fn validator((name, node): (&String, &NodeEvidence)) -> Row {
    Row {
        label: name.clone(),
        values: vec![
            node.process.to_string(),
            cell(node.power),
            cell(node.height),
            cell(node.peers),
        ],
        mark: node_mark(node),
    }
}

#[cfg(test)]
#[path = "sections_tests.rs"]
mod tests;
