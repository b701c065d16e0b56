//! The death of a Chainpool at one commit, without a process of its own.
//!
//! The hook of the store unwinds there, and at every later commit: a transaction that is open is rolled back, and nothing
//! is written any more. Whoever waits for [`CrashPoint::reached`] then ends the runtime, and with it all that goes on.

use chainpool_orchestrator::CommitHook;
use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;

/// Where a Chainpool dies: before or after a commit, counted from when it is armed.
#[derive(Clone)]
pub struct CrashPoint {
    state: Arc<State>,
}

struct State {
    /// Never, without a point.
    point: Option<(usize, Side)>,
    armed: AtomicBool,
    dead: AtomicBool,
    commits: AtomicUsize,
    reached: watch::Sender<bool>,
}

/// On which side of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It is not written.
    Before,
    /// It is written, and not another one.
    After,
}

impl CrashPoint {
    /// At a commit.
    #[must_use]
    pub fn at(commit: usize, side: Side) -> Self {
        Self::new(Some((commit, side)))
    }

    /// Nowhere.
    #[must_use]
    pub fn never() -> Self {
        Self::new(None)
    }

    fn new(point: Option<(usize, Side)>) -> Self {
        let state = State {
            point,
            armed: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            commits: AtomicUsize::new(0),
            reached: watch::Sender::new(false),
        };
        Self {
            state: Arc::new(state),
        }
    }

    /// Counts commits from now on.
    pub fn arm(&self) {
        self.state.armed.store(true, Ordering::SeqCst);
    }

    /// Dies now.
    pub fn strike(&self) {
        self.state.dead.store(true, Ordering::SeqCst);
        self.state.reached.send_replace(true);
    }

    /// Whether it has died.
    #[must_use]
    pub fn has_come(&self) -> bool {
        self.state.dead.load(Ordering::SeqCst)
    }

    /// Waits until it dies.
    pub async fn reached(&self) {
        // The sender lives as long as this.
        drop(self.state.reached.subscribe().wait_for(|reached| *reached).await);
    }

    /// What the store calls around each commit.
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
            if !this.has_come() {
                if !armed.load(Ordering::SeqCst) {
                    return;
                }
                let number = if committed {
                    commits.load(Ordering::SeqCst)
                } else {
                    commits.fetch_add(1, Ordering::SeqCst) + 1
                };
                let here = match wanted {
                    // Another commit may have been begun before this one was told of.
                    Some((at, Side::After)) => committed && number >= *at,
                    Some((at, Side::Before)) => !committed && number == *at,
                    None => false,
                };
                if !here {
                    return;
                }
                this.strike();
            }
            // Not a panic, which would be reported: it is the death that was asked for.
            resume_unwind(Box::new(format!("killed at {point}")));
        })
    }
}
