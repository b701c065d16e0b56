//! The same life of a pool on any platform.

use crate::support::{applied, commit, read_back};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{ClusterId, ClusterKey, NodeName, Scope, Volumes};
use chainpool_api::{Cluster, HealthState, Host, Lease, Operation, Page};
use chainpool_tests::{Bed, Options, TestBed};
use std::collections::BTreeSet;

/// Fill, apply, commit and read back from outside, lose a node, heal with data, release, clean, reset. Gives the machines
/// of one ledger.
pub(crate) async fn life(place: &TestBed) -> Result<BTreeSet<String>> {
    let bed = Bed::start(Options { host: false, ..Options::default() }).await?;
    let instance = bed.instance().await?.parse().ok().context("an instance is an id")?;
    let agent = place.agent(instance)?;
    let _: Host = bed.api.post("/hosts", place.host_body(3)).await?;
    let clusters = bed.filled().await?;
    ensure!(clusters.len() == 3 && clusters.iter().all(|cluster| cluster.offered), "{clusters:?}");

    let (lease, bundle) = applied(&bed).await?;
    commit(&bundle, 0, "tenant", "first").await?;
    read_back(&bundle, 1, "tenant", "first").await?;
    let held = bed.cluster(lease.cluster_id).await?;
    let machines = held.nodes.iter().filter_map(|node| node.machine.clone()).collect();

    // Somebody removes a node by hand: seen, made again in place, and its data is there.
    let key = ClusterKey { cluster: ClusterId(held.id), generation: held.generation };
    agent.drop_node(&key, &NodeName::parse("v1").context("a name")?, Volumes::Keep).await?;
    bed.cluster_when(held.id, "degraded", |now| now.health.state == HealthState::Degraded && now.health.reason.contains("v1")).await?;
    commit(&bundle, 0, "meanwhile", "yes").await?;
    bed.cluster_when(held.id, "healthy again", |now| now.health.state == HealthState::Healthy && now.generation == held.generation).await?;
    read_back(&bundle, 1, "tenant", "first").await?;

    let released: Lease = bed.api.delete(&format!("/leases/{}", lease.id)).await?;
    let reset: Operation = bed.api.get(&format!("/operations/{}", released.operation_id.context("a release wipes")?)).await?;
    bed.done(&reset).await?;
    let fresh = bed.cluster(held.id).await?;
    ensure!(fresh.generation == held.generation + 1 && fresh.chain_id != held.chain_id, "{fresh:?}");
    let left = agent.observe(Scope::Cluster(key.cluster)).await?;
    ensure!(left.objects.iter().all(|object| object.generation > key.generation), "the old generation is there: {left:?}");

    let (kept, _) = applied(&bed).await?;
    let clean: Operation = bed.api.ask("/hosts/h1/clean").await?;
    bed.done(&clean).await?;
    let still: Page<Cluster> = bed.api.get("/clusters").await?;
    ensure!(still.items.len() == 1 && still.items[0].id == kept.cluster_id, "clean took an applied cluster: {still:?}");
    bed.end().await?;
    let left = agent.observe(Scope::Host).await?;
    ensure!(left.objects.is_empty(), "the census found objects of ours: {left:?}");
    Ok(machines)
}
