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
    let seed = std::env::var("CHAINPOOL_KIT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("{}: {} promises, CHAINPOOL_KIT_SEED={seed}", ground.name(), promises.len());
    let (alone, beside): (Vec<_>, Vec<_>) = promises.iter().partition(|promise| promise.restarts);
    let mut rows: Vec<_> =
        stream::iter(beside).map(|promise| one(ground, seed, promise)).buffer_unordered(ground.at_once()).collect().await;
    for promise in alone {
        rows.push(one(ground, seed, promise).await);
    }
    let order = |name: &str| promises.iter().position(|promise| promise.name == name);
    rows.sort_by_key(|(name, ..)| order(name));
    Report { ground: ground.name().to_owned(), seed, rows }
}

/// The promises that a test binary's arguments ask for, by parts of their names; all when they ask for none.
pub fn asked_for(arguments: impl IntoIterator<Item = String>) -> Vec<Promise> {
    // What cargo passes on to every test binary begins with a dash.
    let parts: Vec<_> = arguments.into_iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut promises = super::promises();
    promises.retain(|promise| parts.is_empty() || parts.iter().any(|part| promise.name.contains(part)));
    promises
}

async fn one(ground: &dyn Ground, seed: u64, promise: &Promise) -> (&'static str, Outcome, std::time::Duration) {
    let start = Instant::now();
    let outcome = match ground.exempt(promise.name) {
        Some(why) => Outcome::NotEnforced(why),
        None => tried(ground, seed, promise).await.into(),
    };
    println!("{}: {:<28} {:5.1} s  {outcome}", ground.name(), promise.name, start.elapsed().as_secs_f32());
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
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
