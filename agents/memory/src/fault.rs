//! Scripted faults of calls.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// The verbs of an agent, for call counts and scripted faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the verb of that name")]
pub enum Verb {
    Probe,
    Observe,
    Watch,
    EnsureImage,
    EnsureNetwork,
    EnsureNode,
    EnsureJob,
    Incarnation,
    DropNode,
    DropCluster,
    Logs,
    Dial,
}

/// A fault of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It never reaches the platform.
    Unreachable,
    /// It happens, and its response is lost.
    AnswerLost,
    /// The platform is busy.
    Busy,
    /// The platform refuses, with this reason.
    Refused(String),
    /// It hangs until the fault is cleared; then it happens.
    Hang,
    /// It happens after this time.
    Slow(Duration),
    /// The agent has a defect: the call panics.
    Panic,
}

/// Scripted faults, and call counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    /// One-shot faults, in order.
    next: BTreeMap<Verb, VecDeque<Fault>>,
    /// Faults of every call until cleared.
    standing: BTreeMap<Verb, Fault>,
    calls: BTreeMap<Verb, u64>,
}

impl Script {
    /// Counts a call and returns its fault.
    pub(crate) fn call(&mut self, verb: Verb) -> Option<Fault> {
        *self.calls.entry(verb).or_default() += 1;
        let once = self.next.get_mut(&verb).and_then(VecDeque::pop_front);
        once.or_else(|| self.standing.get(&verb).cloned())
    }

    pub(crate) fn push(&mut self, verb: Verb, fault: Fault) {
        self.next.entry(verb).or_default().push_back(fault);
    }

    pub(crate) fn set_standing(&mut self, verb: Verb, fault: Option<Fault>) {
        match fault {
            Some(fault) => drop(self.standing.insert(verb, fault)),
            None => drop(self.standing.remove(&verb)),
        }
    }

    pub(crate) fn clear(&mut self, verb: Verb) {
        self.next.remove(&verb);
        self.standing.remove(&verb);
    }

    pub(crate) fn hangs(&self, verb: Verb) -> bool {
        self.standing.get(&verb) == Some(&Fault::Hang)
    }

    pub(crate) fn calls(&self, verb: Verb) -> u64 {
        self.calls.get(&verb).copied().unwrap_or(0)
    }
}
