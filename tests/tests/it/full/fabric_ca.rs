//! Fabric CAs on a real engine: whom they enrol is a member of the channels, and without them all else goes on.

use crate::holder::Holder;
use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, HealthState, Node, NodeEvidence, Operation};
use chainpool_tests::{Bed, CHAINCODE, Engine, Options};
use serde_json::{Value, json};

/// What was last seen of a node.
fn seen(cluster: &Cluster, node: &str) -> Result<NodeEvidence> {
    let of = |found: &&Node| found.name == node;
    cluster
        .nodes
        .iter()
        .find(of)
        .and_then(|found| found.evidence.clone())
        .with_context(|| format!("nothing was seen of {node}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_enrolled_at_a_fabric_ca_transacts_and_nobody_is_while_it_is_away() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let parameters = json!({"chaincodes": [CHAINCODE], "certificate_authorities": true});
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "fab", "network_type": "fabric", "parameters": parameters}),
        )
        .await?;
    bed.done(&create).await?;
    let cluster = bed.cluster("fab").await?;
    ensure!(
        cluster.offered && cluster.health.state == HealthState::Healthy && cluster.nodes.len() == 3 + 2 + 1,
        "{cluster:?}"
    );
    let first = seen(&cluster, "ca-org1")?;
    ensure!(
        first.answers && first.role.as_deref() == Some("ca") && first.organisation.as_deref() == Some("org1"),
        "{first:?}"
    );
    let holder = Holder::apply(&bed).await?;
    for (organisation, name, kind) in [("org1", "alice", "client"), ("org2", "bob", "admin")] {
        let subject = holder.enrol(organisation, name, kind).await?;
        ensure!(
            subject.contains(&format!("OU = {kind}")) && subject.contains(&format!("CN = {name}")),
            "{subject}"
        );
        holder
            .transact_as(name, &[organisation, "submit", "put", "name", name])
            .await?;
        holder.must_have("org1", name).await?;
        holder.must_have("org2", name).await?;
    }
    // A peer neither reads nor writes for a user: it is a member, but no client. The type that it was registered as counts.
    holder.enrol("org1", "carol", "peer").await?;
    let refused = holder
        .transact_as("carol", &["org1", "submit", "put", "name", "carol"])
        .await
        .err()
        .context("a peer may write")?;
    ensure!(
        format!("{refused:#}").contains("/Channel/Application/Writers"),
        "{refused:#}"
    );

    // Away it is missed by those alone who want to be enrolled.
    let _: Value = bed
        .api
        .patch("/clusters/fab", json!({"maintenance_seconds": 600}))
        .await?;
    bed.engine.kill(&Engine::container(&cluster, "ca-org1")).await?;
    bed.judged(
        cluster.id,
        HealthState::Degraded,
        &["no new identities of org1; it still commits"],
    )
    .await?;
    ensure!(
        holder.enrol("org1", "dave", "client").await.is_err(),
        "enrolled by nobody"
    );
    holder
        .transact_as("alice", &["org1", "submit", "put", "name", "still"])
        .await?;
    let _: Value = bed
        .api
        .patch("/clusters/fab", json!({"maintenance_seconds": 0}))
        .await?;
    let healed = bed
        .cluster_when(cluster.id, "healthy again", |now| {
            now.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(
        healed.generation == cluster.generation,
        "an applied network was made anew"
    );
    holder.enrol("org1", "dave", "client").await?;
    // It knows whom it registered before.
    holder.enrol("org1", "alice", "client").await?;
    holder
        .transact_as("alice", &["org1", "evaluate", "get", "name"])
        .await?;

    let amend: Operation = bed
        .api
        .post("/clusters/fab/amend", json!({"parameters": {"organisations": 3}}))
        .await?;
    bed.done(&amend).await?;
    let later = json!({"parameters": {"certificate_days": 730}, "renew_certificates": true});
    let renew: Operation = bed.api.post("/clusters/fab/amend", later).await?;
    bed.done(&renew).await?;
    let grown = bed
        .cluster_when(cluster.id, "healthy", |now| {
            now.health.state == HealthState::Healthy
        })
        .await?;
    let renewed = seen(&grown, "ca-org1")?;
    let year = first.certificate_ends.map(|ends| ends.plus_seconds(360 * 86_400));
    ensure!(renewed.certificate_ends > year, "{first:?} {renewed:?}");
    let holder = Holder::with(&bed, holder.lease.clone()).await?;
    holder.enrol("org3", "erin", "client").await?;
    holder
        .transact_as("erin", &["org3", "submit", "put", "name", "erin"])
        .await?;
    holder.must_have("org1", "erin").await?;

    // The next holder's network has other authorities and other passwords.
    bed.released(&holder.lease).await?;
    let next = Holder::apply(&bed).await?;
    ensure!(
        next.bundle.files["org1/ca-env"] != holder.bundle.files["org1/ca-env"],
        "the same password"
    );
    ensure!(
        !next.bundle.files.contains_key("org3/ca-env"),
        "it is made as it was made before"
    );
    bed.end().await
}
