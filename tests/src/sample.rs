//! A random choice that can be repeated.

use rand::{SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// A random number generator of the seed in `CHAINPOOL_TEST_SEED`, or of a new seed; either is printed with the name of
/// the test that uses it.
#[must_use]
pub fn seeded(name: &str) -> StdRng {
    let given = std::env::var("CHAINPOOL_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("{name}: CHAINPOOL_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// So many of these, in their order.
#[must_use]
pub fn sample<T: Ord + Copy>(random: &mut StdRng, from: &[T], count: usize) -> Vec<T> {
    let mut chosen: Vec<T> = from.choose_multiple(random, count).copied().collect();
    chosen.sort_unstable();
    chosen
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
        assert!(chosen(3).windows(2).all(|pair| pair[0] < pair[1]), "{:?}", chosen(3));
    }
}
