//! Ten networks on a platform that spans machines, beside its own time for the same objects.

use crate::{
    heights::Heights,
    kubernetes,
    pool::Pool,
    report::{Bar, Row},
    swarm,
};
use anyhow::{Context, Result, ensure};
use chainpool_api::Cluster;
use chainpool_tests::TestBed;
use std::{path::Path, time::Instant};

const NETWORKS: u32 = 10;

/// How long the platform took by itself.
pub(crate) struct OwnTime {
    /// Until all processes had started.
    pub(crate) started: f64,
    /// Until all validators had a new block.
    pub(crate) block: f64,
    /// What was made, in words.
    pub(crate) what: &'static str,
}

/// A clock for [`OwnTime`].
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// On a swarm of three engines.
pub(crate) async fn on_swarm(binary: &Path) -> Result<Vec<Row>> {
    let bed = TestBed::swarm().await?;
    let (pool, clusters, ours) = filled(binary, &bed).await?;
    let addresses = rpc(&clusters);
    let (pool, own) = pool
        .without(async || swarm::again(&bed.managers(), &clusters, &addresses).await)
        .await?;
    pool.close().await?;
    Ok(rows("a swarm", ours, &own))
}

/// On Kubernetes.
pub(crate) async fn on_kubernetes(binary: &Path) -> Result<Vec<Row>> {
    let bed = TestBed::kubernetes().await?;
    let (pool, clusters, ours) = filled(binary, &bed).await?;
    let addresses = rpc(&clusters);
    let hand = kubernetes::Hand::like(bed.kubeconfig().context("Kubernetes has one")?, &clusters).await?;
    pool.close().await?;
    let own = hand.own_time(&addresses).await;
    hand.clear().await?;
    Ok(rows("Kubernetes", ours, &own?))
}

/// Ten networks by one fillup: the pool, the networks, and the seconds of a first and of a second time. Beds have just been started, and
/// who comes second finds them warm: so the second time is what is held against the platform's own.
async fn filled(binary: &Path, bed: &TestBed) -> Result<(Pool, Vec<Cluster>, [f64; 2])> {
    let engine = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let pool = Pool::with_host(binary, &engine, bed.host_body(NETWORKS)).await?;
    let first = pool.host("fillup").await?;
    pool.host("reset").await?;
    let second = pool.host("fillup").await?;
    let clusters = pool.all_offered().await?;
    ensure!(
        clusters.len() == usize::try_from(NETWORKS)?,
        "the fillup made {} clusters",
        clusters.len()
    );
    Ok((pool, clusters, [first, second]))
}

/// The addresses of all validators.
fn rpc(clusters: &[Cluster]) -> Vec<String> {
    clusters
        .iter()
        .flat_map(|cluster| &cluster.nodes)
        .flat_map(|node| &node.endpoints)
        .map(|endpoint| endpoint.address.clone())
        .collect()
}

fn rows(platform: &str, [first, ours]: [f64; 2], own: &OwnTime) -> Vec<Row> {
    let OwnTime { started, block, what } = own;
    vec![
        Row::new(format!("ten networks on {platform} by one fillup, to the last ready"), ours, "s")
            .note(format!("each with its proving transaction; {first:.2} s the first time, on a platform that had just been started")),
        Row::new(format!("{platform} alone: {what}"), *started, "s").note(format!("started; a new block on all after {block:.2} s")),
        Row::new(format!("ratio to the own time of {platform}"), ours / started, "").bar(Bar::AtMost(1.5)),
    ]
}

/// Waits for the blocks after the start.
pub(crate) async fn blocks(addresses: &[String], above: u64) -> Result<()> {
    Heights::new()?.all_above(addresses, above).await
}
