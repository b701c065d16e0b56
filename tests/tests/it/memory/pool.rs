//! The pool follows its policy: other recipes, fewer clusters, entries that fail. Autofill is asked to look, as the watchdog does each second.

use anyhow::{Context, Result, ensure};
use chainpool_agent_memory::ledger;
use chainpool_api::{Cluster, Lease, Operation, OperationKind, Status};
use chainpool_tests::{MemoryBed, MemoryOptions, within};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use uuid::Uuid;

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(2);

fn entry(interval: u32) -> Value {
    json!({"type": ledger::TYPE, "preset": "single", "parameters": {"interval_ms": interval}})
}

fn interval(cluster: &Cluster) -> u64 {
    cluster.parameters["interval_ms"].as_u64().unwrap_or(0)
}

fn intervals<'a>(clusters: impl Iterator<Item = &'a Cluster>) -> BTreeMap<u64, usize> {
    clusters.fold(BTreeMap::new(), |mut counts, cluster| {
        *counts.entry(interval(cluster)).or_default() += 1;
        counts
    })
}

fn ids(clusters: &[Cluster]) -> BTreeSet<Uuid> {
    clusters.iter().map(|cluster| cluster.id).collect()
}

/// A host with this policy, which nobody but the test looks after.
async fn pool_of(fill: Value, capacity: u32) -> Result<MemoryBed> {
    let bed = MemoryBed::start(MemoryOptions {
        host: false,
        capacity,
        autofill: true,
        watchdog: false,
        ..MemoryOptions::default()
    })
    .await?;
    let mut body = bed.host_body("h1");
    body["fill"] = fill;
    let _: Value = bed.api.post("/hosts", body).await?;
    Ok(bed)
}

/// Has the pool filled until its free clusters, all of them offered, have these block intervals.
async fn pool_is(bed: &MemoryBed, wanted: &[(u64, usize)]) -> Result<()> {
    let wanted: BTreeMap<u64, usize> = wanted.iter().copied().collect();
    within(LONG, "the pool of the policy", async || {
        bed.orchestrator.autofill().await?;
        let clusters = bed.clusters().await?;
        let free: Vec<&Cluster> = clusters
            .iter()
            .filter(|cluster| cluster.lease_id.is_none())
            .collect();
        let found = intervals(free.iter().copied().filter(|cluster| cluster.offered));
        let all = found.values().sum::<usize>() == free.len();
        Ok(if all && found == wanted {
            Ok(())
        } else {
            Err(format!("{found:?} of {}", free.len()))
        })
    })
    .await
}

/// Waits until the status has a problem with these words.
async fn told(bed: &MemoryBed, words: &str) -> Result<()> {
    within(LONG, words, async || {
        bed.orchestrator.autofill().await?;
        let problems = bed.api.get::<Status>("/status").await?.problems;
        Ok(if problems.iter().any(|problem| problem.contains(words)) {
            Ok(())
        } else {
            Err(format!("{problems:?}"))
        })
    })
    .await
}

