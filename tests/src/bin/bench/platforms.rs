//! Ten networks on a platform of several machines, compared with the platform's own time for the same
//! objects.

use crate::{
    kubernetes,
    platform_time::PlatformTime,
    pool::Pool,
    report::{Bar, Row},
    swarm,
};
use anyhow::{Context, Result, ensure};
use chainpool_api::Cluster;
use chainpool_tests::TestBed;
use std::path::Path;

const NETWORKS: u32 = 10;

/// Measures a swarm of three engines.
pub(crate) async fn on_swarm(binary: &Path) -> Result<Vec<Row>> {
    let bed = TestBed::swarm().await?;
    let (pool, clusters, ours) = filled(binary, &bed).await?;
    let addresses = rpc(&clusters);
    let (pool, own) = pool
        .without(async || swarm::recreate(&bed.managers(), &clusters, &addresses).await)
        .await?;
    pool.close().await?;
    Ok(rows("a swarm", ours, &own))
}

/// Measures Kubernetes.
pub(crate) async fn on_kubernetes(binary: &Path) -> Result<Vec<Row>> {
    let bed = TestBed::kubernetes().await?;
    let (pool, clusters, ours) = filled(binary, &bed).await?;
    let addresses = rpc(&clusters);
    let baseline = kubernetes::Baseline::like(
        bed.kubeconfig().context("Kubernetes has a kubeconfig")?,
        &clusters,
    )
    .await?;
    pool.close().await?;
    let own = baseline.platform_time(&addresses).await;
    baseline.clear().await?;
    Ok(rows("Kubernetes", ours, &own?))
}

/// Creates ten networks by one fillup, twice; returns the pool, the networks and the seconds of both. The
/// second time is the one to compare: by then the test bed is warm, as it is for the baseline.
async fn filled(binary: &Path, bed: &TestBed) -> Result<(Pool, Vec<Cluster>, [f64; 2])> {
    let engine = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let pool = Pool::with_host(binary, &engine, bed.host_body(NETWORKS)).await?;
    let first = pool.host("fillup").await?;
    pool.host("reset").await?;
    let second = pool.host("fillup").await?;
    let clusters = pool.wait_all_offered().await?;
    ensure!(
        clusters.len() == usize::try_from(NETWORKS)?,
        "the fillup created {} clusters",
        clusters.len()
    );
    Ok((pool, clusters, [first, second]))
}

/// Returns the addresses of all validators.
fn rpc(clusters: &[Cluster]) -> Vec<String> {
    clusters
        .iter()
        .flat_map(|cluster| &cluster.nodes)
        .flat_map(|node| &node.endpoints)
        .map(|endpoint| endpoint.address.clone())
        .collect()
}

fn rows(platform: &str, [first, ours]: [f64; 2], own: &PlatformTime) -> Vec<Row> {
    let PlatformTime { started, block, what } = own;
    vec![
        Row::new(
            format!("ten networks on {platform} by one fillup, to the last ready"),
            ours,
            "s",
        )
        .note(format!(
            "each with its proving transaction; {first:.2} s the first time, on a freshly started platform"
        )),
        Row::new(format!("{platform} alone: {what}"), *started, "s")
            .note(format!("started; a new block on all after {block:.2} s")),
        Row::new(format!("ratio to the own time of {platform}"), ours / started, "").bar(Bar::AtMost(1.5)),
    ]
}
