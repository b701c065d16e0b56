//! A random choice that can be repeated, and the points of a journal as what is chosen from.

use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// A random number generator of the seed in `CHAINPOOL_TEST_SEED`, or of a new seed; either is printed with the name of
/// the test that uses it.
fn seeded(name: &str) -> StdRng {
    let given = std::env::var("CHAINPOOL_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("{name}: CHAINPOOL_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// So many of these, in their order.
fn sample<T: Ord + Copy>(random: &mut StdRng, from: &[T], count: usize) -> Vec<T> {
    let mut chosen: Vec<T> = from.choose_multiple(random, count).copied().collect();
    chosen.sort_unstable();
    chosen
}

/// A commit, and on which side of it a child is killed.
pub type Point = (usize, &'static str);

/// The points of a change that are tried.
pub enum Points {
    /// Each of these commits, until there are no more.
    Each(Box<dyn Iterator<Item = usize> + Send>),
    /// So many of all.
    Sample(usize),
}

impl Points {
    /// So many of all, or each when `CHAINPOOL_TEST_SWEEP` is `full`.
    #[must_use]
    pub fn sample(count: usize) -> Self {
        let full = std::env::var("CHAINPOOL_TEST_SWEEP").is_ok_and(|text| text == "full");
        if full {
            Self::Each(Box::new(1..))
        } else {
            Self::Sample(count)
        }
    }

    /// The points, for a change that `count` tells the commits of.
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
    fn the_same_seed_chooses_the_same() {
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
