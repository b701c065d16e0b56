//! Failed sign-ins of the last minute. Anybody can cause them, so each minute has at most a few separate
//! entries in the log and the audit log, and one summary of the others.

use super::sign_in_limit::Source;
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_mins(1);

/// The number of separate entries per minute.
const ENTRIES: u32 = 5;

/// The maximum number of names and addresses in a summary.
const NAMED: usize = 5;

/// Counts the failures of a minute.
#[derive(Default)]
pub(super) struct SignInFailures(Mutex<Minute>);

#[derive(Default)]
struct Minute {
    started_at: Option<Instant>,
    entries: u32,
    summarised: Option<Summarised>,
}

/// Failures without a separate entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Summarised {
    wrong: u64,
    limited: u64,
    accounts: BTreeSet<String>,
    sources: BTreeSet<Source>,
}

/// The reason of a failed sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Wrong account or password.
    Wrong,
    /// Refused by a limit before any check.
    Limited,
}

/// The handling of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A separate entry.
    Entry,
    /// The first one of a summary, which is due after this time.
    Summary(Duration),
    /// Added to the summary.
    Added,
}

impl SignInFailures {
    pub(super) fn note(&self, failure: Failure, account: Option<&str>, source: Source, now: Instant) -> Note {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = minute
            .started_at
            .is_none_or(|started_at| now.saturating_duration_since(started_at) >= MINUTE);
        if over && minute.summarised.is_none() {
            *minute = Minute {
                started_at: Some(now),
                ..Minute::default()
            };
        }
        if failure == Failure::Wrong && minute.entries < ENTRIES {
            minute.entries += 1;
            return Note::Entry;
        }
        let started_at = minute.started_at.unwrap_or(now);
        let first = minute.summarised.is_none();
        let summarised = minute.summarised.get_or_insert_default();
        match failure {
            Failure::Wrong => summarised.wrong += 1,
            Failure::Limited => summarised.limited += 1,
        }
        if summarised.sources.len() < NAMED {
            summarised.sources.insert(source);
        }
        if let Some(account) = account.filter(|_| summarised.accounts.len() < NAMED) {
            summarised.accounts.insert(account.to_owned());
        }
        if first {
            Note::Summary((started_at + MINUTE).saturating_duration_since(now))
        } else {
            Note::Added
        }
    }

    /// Ends the minute and returns its summary, if any.
    pub(super) fn take(&self) -> Option<Summarised> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).summarised
    }
}

impl Summarised {
    pub(super) fn text(&self) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_makes_a_few_entries_and_a_summary_per_minute() {
        let (failures, now) = (SignInFailures::default(), Instant::now());
        let from = |n: u32| Source::of(&std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string());
        for minute in 0..3u32 {
            let now = now + MINUTE * minute;
            let notes: Vec<Note> = (0..1000)
                .map(|n| failures.note(Failure::Wrong, Some(&format!("a{n}")), from(n), now))
                .collect();
            assert_eq!(notes.iter().filter(|note| **note == Note::Entry).count(), 5);
            assert_eq!(
                notes
                    .iter()
                    .filter(|note| **note == Note::Summary(MINUTE))
                    .count(),
                1
            );
            assert_eq!(
                failures.note(Failure::Limited, None, from(1), now + MINUTE * 2),
                Note::Added,
                "the summary is not written yet"
            );
            let summarised = failures.take().unwrap();
            assert_eq!(
                (
                    summarised.wrong,
                    summarised.limited,
                    summarised.accounts.len(),
                    summarised.sources.len()
                ),
                (995, 1, NAMED, NAMED)
            );
            assert!(
                summarised
                    .text()
                    .starts_with("996 more failed sign-ins in a minute, 1 of them"),
                "{}",
                summarised.text()
            );
        }
        assert_eq!(failures.take(), None);
    }
}