/// Ends a lease; the operation on its cluster, once that has succeeded.
async fn ended(bed: &MemoryBed, lease: &Lease) -> Result<OperationKind> {
    let ended = bed.released(lease).await?;
    let operation = ended.operation_id.context("a release wipes")?;
    Ok(bed
        .api
        .get::<Operation>(&format!("/operations/{operation}"))
        .await?
        .kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_differ_in_parameters_alone_keep_their_shares() -> Result<()> {
    let bed = pool_of(json!([entry(20), entry(40)]), 2).await?;
    pool_is(&bed, &[(20, 1), (40, 1)]).await?;
    for interval in [20, 40] {
        let lease: Lease = bed
            .api
            .post("/leases", json!({"parameters": {"interval_ms": interval}}))
            .await?;
        ensure!(
            bed.cluster(lease.cluster_id).await?.parameters["interval_ms"] == interval,
            "{lease:?}"
        );
        ensure!(
            ended(&bed, &lease).await? == OperationKind::ClusterReset,
            "its recipe is in the policy"
        );
    }
    let none = bed
        .api
        .refused(
            Method::POST,
            "/leases",
            Some(json!({"parameters": {"interval_ms": 60}})),
        )
        .await?;
    ensure!(none.problem.code == "nothing_matches", "{none:?}");
    let odd = bed
        .api
        .refused(
            Method::POST,
            "/leases",
            Some(json!({"parameters": {"colour": 1}})),
        )
        .await?;
    ensure!(odd.problem.fields.contains_key("parameters.colour"), "{odd:?}");
    let first = bed
        .clusters()
        .await?
        .into_iter()
        .find(|cluster| interval(cluster) == 20)
        .context("one of 20 ms")?;
    bed.done(
        &bed.api
            .delete::<Operation>(&format!("/clusters/{}", first.id))
            .await?,
    )
    .await?;
    pool_is(&bed, &[(20, 1), (40, 1)]).await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_follows_another_recipe_and_a_smaller_capacity() -> Result<()> {
    let bed = pool_of(json!([entry(20)]), 3).await?;
    pool_is(&bed, &[(20, 3)]).await?;
    let lease: Lease = bed.api.post("/leases", json!({})).await?;

    // Nothing takes the place of what is outdated while autofill is off.
    let _: Value = bed
        .api
        .patch("/hosts/h1", json!({"fill": [entry(40)], "autofill": false}))
        .await?;
    let before = bed.clusters().await?;
    told(
        &bed,
        "host h1: 2 free clusters are of an outdated recipe; autofill is off, so nothing takes their place",
    )
    .await?;
    ensure!(
        ids(&bed.clusters().await?) == ids(&before),
        "a cluster was replaced"
    );
    let _: Value = bed.api.patch("/hosts/h1", json!({"autofill": true})).await?;
    let problems = bed.api.get::<Status>("/status").await?.problems;
    ensure!(
        problems
            .iter()
            .any(|problem| problem.contains("of an outdated recipe; being replaced")),
        "{problems:?}"
    );
    pool_is(&bed, &[(40, 2)]).await?;
    let held = bed.cluster(lease.cluster_id).await?;
    ensure!(
        held.generation == 1 && held.lease_id == Some(lease.id),
        "{held:?}"
    );
    ensure!(
        ended(&bed, &lease).await? == OperationKind::ClusterDelete,
        "its recipe is in the policy no more"
    );
    pool_is(&bed, &[(40, 3)]).await?;

    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    let _: Value = bed
        .api
        .patch("/hosts/h1", json!({"autofill": false, "capacity": 0}))
        .await?;
    let problems = bed.api.get::<Status>("/status").await?.problems;
    let over = "host h1 has 3 clusters and a capacity of 0: free ones are being deleted; leased ones (1) go when they are released";
    ensure!(problems.iter().any(|problem| problem == over), "{problems:?}");
    pool_is(&bed, &[]).await?;
    let left = bed.clusters().await?;
    ensure!(
        left.len() == 1 && left[0].lease_id == Some(lease.id),
        "the lease goes on: {left:?}"
    );
    ensure!(
        ended(&bed, &lease).await? == OperationKind::ClusterDelete,
        "what is over the capacity goes at its release"
    );
    ensure!(bed.clusters().await?.is_empty());
    bed.end().await
}

/// What fails is no replacement: of a recipe that nothing takes the place of, clusters stay.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_fails_replaces_no_more_clusters_until_it_succeeds() -> Result<()> {
    // Two are replaced at once, so not all are gone when the first of their successors fails.
    let bed = pool_of(json!([entry(20)]), 5).await?;
    pool_is(&bed, &[(20, 5)]).await?;
    bed.world.set_image("memory/ledger:1", false);
    let _: Value = bed.api.patch("/hosts/h1", json!({"fill": [entry(40)]})).await?;
    told(
        &bed,
        "of an outdated recipe; they stay until every entry of the fill policy succeeds",
    )
    .await?;
    let stay = bed
        .clusters()
        .await?
        .into_iter()
        .filter(|cluster| interval(cluster) == 20 && cluster.offered)
        .count();
    ensure!(stay > 0, "all were replaced by what fails");
    bed.world.set_image("memory/ledger:1", true);
    // A policy that is given again is tried at once: what failed is replaced, and the rest follows.
    let _: Value = bed.api.patch("/hosts/h1", json!({"fill": [entry(40)]})).await?;
    pool_is(&bed, &[(40, 5)]).await?;
    bed.end().await
}
