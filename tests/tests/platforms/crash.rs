//! kill -9 at every point of the journal of create and reset: the next start ends every operation and leaves no orphan.

use crate::sweep::{deleted, one, sweep};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{Agent, ClusterId, ObjectKind, Scope};
use chainpool_api::{Cluster, Host};
use chainpool_tests::{Bed, Options, Points, TestBed};
use futures::future::try_join_all;
use std::sync::Arc;

/// How many Chainpools share the points of one change.
const LANES: usize = 2;

/// All side by side, each by a Chainpool of its own: they wait more than they work.
pub(crate) async fn kills(place: &TestBed) -> Result<()> {
    let creates = (1..=LANES).map(|first| swept(place, "create", first, deleted, 0..=1));
    let resets = (1..=LANES).map(|first| swept(place, "reset", first, one, 1..=1));
    tokio::try_join!(try_join_all(creates), try_join_all(resets)).map(drop)
}

/// Sweeps over one lane's points of a change.
async fn swept(
    place: &TestBed,
    scenario: &str,
    first: usize,
    prepare: impl AsyncFnMut(&Bed) -> Result<()>,
    left: std::ops::RangeInclusive<usize>,
) -> Result<()> {
    let options = Options {
        host: false,
        watchdog: false,
        ..Options::default()
    };
    let bed = Bed::start(options.clone()).await?;
    let _: Host = bed.api.post("/hosts", place.host_body(1)).await?;
    let agent = place.agent(
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
            ensure!(left.contains(&clusters.len()), "{clusters:?}");
            counted(&agent, clusters).await
        },
    )
    .await?;
    counted(&agent, &[]).await
}

/// Compares the platform with the database: each node once, and nothing of another cluster or an old generation.
async fn counted(agent: &Arc<dyn Agent>, clusters: &[Cluster]) -> Result<()> {
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
