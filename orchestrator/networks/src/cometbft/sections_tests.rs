//! Sections and drawings by evidence.

use super::*;
use crate::cometbft::drawing::drawing;
use chainpool_api::ProcessState;

/// A validator at height 7 with three peers, or one without an answer.
fn node(process: ProcessState) -> NodeEvidence {
    let answers = process.is_running();
    NodeEvidence {
        process,
        answers,
        power: Some(10),
        height: answers.then_some(7),
        peers: answers.then_some(3),
        ..NodeEvidence::default()
    }
}

fn seen(last: ProcessState, power: (u64, u64)) -> Evidence {
    let running = || node(ProcessState::Running);
    Evidence {
        nodes: [
            ("v0".to_owned(), running()),
            ("v1".to_owned(), running()),
            ("v2".to_owned(), node(last)),
        ]
        .into(),
        height: Some(7),
        agree: Some(true),
        power: Some(power),
        ..Evidence::default()
    }
}

/// Rows as `label: values (mark)`.
fn text(section: &Section) -> Vec<String> {
    let row = |row: &Row| format!("{}: {} ({})", row.label, row.values.join(", "), row.mark);
    section.rows.iter().map(row).collect()
}

#[test]
fn sections_show_the_consensus_and_each_validator() {
    let table = [
        (
            seen(ProcessState::Running, (30, 30)),
            "Connected voting power: 30 of 30 (ok)",
            "v2: running, 10, 7, 3 (ok)",
        ),
        (
            seen(ProcessState::Exited(137), (21, 30)),
            "Connected voting power: 21 of 30 (attention)",
            "v2: exited 137, 10, ,  (problem)",
        ),
        (
            seen(ProcessState::Absent, (20, 30)),
            "Connected voting power: 20 of 30 (problem)",
            "v2: absent, 10, ,  (problem)",
        ),
        (
            seen(ProcessState::Unknown, (20, 30)),
            "Connected voting power: 20 of 30 (problem)",
            "v2: unknown, 10, ,  (none)",
        ),
    ];
    for (evidence, power, last) in table {
        let sections = sections(&evidence);
        let [consensus, validators] = sections.as_slice() else {
            panic!("{sections:?}");
        };
        assert_eq!(text(consensus), [power, "Blocks agree: yes (ok)"]);
        let rows = text(validators);
        assert_eq!((rows.len(), rows[0].as_str()), (3, "v0: running, 10, 7, 3 (ok)"));
        assert_eq!(rows[2], last);
        assert!(
            validators
                .rows
                .iter()
                .all(|row| row.values.len() == validators.columns.len())
        );
    }
}

#[test]
fn different_blocks_are_a_problem_and_without_an_answer_nothing_is_claimed() {
    let mut evidence = seen(ProcessState::Running, (30, 30));
    evidence.agree = Some(false);
    assert_eq!(text(&sections(&evidence)[0])[1], "Blocks agree: no (problem)");
    (evidence.agree, evidence.power) = (None, None);
    let titles: Vec<String> = sections(&evidence)
        .into_iter()
        .map(|section| section.title)
        .collect();
    assert_eq!(titles, ["Validators"]);
    assert_eq!(sections(&Evidence::default()), []);
    assert_eq!(drawing(&Evidence::default()), None);
}

#[test]
fn a_drawing_has_the_validators_and_invents_no_connection() {
    let mut evidence = seen(ProcessState::Paused, (20, 30));
    let removed = evidence.nodes.get_mut("v1").expect("it is there");
    (removed.power, removed.catching_up) = (Some(0), Some(true));
    let drawing = drawing(&evidence).expect("it has nodes");
    assert_eq!((drawing.groups.len(), drawing.edges.len()), (0, 0));
    let nodes: Vec<_> = drawing
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.role.as_str(), node.mark))
        .collect();
    assert_eq!(
        nodes,
        [
            ("v0", "validator", Mark::Ok),
            ("v1", "node without voting power", Mark::Attention),
            ("v2", "validator", Mark::Problem),
        ]
    );
}
