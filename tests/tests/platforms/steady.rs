//! An idle pool on Kubernetes, observed by the API server's request metrics.

use crate::{passes::wait_for_passes, sweep::ensure_one};
use anyhow::{Context, Result, ensure};
use chainpool_api::Host;
use chainpool_tests::{Bed, Options, TestBed};
use std::collections::BTreeMap;

/// Number of observed full passes.
const PASSES: u32 = 2;
/// Kinds of objects that Chainpool lists.
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

/// Each kind of object is listed once per full pass; watches report changes in between.
pub(crate) async fn idle_pool(testbed: &TestBed) -> Result<()> {
    let bed = Bed::start(Options {
        host: false,
        ..Options::default()
    })
    .await?;
    let _: Host = bed.api.post("/hosts", testbed.host_body(1)).await?;
    ensure_one(&bed).await?;
    // After one pass the effects of the create have settled.
    wait_for_passes(&bed, 1).await?;
    let before = listings(testbed).await?;
    wait_for_passes(&bed, PASSES).await?;
    let after = listings(testbed).await?;
    for kind in KINDS {
        let listed = after.get(kind).copied().unwrap_or(0) - before.get(kind).copied().unwrap_or(0);
        // The API server itself lists services every three minutes to repair its allocation of addresses.
        let most = PASSES + u32::from(kind == "services");
        ensure!(
            (PASSES..=most).contains(&listed),
            "{kind} was listed {listed} times in {PASSES} passes"
        );
    }
    bed.end().await
}

/// Returns the number of list requests per kind, from all clients, since the API server started.
async fn listings(testbed: &TestBed) -> Result<BTreeMap<String, u32>> {
    let metrics = testbed.kubectl(&["get", "--raw", "/metrics"]).await?;
    let mut counts = BTreeMap::new();
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{") && line.contains("verb=\"LIST\""))
    {
        let (_, rest) = line
            .split_once("resource=\"")
            .context("the metric names no resource")?;
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
