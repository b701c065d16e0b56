//! Simulates a crash of Chainpool at one commit, within the test's process.
//!
//! The store's commit hook unwinds at this commit and at every later one: an open transaction is rolled back
//! and nothing more is written. The test waits for [`CrashPoint::reached`] and then ends the runtime with all
//! its tasks.

use chainpool_orchestrator::CommitHook;
use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;

/// Crash before or after a commit. Commits count from the moment the point is armed.
#[derive(Clone)]
pub struct CrashPoint {
    state: Arc<State>,
}

struct State {
    /// `None` never crashes.
    point: Option<(usize, Side)>,
    armed: AtomicBool,
    crashed: AtomicBool,
    commits: AtomicUsize,
    reached: watch::Sender<bool>,
}

/// Side of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The commit is not written.
    Before,
    /// The commit is written and no later one.
    After,
}

impl CrashPoint {
    /// Crashes at a commit.
    #[must_use]
    pub fn at(commit: usize, side: Side) -> Self {
        Self::new(Some((commit, side)))
    }

    /// Never crashes.
    #[must_use]
    pub fn never() -> Self {
        Self::new(None)
    }

    fn new(point: Option<(usize, Side)>) -> Self {
        let state = State {
            point,
            armed: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
            commits: AtomicUsize::new(0),
            reached: watch::Sender::new(false),
        };
        Self {
            state: Arc::new(state),
        }
    }

    /// Starts to count commits.
    pub fn arm(&self) {
        self.state.armed.store(true, Ordering::SeqCst);
    }

    /// Crashes immediately.
    pub fn trigger(&self) {
        self.state.crashed.store(true, Ordering::SeqCst);
        self.state.reached.send_replace(true);
    }

    /// Returns true after the crash.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.state.crashed.load(Ordering::SeqCst)
    }

    /// Waits for the crash.
    pub async fn reached(&self) {
        // The sender lives as long as `self`.
        drop(self.state.reached.subscribe().wait_for(|reached| *reached).await);
    }

    /// Returns the hook that the store calls around each commit.
    #[must_use]
    pub fn hook(&self) -> CommitHook {
        let this = self.clone();
        Arc::new(move |point, committed| {
            let State {
                point: wanted,
                armed,
                commits,
                ..
            } = &*this.state;
            if !this.is_triggered() {
                if !armed.load(Ordering::SeqCst) {
                    return;
                }
                let number = if committed {
                    commits.load(Ordering::SeqCst)
                } else {
                    commits.fetch_add(1, Ordering::SeqCst) + 1
                };
                let here = match wanted {
                    // Another commit may have started before this one was reported.
                    Some((at, Side::After)) => committed && number >= *at,
                    Some((at, Side::Before)) => !committed && number == *at,
                    None => false,
                };
                if !here {
                    return;
                }
                this.trigger();
            }
            // Unwinds without a panic message: this crash is intended.
            resume_unwind(Box::new(format!("killed at {point}")));
        })
    }
}
