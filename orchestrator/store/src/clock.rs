//! The wall clock, checked against the monotonic clock, so that a jump does not expire leases.

use chainpool_api::Timestamp;
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

const JUMP: Duration = Duration::from_secs(5);
const HOLD: Duration = Duration::from_mins(1);

/// Detects jumps of the wall clock.
#[derive(Debug)]
pub struct Clock(Mutex<State>);

#[derive(Debug)]
struct State {
    base: (Instant, Timestamp),
    hold_until: Option<Instant>,
}

impl Default for Clock {
    fn default() -> Self {
        Self(Mutex::new(State {
            base: (Instant::now(), Timestamp::now()),
            hold_until: None,
        }))
    }
}

impl Clock {
    /// Compares both clocks. Returns `false` for a minute after the wall clock jumped forward by more than 5
    /// s: nothing expires meanwhile, because the jump may be undone.
    pub fn may_expire(&self) -> bool {
        self.check(Instant::now(), Timestamp::now())
    }

    fn check(&self, instant: Instant, wall: Timestamp) -> bool {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let passed = i64::try_from(instant.duration_since(state.base.0).as_millis()).unwrap_or(i64::MAX);
        let jump = wall.millis_since(state.base.1) - passed;
        if jump.unsigned_abs() > u64::try_from(JUMP.as_millis()).expect("5 s fit") {
            tracing::warn!(jump_ms = jump, "the wall clock jumped");
            state.base = (instant, wall);
            if jump > 0 {
                state.hold_until = Some(instant + HOLD);
            }
        }
        state.hold_until.is_none_or(|until| instant >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_jump_expires_nothing_for_a_minute() {
        let clock = Clock::default();
        let (instant, wall) = clock.0.lock().map(|s| s.base).expect("no panic before");
        assert!(clock.check(instant + Duration::from_secs(1), wall.plus_seconds(1)));
        assert!(!clock.check(instant + Duration::from_secs(2), wall.plus_seconds(3600)));
        assert!(!clock.check(instant + Duration::from_secs(50), wall.plus_seconds(3648)));
        assert!(clock.check(instant + Duration::from_secs(63), wall.plus_seconds(3661)));
    }
}
