use super::*;
use std::time::Duration;

const NEVER: Timestamp = Timestamp(0);

fn at(seconds: i64) -> Timestamp {
    Timestamp(1_000_000).plus_seconds(seconds)
}

/// Reports of the nodes `a` and `b`, each `up`, `mute`, `stalled` or `exited`.
fn reports<const N: usize>(states: [&str; N]) -> BTreeMap<String, NodeReport> {
    let report = |state: &str| NodeReport {
        process: if state == "exited" {
            ProcessState::Exited(137)
        } else {
            ProcessState::Running
        },
        answers: state == "up",
        stalled: state == "stalled",
    };
    let named = ["a", "b"].into_iter().zip(states);
    named
        .map(|(name, state)| (name.to_owned(), report(state)))
        .collect()
}

fn observe<const N: usize>(tracker: &mut NodeTracker, seconds: i64, states: [&str; N]) {
    tracker.observe(&reports(states), &BTreeSet::new(), true, at(seconds));
}

/// The overdue nodes at this time. They are restarted.
fn overdue<const N: usize>(tracker: &mut NodeTracker, seconds: i64, states: [&str; N]) -> Vec<String> {
    observe(tracker, seconds, states);
    let overdue = tracker.overdue(&HealthPolicy::default(), NEVER, at(seconds));
    if !overdue.is_empty() {
        tracker.restarted(at(seconds));
    }
    overdue.into_iter().collect()
}

#[test]
fn a_node_that_does_not_respond_once_is_late_and_then_unresponsive() {
    let mut tracker = NodeTracker::default();
    let none = BTreeSet::new();
    let mut see = |seconds, state, final_word| {
        tracker.observe(&reports([state]), &none, final_word, at(seconds));
        tracker.node("a").cloned().unwrap()
    };
    assert_eq!(see(0, "up", false), NodeHealth::Up);
    assert_eq!(see(2, "mute", false), NodeHealth::Late { since: at(2) });
    assert_eq!(see(3, "up", false), NodeHealth::Up);
    assert_eq!(see(4, "mute", false), NodeHealth::Late { since: at(4) });
    assert_eq!(see(5, "mute", false), NodeHealth::Unresponsive { since: at(4) });
    assert_eq!(see(6, "mute", false), NodeHealth::Unresponsive { since: at(4) });
    assert_eq!(see(7, "stalled", false), NodeHealth::Stalled { since: at(7) });
    let down = NodeHealth::Down {
        code: Some(137),
        since: at(8),
    };
    assert_eq!(see(8, "exited", false), down);
    assert_eq!(
        see(9, "mute", false),
        NodeHealth::Unresponsive { since: at(9) },
        "it did not respond before"
    );
    assert_eq!(see(10, "up", false), NodeHealth::Up);
    assert_eq!(see(11, "mute", true), NodeHealth::Unresponsive { since: at(11) });
}

#[test]
fn a_node_stopped_on_request_stays_so() {
    let mut tracker = NodeTracker::default();
    tracker.observe(&reports(["exited", "up"]), &["a".to_owned()].into(), true, at(0));
    tracker.exited("a", 1, at(1));
    assert_eq!(tracker.node("a"), Some(&NodeHealth::StoppedOnPurpose));
    assert!(tracker.all_up() && tracker.to_start().is_empty());
    tracker.exited("b", 2, at(1));
    let down = NodeHealth::Down {
        code: Some(2),
        since: at(1),
    };
    assert_eq!(tracker.node("b"), Some(&down));
    assert_eq!(tracker.to_start(), ["b".to_owned()].into());
}

