//! Outcomes of promises.

use super::TestPlatformError;
use crate::Error;
use std::{fmt, time::Duration};

/// The outcome of one promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was kept.
    Passed,
    /// It was broken, and how.
    Failed(String),
    /// The platform cannot enforce it, and why.
    NotEnforced(String),
    /// It could not be tested on this machine, and why.
    Skipped(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(why) => write!(f, "FAILED: {why}"),
            Self::NotEnforced(why) => write!(f, "not enforced here: {why}"),
            Self::Skipped(why) => write!(f, "SKIPPED: {why}"),
        }
    }
}

/// The reason why a test stopped early.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(String),
    NotEnforced(String),
    Skipped(String),
}

/// The result of a test.
pub(super) type TestResult<T = ()> = Result<T, Stop>;

/// Fails a test with this message unless the condition holds.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::kit::outcome::Stop::Failed(format!($($message)+)));
        }
    };
}
pub(crate) use check;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("the agent returned: {error}"))
    }
}

impl From<TestPlatformError> for Stop {
    fn from(error: TestPlatformError) -> Self {
        Self::Failed(format!("the test platform returned: {error}"))
    }
}

impl From<Result<(), Stop>> for Outcome {
    fn from(result: Result<(), Stop>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(Stop::Failed(why)) => Self::Failed(why),
            Err(Stop::NotEnforced(why)) => Self::NotEnforced(why),
            Err(Stop::Skipped(why)) => Self::Skipped(why),
        }
    }
}

/// The outcomes of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The column of the table.
    pub platform: String,
    /// Reproduces the random points of this run.
    pub seed: u64,
    /// Each tested promise: name, outcome, time taken.
    pub rows: Vec<(&'static str, Outcome, Duration)>,
}

impl Report {
    /// The outcome of one promise; `None` when it was not tested.
    pub fn outcome(&self, promise: &str) -> Option<&Outcome> {
        self.rows
            .iter()
            .find(|(name, ..)| *name == promise)
            .map(|(_, outcome, _)| outcome)
    }

    /// The names of broken promises.
    pub fn failed(&self) -> Vec<&'static str> {
        self.rows
            .iter()
            .filter(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)))
            .map(|(name, ..)| *name)
            .collect()
    }

    /// Adds the outcomes of other promises on the same platform, tested on another bed.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { platform, seed, rows } = self;
        let of = |wanted: fn(&Outcome) -> bool| {
            rows.iter()
                .filter(|(_, outcome, _)| wanted(outcome))
                .collect::<Vec<_>>()
        };
        let failed = of(|o| matches!(o, Outcome::Failed(_)));
        let skipped = of(|o| matches!(o, Outcome::Skipped(_)));
        let exempt = of(|o| matches!(o, Outcome::NotEnforced(_)));
        let passed = rows.len() - failed.len() - skipped.len() - exempt.len();
        for (name, outcome, _) in exempt.iter().chain(&skipped).chain(&failed) {
            writeln!(f, "{platform}: {name}: {outcome}")?;
        }
        writeln!(
            f,
            "{platform}: {passed} promises passed, {} failed, {} not enforced here, {} SKIPPED (CHAINPOOL_KIT_SEED={seed})",
            failed.len(),
            exempt.len(),
            skipped.len()
        )
    }
}
