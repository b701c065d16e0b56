//! A pool at rest on Kubernetes: its API server counts who lists what.

use crate::{passes::passed, sweep::one};
use anyhow::{Context, Result, ensure};
use chainpool_api::Host;
use chainpool_tests::{Bed, Options, TestBed};
use std::collections::BTreeMap;

/// How many full passes are watched.
const PASSES: u32 = 2;
/// What Chainpool lists there.
const KINDS: [&str; 9] = [
    "namespaces",
    "statefulsets",
    "jobs",
    "pods",
    "persistentvolumeclaims",
    "services",
    "networkpolicies",
    "poddisruptionbudgets",
    "nodes",
];

/// Each kind of object is listed once in a full pass; watches tell of everything between.
pub(crate) async fn rest(place: &TestBed) -> Result<()> {
    let bed = Bed::start(Options {
        host: false,
        ..Options::default()
    })
    .await?;
    let _: Host = bed.api.post("/hosts", place.host_body(1)).await?;
    one(&bed).await?;
    // What the create has stirred up has settled after one pass.
    passed(&bed, 1).await?;
    let before = listings(place).await?;
    passed(&bed, PASSES).await?;
    let after = listings(place).await?;
    for kind in KINDS {
        let listed = after.get(kind).copied().unwrap_or(0) - before.get(kind).copied().unwrap_or(0);
        // The API server lists services itself, each three minutes, to mend what it knows of their addresses.
        let most = PASSES + u32::from(kind == "services");
        ensure!(
            (PASSES..=most).contains(&listed),
            "{kind} was listed {listed} times in {PASSES} passes"
        );
    }
    bed.end().await
}

/// How often each kind was listed, by whomever, since the API server began.
async fn listings(place: &TestBed) -> Result<BTreeMap<String, u32>> {
    let metrics = place.kubectl(&["get", "--raw", "/metrics"]).await?;
    let mut counts = BTreeMap::new();
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{") && line.contains("verb=\"LIST\""))
    {
        let (_, rest) = line
            .split_once("resource=\"")
            .context("a request is for a resource")?;
        let kind = rest.split('"').next().unwrap_or_default().to_owned();
        let count: u32 = line
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .parse()
            .with_context(|| line.to_owned())?;
        *counts.entry(kind).or_default() += count;
    }
    Ok(counts)
}
