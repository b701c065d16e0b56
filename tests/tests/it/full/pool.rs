//! The pool follows its policy: other recipes, fewer clusters.

use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, Lease, Operation, OperationKind, Status};
use chainpool_tests::{Bed, Options, within};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// How long a hang may take to be told.
const LONG: Duration = Duration::from_mins(5);

fn entry(interval: u32) -> Value {
    json!({"type": "cometbft", "preset": "single", "parameters": {"block_interval_ms": interval}})
}

fn intervals(clusters: &[Cluster]) -> BTreeMap<u64, usize> {
    let of = |cluster: &Cluster| cluster.parameters["block_interval_ms"].as_u64().unwrap_or(0);
    clusters.iter().fold(BTreeMap::new(), |mut counts, cluster| {
        *counts.entry(of(cluster)).or_default() += 1;
        counts
    })
}

/// Waits until the free clusters of the pool, all of them offered, have these block intervals.
async fn pool_is(bed: &Bed, wanted: &[(u64, usize)]) -> Result<()> {
    let wanted: BTreeMap<u64, usize> = wanted.iter().copied().collect();
    within(LONG, "the pool of the policy", async || {
        let clusters = bed.clusters().await?;
        let offered: Vec<Cluster> = clusters.iter().filter(|c| c.offered).cloned().collect();
        let all = clusters.iter().filter(|c| c.lease_id.is_none()).count();
        Ok(if offered.len() == all && intervals(&offered) == wanted { Ok(()) } else { Err(format!("{:?} of {all}", intervals(&offered))) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_differ_in_parameters_alone_keep_their_shares() -> Result<()> {
    let bed = Bed::start(Options { host: false, capacity: 2, autofill: true, ..Options::default() }).await?;
    let mut body = bed.host_body("h1");
    body["fill"] = json!([entry(500), entry(2000)]);
    let _: Value = bed.api.post("/hosts", body).await?;
    pool_is(&bed, &[(500, 1), (2000, 1)]).await?;
    for interval in [500, 2000] {
        let lease: Lease = bed.api.post("/leases", json!({"parameters": {"block_interval_ms": interval}})).await?;
        ensure!(bed.cluster(lease.cluster_id).await?.parameters["block_interval_ms"] == interval, "{lease:?}");
        bed.released(&lease).await?;
    }
    let none = bed.api.refused(Method::POST, "/leases", Some(json!({"parameters": {"block_interval_ms": 300}}))).await?;
    ensure!(none.problem.code == "nothing_matches", "{none:?}");
    let odd = bed.api.refused(Method::POST, "/leases", Some(json!({"parameters": {"colour": 1}}))).await?;
    ensure!(odd.problem.fields.contains_key("parameters.colour"), "{odd:?}");
    let first = bed.clusters().await?.into_iter().find(|c| c.parameters["block_interval_ms"] == 500).context("one of 500 ms")?;
    bed.done(&bed.api.delete::<Operation>(&format!("/clusters/{}", first.id)).await?).await?;
    pool_is(&bed, &[(500, 1), (2000, 1)]).await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_follows_another_recipe_and_a_smaller_capacity() -> Result<()> {
    let bed = Bed::start(Options { host: false, capacity: 3, autofill: true, ..Options::default() }).await?;
    let mut body = bed.host_body("h1");
    body["fill"] = json!([entry(1000)]);
    let _: Value = bed.api.post("/hosts", body).await?;
    pool_is(&bed, &[(1000, 3)]).await?;
    let lease: Lease = bed.api.post("/leases", json!({})).await?;

    let _: Value = bed.api.patch("/hosts/h1", json!({"fill": [entry(300)]})).await?;
    let status: Status = bed.api.get("/status").await?;
    ensure!(status.problems.iter().any(|problem| problem.contains("of an outdated recipe; being replaced")), "{:?}", status.problems);
    pool_is(&bed, &[(300, 2)]).await?;
    let held = bed.cluster(lease.cluster_id).await?;
    ensure!(held.generation == 1 && held.lease_id == Some(lease.id), "{held:?}");
    let ended: Lease = bed.api.delete(&format!("/leases/{}", lease.id)).await?;
    let gone: Operation = bed.api.get(&format!("/operations/{}", ended.operation_id.context("a release wipes")?)).await?;
    ensure!(gone.kind == OperationKind::ClusterDelete, "{gone:?}");
    bed.done(&gone).await?;
    pool_is(&bed, &[(300, 3)]).await?;

    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    let _: Value = bed.api.patch("/hosts/h1", json!({"autofill": false, "capacity": 0})).await?;
    within(LONG, "the leased cluster alone", async || {
        let clusters = bed.clusters().await?;
        Ok(if clusters.len() == 1 { Ok(()) } else { Err(format!("{} clusters", clusters.len())) })
    })
    .await?;
    ensure!(bed.cluster(lease.cluster_id).await?.lease_id == Some(lease.id), "the lease goes on");
    bed.released(&lease).await?;
    ensure!(bed.clusters().await?.is_empty(), "what is over the capacity goes at its release");
    bed.end().await
}
