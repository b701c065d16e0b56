//! Failed sign-ins in the log and in the audit. Anybody can cause them, so in a minute there are a few rows of their own
//! and one that sums up the others.

use super::{audit, sign_in_limit::Source};
use crate::{Error, Orchestrator, Result, caller::WATCHDOG};
use chainpool_api::Timestamp;
use chainpool_store::AccountRow;
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use uuid::Uuid;

const MINUTE: Duration = Duration::from_mins(1);

/// Failures that get a row of their own in a minute.
const ROWS: u32 = 5;

/// Names and addresses in a sum at most.
const NAMED: usize = 5;

/// Counts the failures of a minute.
#[derive(Default)]
pub(super) struct SignInFailures(Mutex<Minute>);

#[derive(Default)]
struct Minute {
    began: Option<Instant>,
    rows: u32,
    rest: Option<Rest>,
}

/// Failures without a row of their own.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rest {
    wrong: u64,
    limited: u64,
    accounts: BTreeSet<String>,
    sources: BTreeSet<Source>,
}

/// Why a sign-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The account or the password is wrong.
    Wrong,
    /// A limit refused it before anything was looked at.
    Limited,
}

/// What to do with a failure.
#[derive(Debug, PartialEq, Eq)]
enum Note {
    /// It gets a row.
    Row,
    /// It is the first of a sum, which is due after this time.
    Sum(Duration),
    /// It was added to the sum.
    Added,
}

impl SignInFailures {
    fn note(&self, failure: Failure, account: Option<&str>, source: Source, now: Instant) -> Note {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = minute
            .began
            .is_none_or(|began| now.saturating_duration_since(began) >= MINUTE);
        if over && minute.rest.is_none() {
            *minute = Minute {
                began: Some(now),
                ..Minute::default()
            };
        }
        if failure == Failure::Wrong && minute.rows < ROWS {
            minute.rows += 1;
            return Note::Row;
        }
        let began = minute.began.unwrap_or(now);
        let first = minute.rest.is_none();
        let rest = minute.rest.get_or_insert_default();
        match failure {
            Failure::Wrong => rest.wrong += 1,
            Failure::Limited => rest.limited += 1,
        }
        if rest.sources.len() < NAMED {
            rest.sources.insert(source);
        }
        if let Some(account) = account.filter(|_| rest.accounts.len() < NAMED) {
            rest.accounts.insert(account.to_owned());
        }
        if first {
            Note::Sum((began + MINUTE).saturating_duration_since(now))
        } else {
            Note::Added
        }
    }

    /// Ends the minute; its sum, if there is one.
    fn take(&self) -> Option<Rest> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).rest
    }
}

impl Rest {
    fn text(&self) -> String {
        let Self {
            wrong,
            limited,
            accounts,
            sources,
        } = self;
        let mut text = format!("{} more failed sign-ins in a minute", wrong + limited);
        if *limited > 0 {
            // Writing to a string cannot fail.
            let _infallible = write!(text, ", {limited} of them refused by a limit");
        }
        let sources: Vec<String> = sources.iter().map(Source::to_string).collect();
        let _infallible = write!(text, "; from {}", sources.join(", "));
        if !accounts.is_empty() {
            let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
            let _infallible = write!(text, "; for {}", accounts.join(", "));
        }
        text
    }
}

impl Orchestrator {
    /// Notes a failed sign-in. The name that was tried is told only where there is such an account: people type
    /// passwords into the wrong field.
    pub(super) async fn sign_in_failed(
        &self,
        failure: Failure,
        account: Option<&AccountRow>,
        source: Source,
    ) -> Result<()> {
        let name = account.map(|row| row.name.as_str());
        match self
            .inner
            .authentication
            .sign_in_failures
            .note(failure, name, source, Instant::now())
        {
            Note::Row => {
                tracing::warn!(account = name.unwrap_or("unknown"), from = %source, "a sign-in failed");
                let text = match name {
                    Some(name) => format!("wrong password for {name} from {source}"),
                    None => format!("an account that does not exist, from {source}"),
                };
                self.sign_in_failure_row(account.map_or(Uuid::nil(), |row| row.id), text)
                    .await
            }
            Note::Sum(due) => {
                let this = self.clone();
                // With the executor's tasks, so that the database closes after it.
                self.inner.executor.spawn(async move {
                    // Before a stop it is written sooner.
                    drop(tokio::time::timeout(due, this.inner.stop.cancelled()).await);
                    if let Err(error) = this.sign_in_failures_sum().await {
                        tracing::error!(%error, cause = ?error, "failed sign-ins could not be written to the audit");
                    }
                });
                Ok(())
            }
            Note::Added => Ok(()),
        }
    }

    /// Writes the sum of the failures without a row of their own.
    pub(super) async fn sign_in_failures_sum(&self) -> Result<()> {
        let Some(rest) = self.inner.authentication.sign_in_failures.take() else {
            return Ok(());
        };
        let text = rest.text();
        tracing::warn!("{text}");
        self.sign_in_failure_row(Uuid::nil(), text).await
    }

    async fn sign_in_failure_row(&self, account: Uuid, detail: String) -> Result<(), Error> {
        let mut tx = self.store().begin().await?;
        audit(
            &mut tx,
            WATCHDOG,
            "sign_in_failed",
            account,
            detail,
            Timestamp::now(),
        )
        .await?;
        Ok(tx.commit("failed sign-in noted").await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_is_a_few_notes_and_a_sum_in_each_minute() {
        let (failures, now) = (SignInFailures::default(), Instant::now());
        let from = |n: u32| Source::of(&std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string());
        for minute in 0..3u32 {
            let now = now + MINUTE * minute;
            let notes: Vec<Note> = (0..1000)
                .map(|n| failures.note(Failure::Wrong, Some(&format!("a{n}")), from(n), now))
                .collect();
            assert_eq!(notes.iter().filter(|note| **note == Note::Row).count(), 5);
            assert_eq!(notes.iter().filter(|note| **note == Note::Sum(MINUTE)).count(), 1);
            assert_eq!(
                failures.note(Failure::Limited, None, from(1), now + MINUTE * 2),
                Note::Added,
                "the sum is not written yet"
            );
            let rest = failures.take().unwrap();
            assert_eq!(
                (rest.wrong, rest.limited, rest.accounts.len(), rest.sources.len()),
                (995, 1, NAMED, NAMED)
            );
            assert!(
                rest.text()
                    .starts_with("996 more failed sign-ins in a minute, 1 of them"),
                "{}",
                rest.text()
            );
        }
        assert_eq!(failures.take(), None);
    }
}
