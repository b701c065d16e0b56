//! The pool follows its fill policy: changed recipes, smaller capacity, failing entries. The tests call
//! autofill, as the watchdog does every second.

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

/// Longer than any step here takes on a busy machine.
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

/// Starts a bed with this fill policy and without a watchdog.
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

/// Runs autofill until the free clusters are all offered and have these block intervals.
async fn wait_for_pool(bed: &MemoryBed, wanted: &[(u64, usize)]) -> Result<()> {
    let wanted: BTreeMap<u64, usize> = wanted.iter().copied().collect();
    within(LONG, "the pool to match its policy", async || {
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

/// Waits until the status has a problem with this text.
async fn wait_for_problem(bed: &MemoryBed, words: &str) -> Result<()> {
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

/// Releases a lease; returns the kind of the operation on its cluster, once it succeeded.
async fn release_kind(bed: &MemoryBed, lease: &Lease) -> Result<OperationKind> {
    let ended = bed.release(lease).await?;
    let operation = ended.operation_id.context("a release starts an operation")?;
    Ok(bed
        .api
        .get::<Operation>(&format!("/operations/{operation}"))
        .await?
        .kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn fill_entries_that_differ_only_in_parameters_keep_their_shares() -> Result<()> {
    let bed = pool_of(json!([entry(20), entry(40)]), 2).await?;
    wait_for_pool(&bed, &[(20, 1), (40, 1)]).await?;
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
            release_kind(&bed, &lease).await? == OperationKind::ClusterReset,
            "the recipe is in the policy, so the cluster is reset"
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
        .context("no cluster with an interval of 20 ms")?;
    bed.wait_succeeded(
        &bed.api
            .delete::<Operation>(&format!("/clusters/{}", first.id))
            .await?,
    )
    .await?;
    wait_for_pool(&bed, &[(20, 1), (40, 1)]).await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_follows_a_changed_recipe_and_a_smaller_capacity() -> Result<()> {
    let bed = pool_of(json!([entry(20)]), 3).await?;
    wait_for_pool(&bed, &[(20, 3)]).await?;
    let lease: Lease = bed.api.post("/leases", json!({})).await?;

    // While autofill is off, outdated clusters are not replaced.
    let _: Value = bed
        .api
        .patch("/hosts/h1", json!({"fill": [entry(40)], "autofill": false}))
        .await?;
    let before = bed.clusters().await?;
    wait_for_problem(
        &bed,
        "host h1: 2 free clusters are outdated; autofill is off, so they are not replaced",
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
            .any(|problem| problem.contains("outdated; being replaced")),
        "{problems:?}"
    );
    wait_for_pool(&bed, &[(40, 2)]).await?;
    let held = bed.cluster(lease.cluster_id).await?;
    ensure!(
        held.generation == 1 && held.lease_id == Some(lease.id),
        "{held:?}"
    );
    ensure!(
        release_kind(&bed, &lease).await? == OperationKind::ClusterDelete,
        "the recipe has left the policy, so the cluster is deleted"
    );
    wait_for_pool(&bed, &[(40, 3)]).await?;

    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    let _: Value = bed
        .api
        .patch("/hosts/h1", json!({"autofill": false, "capacity": 0}))
        .await?;
    let problems = bed.api.get::<Status>("/status").await?.problems;
    let over = "host h1 has 3 clusters but a capacity of 0: free clusters are being deleted; leased ones (1) are deleted when released";
    ensure!(problems.iter().any(|problem| problem == over), "{problems:?}");
    wait_for_pool(&bed, &[]).await?;
    let left = bed.clusters().await?;
    ensure!(
        left.len() == 1 && left[0].lease_id == Some(lease.id),
        "the leased cluster must stay: {left:?}"
    );
    ensure!(
        release_kind(&bed, &lease).await? == OperationKind::ClusterDelete,
        "a cluster above the capacity is deleted at its release"
    );
    ensure!(bed.clusters().await?.is_empty());
    bed.end().await
}

/// Outdated clusters stay while their replacements fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_fill_entry_replaces_no_more_clusters_until_it_succeeds() -> Result<()> {
    // Two clusters are replaced at a time, so some are left when the first replacement fails.
    let bed = pool_of(json!([entry(20)]), 5).await?;
    wait_for_pool(&bed, &[(20, 5)]).await?;
    bed.world.set_image("memory/ledger:1", false);
    let _: Value = bed.api.patch("/hosts/h1", json!({"fill": [entry(40)]})).await?;
    wait_for_problem(
        &bed,
        "outdated; they are kept until every entry of the fill policy succeeds",
    )
    .await?;
    let stay = bed
        .clusters()
        .await?
        .into_iter()
        .filter(|cluster| interval(cluster) == 20 && cluster.offered)
        .count();
    ensure!(
        stay > 0,
        "all clusters were deleted although their replacements fail"
    );
    bed.world.set_image("memory/ledger:1", true);
    // Setting the policy retries at once: the failed clusters are replaced, then the rest.
    let _: Value = bed.api.patch("/hosts/h1", json!({"fill": [entry(40)]})).await?;
    wait_for_pool(&bed, &[(40, 5)]).await?;
    bed.end().await
}
