//! Puts an agent to the promises.

use super::{Ground, Kept, Outcome, Promise, Report, outcome::Stop, stand::Stand};
use futures::{FutureExt, StreamExt, stream};
use std::{any::Any, panic::AssertUnwindSafe};
use tokio::time::{Instant, timeout};

/// How many times the ground's patience one promise may take.
const STEPS: u32 = 15;

/// Tries these promises, several at once; those that restart the platform come last, each alone. Random points follow
/// from `CHAINPOOL_KIT_SEED`, or from a new seed, which the report names.
pub async fn run(ground: &dyn Ground, promises: &[Promise]) -> Report {
    let seed = std::env::var("CHAINPOOL_KIT_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random);
    println!(
        "{}: {} promises, CHAINPOOL_KIT_SEED={seed}",
        ground.name(),
        promises.len()
    );
    let (alone, beside): (Vec<_>, Vec<_>) = promises.iter().partition(|promise| promise.restarts);
    let mut rows: Vec<_> = stream::iter(beside)
        .map(|promise| one(ground, seed, promise))
        .buffer_unordered(ground.at_once())
        .collect()
        .await;
    for promise in alone {
        rows.push(one(ground, seed, promise).await);
    }
    let order = |name: &str| promises.iter().position(|promise| promise.name == name);
    rows.sort_by_key(|(name, ..)| order(name));
    Report {
        ground: ground.name().to_owned(),
        seed,
        rows,
    }
}

/// The promises that a test binary's arguments ask for, by parts of their names; all when they ask for none. `--skip PART` leaves some out, as
/// in Rust's own test runner; other options are passed over, because cargo hands the same ones to every test binary.
pub fn asked_for(arguments: impl IntoIterator<Item = String>) -> Vec<Promise> {
    let (mut parts, mut skipped) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--skip" {
            skipped.extend(arguments.next());
        } else if !argument.starts_with('-') {
            parts.push(argument);
        }
    }
    let named = |promise: &Promise, by: &[String]| by.iter().any(|part| promise.name.contains(part));
    let mut promises = super::promises();
    promises.retain(|promise| (parts.is_empty() || named(promise, &parts)) && !named(promise, &skipped));
    promises
}

async fn one(
    ground: &dyn Ground,
    seed: u64,
    promise: &Promise,
) -> (&'static str, Outcome, std::time::Duration) {
    let start = Instant::now();
    let outcome = match ground.exempt(promise.name) {
        Some(why) => Outcome::NotEnforced(why),
        None => tried(ground, seed, promise).await.into(),
    };
    println!(
        "{}: {:<28} {:5.1} s  {outcome}",
        ground.name(),
        promise.name,
        start.elapsed().as_secs_f32()
    );
    (promise.name, outcome, start.elapsed())
}

async fn tried(ground: &dyn Ground, seed: u64, promise: &Promise) -> Kept {
    let stand = Stand::open(ground, seed).await?;
    let limit = ground.patience() * STEPS;
    let kept = match timeout(limit, AssertUnwindSafe((promise.test)(&stand)).catch_unwind()).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(panic)) => Err(Stop::Failed(format!("panic: {}", words(&*panic)))),
        Err(_) => Err(Stop::Failed(format!("no end within {} s", limit.as_secs()))),
    };
    // The census counts whatever came before, but a first trouble is told first.
    let census = stand.close().await;
    kept.and(census)
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Vec<&'static str> {
        asked_for(arguments.iter().map(ToString::to_string))
            .iter()
            .map(|promise| promise.name)
            .collect()
    }

    #[test]
    fn arguments_choose_promises_and_options_of_other_test_binaries_choose_none() {
        let all = asked(&[]);
        assert_eq!(asked(&["--skip", "full::"]), all);
        assert_eq!(asked(&["--nocapture", "--skip", all[0]]), all[1..]);
        assert_eq!(asked(&[all[0]])[0], all[0]);
    }
}
