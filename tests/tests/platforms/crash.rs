//! kill -9 at every commit of create and reset. The next start completes every operation and leaves no
//! orphans.

use crate::sweep::{delete_all, ensure_one, sweep};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{Agent, ClusterId, ObjectKind, Scope};
use chainpool_api::{Cluster, Host};
use chainpool_tests::{Bed, Options, Points, TestBed};
use futures::future::try_join_all;
use std::sync::Arc;

/// Number of Chainpools that share the crash points of one change.
const LANES: usize = 2;

/// Runs all lanes concurrently, each with its own Chainpool, because they mostly wait.
pub(crate) async fn kill_at_every_point(testbed: &TestBed) -> Result<()> {
    let creates = (1..=LANES).map(|first| sweep_lane(testbed, "create", first, delete_all, 0..=1));
    let resets = (1..=LANES).map(|first| sweep_lane(testbed, "reset", first, ensure_one, 1..=1));
    tokio::try_join!(try_join_all(creates), try_join_all(resets)).map(drop)
}

/// Sweeps over one lane's crash points of a change.
async fn sweep_lane(
    testbed: &TestBed,
    scenario: &str,
    first: usize,
    prepare: impl AsyncFnMut(&Bed) -> Result<()>,
    expected: std::ops::RangeInclusive<usize>,
) -> Result<()> {
    let options = Options {
        host: false,
        watchdog: false,
        ..Options::default()
    };
    let bed = Bed::start(options.clone()).await?;
    let _: Host = bed.api.post("/hosts", testbed.host_body(1)).await?;
    let agent = testbed.agent(
        bed.instance()
            .await?
            .parse()
            .ok()
            .context("an instance is an id")?,
    )?;
    sweep(
        scenario,
        Points::Each(Box::new((first..).step_by(LANES))),
        bed,
        &options,
        prepare,
        async |_, clusters| {
            ensure!(expected.contains(&clusters.len()), "{clusters:?}");
            check_objects(&agent, clusters).await
        },
    )
    .await?;
    check_objects(&agent, &[]).await
}

/// Compares the platform with the database: each node once, no objects of other clusters or old generations.
async fn check_objects(agent: &Arc<dyn Agent>, clusters: &[Cluster]) -> Result<()> {
    let found = agent.observe(Scope::Host).await?.objects;
    let of = |object: &chainpool_agent::Object| {
        clusters
            .iter()
            .any(|cluster| object.cluster == ClusterId(cluster.id) && object.generation == cluster.generation)
    };
    ensure!(
        found.iter().all(of),
        "{} clusters, and an orphan among {found:?}",
        clusters.len()
    );
    let nodes = found
        .iter()
        .filter(|object| object.kind == ObjectKind::Node)
        .count();
    let wanted: u32 = clusters.iter().map(|cluster| cluster.size).sum();
    ensure!(
        nodes == usize::try_from(wanted)?,
        "{nodes} nodes for {} clusters: {found:?}",
        clusters.len()
    );
    Ok(())
}
