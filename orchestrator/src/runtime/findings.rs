//! The latest findings of the watchdog, in memory.

use chainpool_api::{self as api, Timestamp};
use futures::FutureExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use uuid::Uuid;

/// The latest findings of the watchdog.
#[derive(Default)]
pub(crate) struct Findings(Mutex<Found>);

/// The time and the problem of a check.
pub(crate) type Check = (Timestamp, Option<String>);

/// A check of the database.
#[derive(Clone, Copy)]
pub(crate) enum DatabaseCheck {
    /// Writes are visible on another connection.
    Write,
    /// The content is intact.
    Integrity,
}

#[derive(Default)]
struct Found {
    unclaimed: BTreeMap<Uuid, Vec<api::Unclaimed>>,
    /// The write check of the database.
    written: Option<Check>,
    /// The integrity check of the database.
    intact: Option<Check>,
    pass: Option<(Timestamp, u64)>,
    lag_ms: u64,
    fill: BTreeMap<Uuid, String>,
    crashed: BTreeMap<Watched, Timestamp>,
}

/// A part of the watchdog's work. A defect in one part must neither stop nor hide the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// A job by its name.
    Job(&'static str),
    /// The check of a host.
    Host(Uuid),
    /// Watching the events of a host's platform.
    Events(Uuid),
    /// Filling a host.
    Fill(Uuid),
    /// The check of a cluster.
    Cluster(Uuid),
}

impl Findings {
    fn with<T>(&self, change: impl FnOnce(&mut Found) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn unclaimed_put(&self, host: Uuid, unclaimed: Vec<api::Unclaimed>) {
        self.with(|found| found.unclaimed.insert(host, unclaimed));
    }

    /// Lists the unclaimed objects of these hosts, by host.
    pub(crate) fn unclaimed_of(&self, is_known: impl Fn(Uuid) -> bool) -> Vec<api::Unclaimed> {
        self.with(|found| {
            let known = found.unclaimed.iter().filter(|(host, _)| is_known(**host));
            known.flat_map(|(_, unclaimed)| unclaimed).cloned().collect()
        })
    }

    pub(crate) fn unclaimed(&self, host: Uuid) -> Vec<api::Unclaimed> {
        self.with(|found| found.unclaimed.get(&host).cloned().unwrap_or_default())
    }

    /// Records whether a part of the watchdog's work crashed, until it succeeds.
    fn crash_put(&self, part: Watched, crashed: bool) {
        self.with(|found| {
            if crashed {
                found.crashed.insert(part, Timestamp::now());
            } else {
                found.crashed.remove(&part);
            }
        });
    }

    /// Lists the parts that crashed in their last run.
    pub(crate) fn crashed(&self) -> Vec<(Watched, Timestamp)> {
        self.with(|found| found.crashed.iter().map(|(part, at)| (*part, *at)).collect())
    }

    /// Records why the last autofill of a host failed; `None` if it succeeded. Logs a changed reason.
    pub(crate) fn fill_put(&self, host: Uuid, why: Option<String>) {
        let before = self.with(|found| match why.clone() {
            Some(why) => found.fill.insert(host, why),
            None => found.fill.remove(&host),
        });
        if let Some(why) = why.filter(|why| before.as_ref() != Some(why)) {
            tracing::warn!(%host, why, "a host cannot be filled");
        }
    }

    /// The reasons why the last autofill of hosts failed.
    pub(crate) fn fills(&self) -> BTreeMap<Uuid, String> {
        self.with(|found| found.fill.clone())
    }

    /// Lists the hosts whose last autofill crashed.
    pub(crate) fn crashed_fills(&self) -> BTreeSet<Uuid> {
        self.with(|found| {
            let fills = found.crashed.keys().filter_map(|part| match part {
                Watched::Fill(host) => Some(*host),
                _ => None,
            });
            fills.collect()
        })
    }

    /// Records the result of a database check. Logs a changed problem.
    pub(crate) fn database_put(&self, check: DatabaseCheck, wrong: Option<String>) {
        let before = self
            .with(|found| {
                let place = match check {
                    DatabaseCheck::Write => &mut found.written,
                    DatabaseCheck::Integrity => &mut found.intact,
                };
                place.replace((Timestamp::now(), wrong.clone()))
            })
            .and_then(|(_, wrong)| wrong);
        if let Some(wrong) = wrong.filter(|wrong| before.as_ref() != Some(wrong)) {
            tracing::error!(wrong, "the database check failed");
        }
    }

    /// The latest result of a database check.
    pub(crate) fn database(&self, check: DatabaseCheck) -> Option<Check> {
        self.with(|found| match check {
            DatabaseCheck::Write => found.written.clone(),
            DatabaseCheck::Integrity => found.intact.clone(),
        })
    }

    /// The end and the duration of the last full pass, and the lag of the probes.
    pub(crate) fn watchdog(&self) -> api::WatchdogStatus {
        self.with(|found| api::WatchdogStatus {
            last_pass_at: found.pass.map(|(at, _)| at),
            last_pass_ms: found.pass.map_or(0, |(_, took)| took),
            lag_ms: found.lag_ms,
        })
    }

    /// Records the end and the duration of a full pass.
    pub(crate) fn pass_put(&self, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.with(|found| found.pass = Some((Timestamp::now(), took)));
    }

    /// Records how far the probes lag behind their period.
    pub(crate) fn lag_put(&self, lag: Duration) {
        self.with(|found| found.lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
    }

    /// Runs a part of the watchdog's work. A panic is logged and shown in the status until the part succeeds,
    /// and does not affect other parts; the result is then `None`.
    pub(crate) fn isolated<T>(
        &self,
        part: Watched,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Option<T>> {
        let work = AssertUnwindSafe(Box::pin(work)).catch_unwind();
        async move { self.noted(part, work.await) }
    }

    fn noted<T>(&self, part: Watched, outcome: std::thread::Result<T>) -> Option<T> {
        if let Err(panic) = &outcome {
            let text = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(
                ?part,
                panic = text.unwrap_or("without a message"),
                "a part of the watchdog's work crashed; the others continue"
            );
        }
        self.crash_put(part, outcome.is_err());
        outcome.ok()
    }
}
