//! Lifecycle of a pool on any platform.

use crate::{
    support::{applied, commit, read_back},
    sweep::ensure_one,
};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{Agent, ClusterId, ClusterKey, NodeName, Object, ObjectKind, Scope, Volumes};
use chainpool_api::{Cluster, HealthState, Host, Operation, Page};
use chainpool_tests::{Bed, Options, TestBed};
use std::{collections::BTreeSet, sync::Arc, time::Instant};

/// Another installation on the same platform with nodes of the same names. Its objects must not change.
struct Neighbour {
    bed: Bed,
    agent: Arc<dyn Agent>,
    before: Vec<Object>,
}

impl Neighbour {
    async fn beside(testbed: &TestBed) -> Result<Self> {
        let bed = Bed::start(Options {
            host: false,
            watchdog: false,
            ..Options::default()
        })
        .await?;
        let _: Host = bed.api.post("/hosts", testbed.host_body(1)).await?;
        ensure_one(&bed).await?;
        let agent = testbed.agent(
            bed.instance()
                .await?
                .parse()
                .ok()
                .context("an instance is an id")?,
        )?;
        let before = agent.observe(Scope::Host).await?.objects;
        ensure!(
            before.iter().any(|object| object.kind == ObjectKind::Node),
            "the other installation has no nodes: {before:?}"
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

/// Fills, leases, commits and reads back from outside, loses a node, repairs it with its data, releases,
/// cleans and resets. Returns the machines of one ledger.
pub(crate) async fn run(testbed: &TestBed) -> Result<BTreeSet<String>> {
    let neighbour = Neighbour::beside(testbed).await?;
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
    let agent = testbed.agent(instance)?;
    let _: Host = bed.api.post("/hosts", testbed.host_body(3)).await?;
    let clusters = bed.fill().await?;
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
    bed.wait_for_cluster(held.id, "healthy before", is_healthy)
        .await?;
    testbed.kill(&held, "v1").await?;
    let killed = Instant::now();
    bed.wait_for_health(held.id, HealthState::Degraded, &["v1"])
        .await?;
    println!("a killed node was detected after {:?}", killed.elapsed());
    bed.wait_for_cluster(held.id, "healthy again", is_healthy).await?;

    // A node removed by hand is detected and recreated with its data.
    let key = ClusterKey {
        cluster: ClusterId(held.id),
        generation: held.generation,
    };
    agent
        .drop_node(
            &key,
            &NodeName::parse("v1").context("v1 is a valid node name")?,
            Volumes::Keep,
        )
        .await?;
    bed.wait_for_health(held.id, HealthState::Degraded, &["v1"])
        .await?;
    commit(&bundle, 0, "meanwhile", "yes").await?;
    bed.wait_for_cluster(held.id, "healthy again", is_healthy).await?;
    read_back(&bundle, 1, "tenant", "first").await?;

    bed.release(&lease).await?;
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
        "the old generation still has objects: {left:?}"
    );

    let (kept, _) = applied(&bed).await?;
    let clean: Operation = bed.api.post_empty("/hosts/h1/clean").await?;
    bed.wait_succeeded(&clean).await?;
    let still: Page<Cluster> = bed.api.get("/clusters").await?;
    ensure!(
        still.items.len() == 1 && still.items[0].id == kept.cluster_id,
        "clean deleted a leased cluster: {still:?}"
    );
    bed.end().await?;
    let left = agent.observe(Scope::Host).await?;
    ensure!(left.objects.is_empty(), "the leak check found objects: {left:?}");
    neighbour.end().await?;
    Ok(machines)
}
