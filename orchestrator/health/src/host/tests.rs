use super::*;

/// A host in virtual time.
#[derive(Default)]
struct Virtual {
    host: Host,
    policy: HealthPolicy,
}

impl Virtual {
    fn at(&mut self, millis: i64, input: HostInput) -> Vec<HostEffect> {
        let (host, effects) = host_step(self.host.clone(), input, &self.policy, Timestamp(millis));
        self.host = host;
        effects
    }

    fn reported(&mut self, millis: i64) -> Vec<HostEffect> {
        self.at(millis, HostInput::Probed(Probed::Reported))
    }

    fn failed(&mut self, millis: i64) -> Vec<HostEffect> {
        let error = "no route".to_owned();
        self.at(millis, HostInput::Probed(Probed::Failed { error }))
    }

    fn busy(&mut self, millis: i64) -> Vec<HostEffect> {
        let reason = "no leader".to_owned();
        self.at(millis, HostInput::Probed(Probed::Busy { reason }))
    }

    fn node_up(&mut self, millis: i64) {
        self.at(millis, HostInput::NodeUp(Timestamp(millis)));
    }

    fn quiet(&self) -> Option<i64> {
        self.host.quiet_since().map(|at| at.0)
    }
}

fn record(state: HostState, reason: &str) -> HostEffect {
    HostEffect::Record {
        state,
        reason: reason.to_owned(),
    }
}

#[test]
fn a_host_is_quiet_since_its_first_response() {
    let mut host = Virtual::default();
    assert_eq!(host.quiet(), None);
    assert_eq!(host.reported(1), [record(HostState::Active, "")]);
    host.reported(2);
    host.node_up(3);
    assert_eq!(host.quiet(), Some(1), "it was not unreachable");
    host.at(3, HostInput::EventsInterrupted);
    assert_eq!(host.quiet(), None);
    host.reported(4);
    host.node_up(5);
    assert_eq!(
        host.quiet(),
        Some(4),
        "an interruption is not known to be an outage"
    );
    assert_eq!(
        host.failed(6),
        [
            record(HostState::Unreachable, "no route"),
            HostEffect::AssessClusters
        ]
    );
    assert_eq!(host.failed(7), [record(HostState::Unreachable, "no route")]);
    assert_eq!(host.quiet(), None);
    assert_eq!(
        host.reported(8),
        [record(HostState::Active, ""), HostEffect::AssessClusters]
    );
    assert_eq!(host.quiet(), Some(8));
}

#[test]
fn a_reconnected_host_is_quiet_when_its_last_node_starts_within_the_startup_time() {
    let mut host = Virtual::default();
    let startup = millis(host.policy.host.startup);
    host.failed(0);
    host.node_up(1);
    assert_eq!(host.quiet(), None, "it does not respond");
    host.reported(1);
    // The event stream reopens a little later.
    host.at(1, HostInput::EventsInterrupted);
    host.reported(2);
    assert_eq!(host.quiet(), Some(2));
    host.node_up(9);
    host.node_up(8);
    assert_eq!(host.quiet(), Some(9));
    assert_eq!(
        *host.host.availability(),
        HostAvailability::WarmingUp {
            since: Timestamp(2),
            last_node_up: Some(Timestamp(9))
        }
    );
    host.node_up(2 + startup);
    host.node_up(3 + startup);
    assert_eq!(host.quiet(), Some(2 + startup));
    // Long after the reconnect the host is treated like any other.
    host.reported(3 + startup);
    host.at(3 + startup, HostInput::EventsInterrupted);
    host.reported(4 + startup);
    host.node_up(5 + startup);
    assert_eq!(host.quiet(), Some(4 + startup));
}

#[test]
fn a_host_warms_up_until_it_has_been_quiet_for_the_settle_time() {
    let mut host = Virtual::default();
    let settle = millis(host.policy.host.settle);
    let warming_up = |since, last_node_up: Option<i64>| HostAvailability::WarmingUp {
        since: Timestamp(since),
        last_node_up: last_node_up.map(Timestamp),
    };
    host.failed(0);
    host.reported(10);
    assert_eq!(*host.host.availability(), warming_up(10, None));
    host.reported(10 + settle);
    assert_eq!(*host.host.availability(), HostAvailability::Available);
    host.node_up(11 + settle);
    assert_eq!(*host.host.availability(), warming_up(10, Some(11 + settle)));
    host.reported(11 + 2 * settle);
    assert_eq!(*host.host.availability(), HostAvailability::Available);
}

#[test]
fn a_busy_host_stays_active_for_a_limited_time() {
    let mut host = Virtual::default();
    let busy_max = millis(host.policy.host.busy_max);
    assert_eq!(
        host.busy(0),
        [
            record(HostState::Unreachable, "no leader"),
            HostEffect::AssessClusters
        ],
        "it has never reported its state"
    );
    host.reported(100);
    assert_eq!(host.busy(101), []);
    let busy = HostAvailability::Busy {
        since: Timestamp(100),
    };
    assert_eq!(*host.host.availability(), busy);
    assert_eq!(host.quiet(), Some(100), "its clusters continue");
    assert_eq!(host.busy(99 + busy_max), []);
    assert_eq!(
        host.busy(100 + busy_max),
        [
            record(HostState::Unreachable, "no leader"),
            HostEffect::AssessClusters
        ]
    );
    host.reported(101 + busy_max);
    host.busy(102 + busy_max);
    host.reported(103 + busy_max);
    assert_eq!(host.host.state(), HostState::Active);
    assert_eq!(host.quiet(), Some(101 + busy_max));
}

#[test]
fn only_an_operator_ends_a_pause() {
    let mut host = Virtual::default();
    host.reported(0);
    let reason = "another engine".to_owned();
    let other = HostInput::Probed(Probed::Other {
        reason: reason.clone(),
    });
    assert_eq!(
        host.at(1, other),
        [
            record(HostState::Paused, "another engine"),
            HostEffect::AssessClusters
        ]
    );
    assert_eq!(host.reported(2), [record(HostState::Paused, "another engine")]);
    assert_eq!(host.failed(3), [record(HostState::Paused, "no route")]);
    assert_eq!(host.busy(4), [record(HostState::Paused, "no leader")]);
    assert_eq!(host.quiet(), None);
    let recorded = |state| HostInput::Recorded {
        state,
        reason: String::new(),
        since: Timestamp(5),
        reported_at: None,
    };
    host.at(5, recorded(HostState::Paused));
    assert_eq!(host.host.state(), HostState::Paused);
    host.at(6, recorded(HostState::Active));
    assert_eq!(host.quiet(), None, "it is probed first");
    assert_eq!(host.reported(7), [record(HostState::Active, "")]);
    assert_eq!(host.quiet(), Some(7));
}
