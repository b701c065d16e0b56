//! Rate limit per token, in memory, as a limit need not survive a restart.

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};
use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Minimum number of buckets before a sweep.
const SWEEP_AT: usize = 1024;

/// Buckets by keyed hash of the token, which avoids storing tokens.
type Buckets<C> = RateLimiter<u64, HashMapStateStore<u64>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Rate limiter. A bucket holds one second's worth of requests, which is the maximum burst.
pub(crate) struct Limiter<C: Clock = DefaultClock> {
    hasher: RandomState,
    buckets: Buckets<C>,
    sweep_at: AtomicUsize,
}

impl Limiter {
    /// A limiter with this many requests per second and token.
    pub(crate) fn new(rate: NonZeroU32) -> Self {
        Self::with_clock(rate, DefaultClock::default())
    }
}

impl<C: Clock> Limiter<C> {
    fn with_clock(rate: NonZeroU32, clock: C) -> Self {
        Self {
            hasher: RandomState::new(),
            buckets: RateLimiter::hashmap_with_clock(Quota::per_second(rate), clock),
            sweep_at: AtomicUsize::new(SWEEP_AT),
        }
    }

    /// Takes one request from the token's bucket. An empty bucket returns the time until its next request, in
    /// seconds, rounded up.
    pub(crate) fn take(&self, token: &str) -> Result<(), u64> {
        self.sweep();
        let key = self.hasher.hash_one(token);
        self.buckets.check_key(&key).map_err(|refused| {
            let wait = refused.wait_time_from(self.buckets.clock().now());
            (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
        })
    }

    /// Removes full buckets, which are equivalent to none, whenever the number of buckets has doubled. Only
    /// tokens of about the last second have others.
    fn sweep(&self) {
        if self.buckets.len() >= self.sweep_at.load(Ordering::Relaxed) {
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
            let sweep_at = SWEEP_AT.max(self.buckets.len() * 2);
            self.sweep_at.store(sweep_at, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use std::time::Duration;

    fn limiter(rate: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let rate = NonZeroU32::new(rate).unwrap();
        (Limiter::with_clock(rate, clock.clone()), clock)
    }

    #[test]
    fn a_token_is_limited_to_its_rate() {
        let (limiter, clock) = limiter(10);
        let taken = || (0..50).filter(|_| limiter.take("a").is_ok()).count();
        assert_eq!(taken(), 10);
        assert!(limiter.take("b").is_ok(), "another token has its own bucket");
        clock.advance(Duration::from_millis(550));
        assert_eq!(taken(), 5);
        clock.advance(Duration::from_hours(1));
        assert_eq!(taken(), 10, "the burst is one second's worth");
    }

    #[test]
    fn a_rejected_request_is_allowed_after_the_returned_time() {
        for rate in [1, 7, 1000] {
            let (limiter, clock) = limiter(rate);
            let wait = (0..=rate).find_map(|_| limiter.take("a").err()).unwrap();
            assert_eq!(wait, 1);
            clock.advance(Duration::from_secs(wait));
            assert_eq!(limiter.take("a"), Ok(()));
        }
    }

    #[test]
    fn buckets_of_idle_tokens_are_swept() {
        let (limiter, clock) = limiter(10);
        for n in 0..SWEEP_AT {
            assert!(limiter.take(&n.to_string()).is_ok());
        }
        clock.advance(Duration::from_secs(2));
        assert!(limiter.take("late").is_ok());
        assert_eq!(limiter.buckets.len(), 1);
    }

    #[test]
    fn a_sweep_keeps_buckets_in_use() {
        let (limiter, clock) = limiter(10);
        while limiter.take("busy").is_ok() {}
        for n in 0..2 * SWEEP_AT {
            assert!(limiter.take(&n.to_string()).is_ok());
        }
        clock.advance(Duration::from_millis(500));
        assert_eq!((0..50).filter(|_| limiter.take("busy").is_ok()).count(), 5);
    }
}
