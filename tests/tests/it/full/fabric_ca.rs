//! Fabric CAs on a real engine: enrolled identities are members of the channels, and the network works
//! without its CAs.

use crate::holder::Holder;
use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, HealthState, Node, NodeEvidence, Operation};
use chainpool_tests::{Bed, CHAINCODE, Engine, Options};
use serde_json::{Value, json};

/// Returns the last evidence of a node.
fn evidence(cluster: &Cluster, node: &str) -> Result<NodeEvidence> {
    let of = |found: &&Node| found.name == node;
    cluster
        .nodes
        .iter()
        .find(of)
        .and_then(|found| found.evidence.clone())
        .with_context(|| format!("no evidence of {node}"))
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one network through its whole life")]
async fn identities_enrolled_at_a_fabric_ca_transact_and_enrolment_fails_while_it_is_down() -> Result<()> {
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
    bed.wait_succeeded(&create).await?;
    let cluster = bed.cluster("fab").await?;
    ensure!(
        cluster.offered && cluster.health.state == HealthState::Healthy && cluster.nodes.len() == 3 + 2 + 1,
        "{cluster:?}"
    );
    let first = evidence(&cluster, "ca-org1")?;
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
    // A peer identity is a member but not a client, so it may not write. The registered type decides.
    holder.enrol("org1", "carol", "peer").await?;
    let refused = holder
        .transact_as("carol", &["org1", "submit", "put", "name", "carol"])
        .await
        .err()
        .context("a peer identity was allowed to write")?;
    ensure!(
        format!("{refused:#}").contains("/Channel/Application/Writers"),
        "{refused:#}"
    );

    // Without its CA only enrolment fails.
    let _: Value = bed
        .api
        .patch("/clusters/fab", json!({"maintenance_seconds": 600}))
        .await?;
    bed.engine.kill(&Engine::container(&cluster, "ca-org1")).await?;
    bed.wait_for_health(
        cluster.id,
        HealthState::Degraded,
        &["no new identities of org1; still committing"],
    )
    .await?;
    ensure!(
        holder.enrol("org1", "dave", "client").await.is_err(),
        "enrolment succeeded without the CA"
    );
    holder
        .transact_as("alice", &["org1", "submit", "put", "name", "still"])
        .await?;
    let _: Value = bed
        .api
        .patch("/clusters/fab", json!({"maintenance_seconds": 0}))
        .await?;
    let healed = bed
        .wait_for_cluster(cluster.id, "healthy again", |now| {
            now.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(
        healed.generation == cluster.generation,
        "a leased network was reset"
    );
    holder.enrol("org1", "dave", "client").await?;
    // The CA still knows earlier registrations.
    holder.enrol("org1", "alice", "client").await?;
    holder
        .transact_as("alice", &["org1", "evaluate", "get", "name"])
        .await?;

    let amend: Operation = bed
        .api
        .post("/clusters/fab/amend", json!({"parameters": {"organisations": 3}}))
        .await?;
    bed.wait_succeeded(&amend).await?;
    let later = json!({"parameters": {"certificate_days": 730}, "renew_certificates": true});
    let renew: Operation = bed.api.post("/clusters/fab/amend", later).await?;
    bed.wait_succeeded(&renew).await?;
    let grown = bed
        .wait_for_cluster(cluster.id, "healthy", |now| {
            now.health.state == HealthState::Healthy
        })
        .await?;
    let renewed = evidence(&grown, "ca-org1")?;
    let year = first.certificate_ends.map(|ends| ends.plus_seconds(360 * 86_400));
    ensure!(renewed.certificate_ends > year, "{first:?} {renewed:?}");
    let holder = Holder::with(&bed, holder.lease.clone()).await?;
    holder.enrol("org3", "erin", "client").await?;
    holder
        .transact_as("erin", &["org3", "submit", "put", "name", "erin"])
        .await?;
    holder.must_have("org1", "erin").await?;

    // The next holder's network has other authorities and other passwords.
    bed.release(&holder.lease).await?;
    let next = Holder::apply(&bed).await?;
    ensure!(
        next.bundle.files["org1/ca-env"] != holder.bundle.files["org1/ca-env"],
        "the same password"
    );
    ensure!(
        !next.bundle.files.contains_key("org3/ca-env"),
        "the reset must use the parameters of the creation"
    );
    bed.end().await
}
