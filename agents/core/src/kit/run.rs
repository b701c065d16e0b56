//! Tests an agent against the promises.

use super::{
    Outcome, Report, TestPlatform,
    fixture::Fixture,
    outcome::{Stop, TestResult},
    promise::Promise,
};
use futures::{FutureExt, StreamExt, stream};
use std::{any::Any, panic::AssertUnwindSafe};
use tokio::time::{Instant, timeout};

/// Time limit of one promise, in step time limits of the platform.
const STEPS: u32 = 15;

/// Tests these promises, several at once; those that restart the platform come last, each alone. Random
/// points follow from `CHAINPOOL_KIT_SEED`, or from a new seed, which the report names.
pub async fn run(platform: &dyn TestPlatform, promises: &[Promise]) -> Report {
    let seed = std::env::var("CHAINPOOL_KIT_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random);
    println!(
        "{}: {} promises, CHAINPOOL_KIT_SEED={seed}",
        platform.name(),
        promises.len()
    );
    let (alone, beside): (Vec<_>, Vec<_>) = promises.iter().partition(|promise| promise.restarts);
    let mut rows: Vec<_> = stream::iter(beside)
        .map(|promise| one(platform, seed, promise))
        .buffer_unordered(platform.concurrency())
        .collect()
        .await;
    for promise in alone {
        rows.push(one(platform, seed, promise).await);
    }
    let order = |name: &str| promises.iter().position(|promise| promise.name == name);
    rows.sort_by_key(|(name, ..)| order(name));
    Report {
        platform: platform.name().to_owned(),
        seed,
        rows,
    }
}

/// The promises that a test binary's arguments select by parts of their names; all without arguments. `--skip
/// PART` excludes some, as in Rust's own test runner. Other options are ignored: cargo passes the same ones
/// to every test binary.
pub fn selected(arguments: impl IntoIterator<Item = String>) -> Vec<Promise> {
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
    platform: &dyn TestPlatform,
    seed: u64,
    promise: &Promise,
) -> (&'static str, Outcome, std::time::Duration) {
    let start = Instant::now();
    let outcome = match platform.exempt(promise.name) {
        Some(why) => Outcome::NotEnforced(why),
        None => test_one(platform, seed, promise).await.into(),
    };
    println!(
        "{}: {:<28} {:5.1} s  {outcome}",
        platform.name(),
        promise.name,
        start.elapsed().as_secs_f32()
    );
    (promise.name, outcome, start.elapsed())
}

async fn test_one(platform: &dyn TestPlatform, seed: u64, promise: &Promise) -> TestResult {
    let fixture = Fixture::open(platform, seed).await?;
    let limit = platform.step_timeout() * STEPS;
    let result = match timeout(limit, AssertUnwindSafe((promise.test)(&fixture)).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(Stop::Failed(format!("panic: {}", panic_message(&*panic)))),
        Err(_) => Err(Stop::Failed(format!("not finished within {} s", limit.as_secs()))),
    };
    // The leak check always runs; an earlier failure takes precedence.
    let leak_check = fixture.close().await;
    result.and(leak_check)
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected_names(arguments: &[&str]) -> Vec<&'static str> {
        selected(arguments.iter().map(ToString::to_string))
            .iter()
            .map(|promise| promise.name)
            .collect()
    }

    #[test]
    fn arguments_select_promises_and_options_of_other_test_binaries_are_ignored() {
        let all = selected_names(&[]);
        assert_eq!(selected_names(&["--skip", "full::"]), all);
        assert_eq!(selected_names(&["--nocapture", "--skip", all[0]]), all[1..]);
        assert_eq!(selected_names(&[all[0]])[0], all[0]);
    }
}
