//! Requests a second of each token: a bucket each, in memory, because a limit need not survive a restart.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Buckets are swept first when there are this many.
const SWEEP_AT: usize = 1024;

/// Counts requests of each token. A bucket holds one second's worth, so a token may burst that far.
pub(crate) struct Limiter {
    rate: f64,
    hasher: RandomState,
    buckets: Mutex<Buckets>,
}

/// By the token's keyed hash, so that tokens are not kept here.
struct Buckets {
    by_token: HashMap<u64, Bucket>,
    sweep_at: usize,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Limiter {
    /// So many a second for each token.
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

    /// Takes one request out of the token's bucket; `false`: it is empty, which a second mends.
    pub(crate) fn take(&self, token: &str, now: Instant) -> bool {
        let key = self.hasher.hash_one(token);
        // A panic inside leaves at worst one bucket short, so a poisoned lock is as good as any.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = &mut *buckets;
        if buckets.by_token.len() >= buckets.sweep_at {
            // A second refills a bucket, and a full one says the same as none.
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
        let may = bucket.left >= 1.0;
        if may {
            bucket.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_token_gets_its_rate_and_no_more() {
        let (limiter, now) = (Limiter::new(10), Instant::now());
        assert_eq!((0..50).filter(|_| limiter.take("a", now)).count(), 10);
        assert!(limiter.take("b", now), "another token has its own bucket");
        let later = now + Duration::from_millis(550);
        assert_eq!((0..50).filter(|_| limiter.take("a", later)).count(), 5);
    }

    #[test]
    fn buckets_of_silent_tokens_go() {
        let (limiter, now) = (Limiter::new(10), Instant::now());
        for n in 0..SWEEP_AT {
            assert!(limiter.take(&n.to_string(), now));
        }
        assert!(limiter.take("late", now + Duration::from_secs(2)));
        assert_eq!(limiter.buckets.lock().unwrap().by_token.len(), 1);
    }
}
