//! Ledgers that lost blocks.

use super::*;

/// Orderers, peers, known height, expected regression.
type RegressionCase = (
    &'static [&'static str],
    &'static [&'static [&'static str]],
    u64,
    bool,
);

#[test]
fn a_ledger_regression_is_detected_when_all_nodes_are_responsive() {
    let two: &[&[&str]] = &[&["ok"], &["ok"]];
    let one_unresponsive: &[&[&str]] = &[&["ok"], &["unresponsive"]];
    let table: [RegressionCase; 6] = [
        (&["ok"; 3], two, 7, false),
        (&["ok"; 3], two, 8, false),
        (&["ok"; 3], two, 9, true),
        (&["ok", "ok", "exited 137"], two, 9, false),
        (&["ok", "ok", "behind"], two, 9, false),
        (&["ok"; 3], one_unresponsive, 9, false),
    ];
    for (orderers, peers, before, found) in table {
        let history = History {
            progress: Some(chainpool_api::Progress::At(before)),
            progress_since: ago(1),
            ..History::default()
        };
        let regression = ledger_regression(&seen(orderers, peers), &history);
        assert_eq!(
            regression.is_some(),
            found,
            "{orderers:?} {peers:?} after {before}"
        );
    }
}