#[test]
fn time_limits_of_stalled_nodes_grow_after_each_restart() {
    let mut tracker = NodeTracker::starting();
    let mut at = |seconds, states: [&str; 2]| overdue(&mut tracker, seconds, states).join(" ");
    assert_eq!(at(0, ["stalled", "stalled"]), "");
    assert_eq!(at(10, ["stalled", "up"]), "");
    assert_eq!(at(14, ["stalled", "stalled"]), "");
    assert_eq!(at(15, ["stalled", "stalled"]), "a");
    assert_eq!(
        at(30, ["stalled", "stalled"]),
        "",
        "b waited for a, which needs time to start"
    );
    assert_eq!(at(45, ["stalled", "stalled"]), "a b");
    assert_eq!(at(80, ["stalled", "up"]), "");
    assert_eq!(at(90, ["stalled", "stalled"]), "a");
    assert_eq!(at(1000, ["stalled", "up"]), "a");
    assert_eq!(at(1059, ["stalled", "up"]), "");
    assert_eq!(at(1060, ["stalled", "up"]), "a", "the growth is limited");
}

#[test]
fn only_nodes_that_responded_are_restarted_when_unresponsive() {
    let mut slow = NodeTracker::starting();
    let mut at = |seconds, state| overdue(&mut slow, seconds, [state]).len();
    assert_eq!(
        [0, 29, 1000].map(|seconds| at(seconds, "mute")),
        [0, 0, 0],
        "the start may take long"
    );
    assert_eq!([1001, 1002].map(|seconds| at(seconds, "up")), [0, 0]);
    assert_eq!([1003, 1032, 1033].map(|seconds| at(seconds, "mute")), [0, 0, 1]);
    let mut known = NodeTracker::default();
    let mut at = |seconds, state| overdue(&mut known, seconds, [state]).len();
    assert_eq!([0, 29, 30].map(|seconds| at(seconds, "mute")), [0, 0, 1]);
}

#[test]
fn a_node_that_responded_and_stopped_running_is_overdue_like_an_unresponsive_one() {
    for process in [
        ProcessState::Paused,
        ProcessState::Exited(137),
        ProcessState::Absent,
    ] {
        let see = |tracker: &mut NodeTracker, seconds, process: &ProcessState, answers| {
            let report = NodeReport {
                process: process.clone(),
                answers,
                stalled: false,
            };
            let reports = [("a".to_owned(), report)].into();
            tracker.observe(&reports, &BTreeSet::new(), true, at(seconds));
            tracker
                .overdue(&HealthPolicy::default(), NEVER, at(seconds))
                .len()
        };
        let mut tracker = NodeTracker::starting();
        assert_eq!(see(&mut tracker, 0, &process, false), 0);
        assert_eq!(
            see(&mut tracker, 100, &process, false),
            0,
            "it has not responded yet"
        );
        assert_eq!(see(&mut tracker, 101, &ProcessState::Running, true), 0);
        assert_eq!(see(&mut tracker, 110, &process, false), 0);
        assert_eq!(see(&mut tracker, 139, &process, false), 0);
        assert_eq!(see(&mut tracker, 140, &process, false), 1);
        assert_eq!(tracker.to_start(), ["a".to_owned()].into());
    }
}

#[test]
fn a_new_fault_gets_its_full_time_limit() {
    let mut tracker = NodeTracker::default();
    let mut at = |seconds, state| overdue(&mut tracker, seconds, [state]).len();
    assert_eq!(
        [
            at(0, "mute"),
            at(20, "stalled"),
            at(34, "stalled"),
            at(35, "stalled")
        ],
        [0, 0, 0, 1]
    );
}

#[test]
fn limits_count_from_the_last_start_of_a_node_on_the_host() {
    let mut tracker = NodeTracker::default();
    observe(&mut tracker, 0, ["mute"]);
    let policy = HealthPolicy::default();
    let limit = i64::try_from(Duration::as_secs(&policy.repair.node_unresponsive)).unwrap();
    let overdue = |quiet, now| !tracker.overdue(&policy, at(quiet), at(now)).is_empty();
    assert!(overdue(0, limit) && !overdue(10, limit));
    assert!(!overdue(10, limit + 9) && overdue(10, limit + 10));
}
