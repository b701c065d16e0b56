//! The same life of a pool on any platform.

use crate::{
    support::{applied, commit, read_back},
    sweep::one,
};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{Agent, ClusterId, ClusterKey, NodeName, Object, ObjectKind, Scope, Volumes};
use chainpool_api::{Cluster, HealthState, Host, Operation, Page};
use chainpool_tests::{Bed, Options, TestBed};
use std::{collections::BTreeSet, sync::Arc, time::Instant};

/// Another installation on the same platform, with nodes of the same names: its objects must stay as they are.
struct Neighbour {
    bed: Bed,
    agent: Arc<dyn Agent>,
    before: Vec<Object>,
}

impl Neighbour {
    async fn beside(place: &TestBed) -> Result<Self> {
        let bed = Bed::start(Options {
            host: false,
            watchdog: false,
            ..Options::default()
        })
        .await?;
        let _: Host = bed.api.post("/hosts", place.host_body(1)).await?;
        one(&bed).await?;
        let agent = place.agent(
            bed.instance()
                .await?
                .parse()
                .ok()
                .context("an instance is an id")?,
        )?;
        let before = agent.observe(Scope::Host).await?.objects;
        ensure!(
            before.iter().any(|object| object.kind == ObjectKind::Node),
            "the neighbour has nothing: {before:?}"
        );
        Ok(Self { bed, agent, before })
    }

    async fn end(self) -> Result<()> {
        let after = self.agent.observe(Scope::Host).await?.objects;
        ensure!(
            after == self.before,
            "another installation was touched: {:?} became {after:?}",
            self.before
        );
        self.bed.end().await
    }
}

/// Fill, apply, commit and read back from outside, lose a node, heal with data, release, clean, reset. Gives the machines
/// of one ledger.
pub(crate) async fn life(place: &TestBed) -> Result<BTreeSet<String>> {
    let neighbour = Neighbour::beside(place).await?;
    let bed = Bed::start(Options {
        host: false,
        ..Options::default()
    })
    .await?;
    let instance = bed
        .instance()
        .await?
        .parse()
        .ok()
        .context("an instance is an id")?;
    let agent = place.agent(instance)?;
    let _: Host = bed.api.post("/hosts", place.host_body(3)).await?;
    let clusters = bed.filled().await?;
    ensure!(
        clusters.len() == 3 && clusters.iter().all(|cluster| cluster.offered),
        "{clusters:?}"
    );

    let (lease, bundle) = applied(&bed).await?;
    commit(&bundle, 0, "tenant", "first").await?;
    read_back(&bundle, 1, "tenant", "first").await?;
    let held = bed.cluster(lease.cluster_id).await?;
    let machines = held
        .nodes
        .iter()
        .filter_map(|node| node.machine.clone())
        .collect();

    let is_healthy =
        |now: &Cluster| now.health.state == HealthState::Healthy && now.generation == held.generation;
    bed.cluster_when(held.id, "healthy before", is_healthy).await?;
    place.kill(&held, "v1").await?;
    let killed = Instant::now();
    bed.judged(held.id, HealthState::Degraded, &["v1"]).await?;
    println!("a killed node was seen after {:?}", killed.elapsed());
    bed.cluster_when(held.id, "healthy again", is_healthy).await?;

    // Somebody removes a node by hand: seen, made again in place, and its data is there.
    let key = ClusterKey {
        cluster: ClusterId(held.id),
        generation: held.generation,
    };
    agent
        .drop_node(&key, &NodeName::parse("v1").context("a name")?, Volumes::Keep)
        .await?;
    bed.judged(held.id, HealthState::Degraded, &["v1"]).await?;
    commit(&bundle, 0, "meanwhile", "yes").await?;
    bed.cluster_when(held.id, "healthy again", is_healthy).await?;
    read_back(&bundle, 1, "tenant", "first").await?;

    bed.released(&lease).await?;
    let fresh = bed.cluster(held.id).await?;
    ensure!(
        fresh.generation == held.generation + 1 && fresh.chain_id != held.chain_id,
        "{fresh:?}"
    );
    let left = agent.observe(Scope::Cluster(key.cluster)).await?;
    ensure!(
        left.objects
            .iter()
            .all(|object| object.generation > key.generation),
        "the old generation is there: {left:?}"
    );

    let (kept, _) = applied(&bed).await?;
    let clean: Operation = bed.api.ask("/hosts/h1/clean").await?;
    bed.done(&clean).await?;
    let still: Page<Cluster> = bed.api.get("/clusters").await?;
    ensure!(
        still.items.len() == 1 && still.items[0].id == kept.cluster_id,
        "clean took an applied cluster: {still:?}"
    );
    bed.end().await?;
    let left = agent.observe(Scope::Host).await?;
    ensure!(
        left.objects.is_empty(),
        "the census found objects of ours: {left:?}"
    );
    neighbour.end().await?;
    Ok(machines)
}
