//! Scripted faults: what becomes of a call.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// The verbs of an agent, as calls are counted and faults are scripted.
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

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It never reaches the platform.
    Unreachable,
    /// It happens, and its answer is lost.
    AnswerLost,
    /// The platform answers that it cannot do it now.
    Busy,
    /// The platform refuses, with this reason.
    Refused(String),
    /// It has no answer before the fault is lifted; then it happens.
    Hang,
    /// It happens after this time.
    Slow(Duration),
    /// The agent has a defect: the call never comes back to its caller.
    Panic,
}

/// The faults that are scripted, and the calls that came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    /// Each for one call, in this order.
    next: BTreeMap<Verb, VecDeque<Fault>>,
    /// For every call until it is lifted.
    standing: BTreeMap<Verb, Fault>,
    calls: BTreeMap<Verb, u64>,
}

impl Script {
    /// Counts a call and tells what becomes of it.
    pub(crate) fn call(&mut self, verb: Verb) -> Option<Fault> {
        *self.calls.entry(verb).or_default() += 1;
        let once = self.next.get_mut(&verb).and_then(VecDeque::pop_front);
        once.or_else(|| self.standing.get(&verb).cloned())
    }

    pub(crate) fn push(&mut self, verb: Verb, fault: Fault) {
        self.next.entry(verb).or_default().push_back(fault);
    }

    pub(crate) fn stand(&mut self, verb: Verb, fault: Option<Fault>) {
        match fault {
            Some(fault) => drop(self.standing.insert(verb, fault)),
            None => drop(self.standing.remove(&verb)),
        }
    }

    pub(crate) fn forget(&mut self, verb: Verb) {
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
