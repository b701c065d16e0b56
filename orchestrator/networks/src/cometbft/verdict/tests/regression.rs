//! Ledgers that lost blocks.

use super::*;

#[test]
fn a_ledger_regression_is_detected_when_a_quorum_votes() {
    let table: [(&[&str], u64, bool); 6] = [
        (&["ok"; 4], 7, false),
        // A node that is unresponsive now may have been one block ahead.
        (&["ok"; 4], 8, false),
        (&["ok"; 4], 9, true),
        (&["ok", "ok", "ok", "exited 137"], 9, true),
        // Nodes may still be catching up, and a minority may never have had more blocks.
        (&["behind"; 4], 9, false),
        (&["ok", "ok", "unresponsive", "unresponsive"], 9, false),
    ];
    for (words, before, found) in table {
        let regression = ledger_regression(&seen(words), &at(before, 1));
        assert_eq!(regression.is_some(), found, "{words:?} after {before}");
        assert!(regression.is_none_or(|why| why.contains("block 9") && why.contains("release or reset")));
    }
    assert_eq!(ledger_regression(&seen(&["ok"; 4]), &History::default()), None);
}

#[test]
fn the_ledger_is_lost_when_validators_without_blocks_form_a_quorum() {
    for (total, lost, is_loss) in [
        (1, 0, false),
        (1, 1, true),
        (4, 1, false),
        (4, 2, false),
        (4, 3, true),
        (4, 4, true),
        (7, 4, false),
        (7, 5, true),
    ] {
        assert_eq!(loses_ledger(total, lost), is_loss, "{lost} of {total}");
    }
}
