//! Rate limit per token: token buckets in memory, as a limit need not survive a restart.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Minimum number of buckets before a sweep.
const SWEEP_AT: usize = 1024;

/// Rate limiter. A bucket holds one second's worth of requests, which is the maximum burst.
pub(crate) struct Limiter {
    rate: f64,
    hasher: RandomState,
    buckets: Mutex<Buckets>,
}

/// Buckets by keyed hash of the token, which avoids storing tokens.
struct Buckets {
    by_token: HashMap<u64, Bucket>,
    sweep_at: usize,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Limiter {
    /// A limiter with this many requests per second and token.
    pub(crate) fn new(rate: u32) -> Self {
        let buckets = Mutex::new(Buckets {
            by_token: HashMap::new(),
            sweep_at: SWEEP_AT,
        });
        Self {
            rate: f64::from(rate),
            hasher: RandomState::new(),
            buckets,
        }
    }

    /// Takes one request from the token's bucket; `false` if it is empty. A bucket refills within a second.
    pub(crate) fn take(&self, token: &str, now: Instant) -> bool {
        let key = self.hasher.hash_one(token);
        // A panic leaves at worst one inaccurate bucket, so a poisoned lock is usable.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = &mut *buckets;
        if buckets.by_token.len() >= buckets.sweep_at {
            // A bucket refills within a second, and a full bucket is equivalent to none.
            buckets
                .by_token
                .retain(|_, bucket| now.saturating_duration_since(bucket.at).as_secs() < 1);
            buckets.sweep_at = SWEEP_AT.max(buckets.by_token.len() * 2);
        }
        let bucket = buckets.by_token.entry(key).or_insert(Bucket {
            left: self.rate,
            at: now,
        });
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = since.mul_add(self.rate, bucket.left).min(self.rate);
        bucket.at = bucket.at.max(now);
        let allowed = bucket.left >= 1.0;
        if allowed {
            bucket.left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_token_is_limited_to_its_rate() {
        let (limiter, now) = (Limiter::new(10), Instant::now());
        assert_eq!((0..50).filter(|_| limiter.take("a", now)).count(), 10);
        assert!(limiter.take("b", now), "another token has its own bucket");
        let later = now + Duration::from_millis(550);
        assert_eq!((0..50).filter(|_| limiter.take("a", later)).count(), 5);
    }

    #[test]
    fn buckets_of_idle_tokens_are_swept() {
        let (limiter, now) = (Limiter::new(10), Instant::now());
        for n in 0..SWEEP_AT {
            assert!(limiter.take(&n.to_string(), now));
        }
        assert!(limiter.take("late", now + Duration::from_secs(2)));
        assert_eq!(limiter.buckets.lock().unwrap().by_token.len(), 1);
    }
}
