//! Reproducible random samples of crash points.

use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// Returns a random number generator with the seed in `CHAINPOOL_TEST_SEED`, or with a new seed. Prints the
/// seed.
fn seeded(name: &str) -> StdRng {
    let given = std::env::var("CHAINPOOL_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("{name}: CHAINPOOL_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Chooses `count` elements and keeps their order.
fn sample<T: Ord + Copy>(random: &mut StdRng, from: &[T], count: usize) -> Vec<T> {
    let mut chosen: Vec<T> = from.choose_multiple(random, count).copied().collect();
    chosen.sort_unstable();
    chosen
}

/// Crash point: a commit, and `before` or `after` it.
pub type Point = (usize, &'static str);

/// Crash points of a change to try.
pub enum Points {
    /// Both sides of each of these commits, until the change has no more.
    Each(Box<dyn Iterator<Item = usize> + Send>),
    /// A random sample of this size.
    Sample(usize),
}

impl Points {
    /// A random sample of this size, or all points if `CHAINPOOL_TEST_SWEEP` is `full`.
    #[must_use]
    pub fn sample(count: usize) -> Self {
        let full = std::env::var("CHAINPOOL_TEST_SWEEP").is_ok_and(|text| text == "full");
        if full {
            Self::Each(Box::new(1..))
        } else {
            Self::Sample(count)
        }
    }

    /// Returns the points to try. `count` returns the number of commits of the change.
    pub async fn chosen(
        self,
        scenario: &str,
        count: impl AsyncFnOnce() -> Result<usize>,
    ) -> Result<Box<dyn Iterator<Item = Point> + Send>> {
        let sides = |commit| ["before", "after"].map(|when| (commit, when));
        Ok(match self {
            Self::Each(commits) => Box::new(commits.flat_map(sides)),
            Self::Sample(wanted) => {
                let all: Vec<Point> = (1..=count().await?).flat_map(sides).collect();
                let chosen = sample(&mut seeded(scenario), &all, wanted);
                println!("{scenario}: {chosen:?} of {} points", all.len());
                Box::new(chosen.into_iter())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_chooses_the_same_sample() {
        let all: Vec<u32> = (0..100).collect();
        let chosen = |seed| sample(&mut StdRng::seed_from_u64(seed), &all, 5);
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        assert!(
            chosen(3).windows(2).all(|pair| pair[0] < pair[1]),
            "{:?}",
            chosen(3)
        );
    }
}
