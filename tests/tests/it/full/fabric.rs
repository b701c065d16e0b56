//! A real Fabric network: boot, bundle, faults, amendments, and the next holder's network.

use super::loss;
use crate::holder::{Holder, run};
use anyhow::{Result, ensure};
use chainpool_api::{Cluster, HealthState, Operation, Page};
use chainpool_tests::{Bed, CHAINCODE, Engine, Options, within_ok};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{process::Command, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Returns a bundle's keys, certificates and serial numbers, which no other network may have.
async fn identities(holder: &Holder) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (name, text) in holder
        .bundle
        .files
        .iter()
        .filter(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "pem"))
    {
        found.insert(text.clone());
        if text.contains("BEGIN CERTIFICATE") {
            found.insert(certificate_field(holder, name, "-serial").await?);
        }
    }
    Ok(found)
}

/// Returns a field of a bundle's certificate, by an option of `openssl x509`.
async fn certificate_field(holder: &Holder, file: &str, option: &str) -> Result<String> {
    run(Command::new("openssl")
        .args(["x509", "-noout", option, "-in"])
        .arg(holder.folder.path().join(file)))
    .await
}

/// Certificate of an organisation's administrator in the bundle.
const ADMIN: &str = "org1/admin/msp/signcerts/cert.pem";

/// Creates a network of two organisations with a chaincode; `raft` has three orderers, `standard` one.
async fn create_network(bed: &Bed, preset: &str) -> Result<Cluster> {
    let body = json!({"name": "fab", "network_type": "fabric", "preset": preset, "parameters": {"chaincodes": [CHAINCODE]}});
    let create: Operation = bed.api.post("/clusters", body).await?;
    bed.wait_succeeded(&create).await?;
    bed.cluster("fab").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_commits_with_its_bundle_and_reports_lost_orderers() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = create_network(&bed, "raft").await?;
    ensure!(
        cluster.offered && cluster.health.state == HealthState::Healthy && cluster.proof.is_some(),
        "{cluster:?}"
    );
    let holder = Holder::apply(&bed).await?;
    holder.put("org1", "satoshi").await?;
    holder.must_have("org2", "satoshi").await?;

    loss::survives_one_loss(&bed, &holder, ["orderer0", "orderer1"], "no Raft leader").await?;
    bed.end().await
}

/// Writes continuously through both organisations and records the time of each commit.
struct Writer {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<Vec<Instant>>>,
}

impl Writer {
    fn start(holder: &Arc<Holder>) -> Self {
        let stop = CancellationToken::new();
        let write = |organisation| {
            let (holder, until) = (Arc::clone(holder), stop.clone());
            tokio::spawn(async move {
                let mut committed = Vec::new();
                while !until.is_cancelled() {
                    // A rejected write shows as a gap between commits.
                    if holder
                        .transact(&[organisation, "submit", "put", organisation, "more"])
                        .await
                        .is_ok()
                    {
                        committed.push(Instant::now());
                    }
                }
                committed
            })
        };
        Self {
            tasks: ["org1", "org2"].map(write).into(),
            stop,
        }
    }

    /// Stops writing; returns the longest time between two commits since a moment.
    async fn longest_gap(self, since: Instant) -> Result<Duration> {
        self.stop.cancel();
        let until = Instant::now();
        let mut committed = vec![since, until];
        for task in self.tasks {
            committed.extend(task.await?.into_iter().filter(|at| *at < until));
        }
        ensure!(committed.len() > 2, "the network committed nothing");
        committed.sort();
        Ok(committed
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default())
    }
}

/// Amends the network while its holder writes; returns true if the holder could write most of the time.
async fn amend_while_writing(bed: &Bed, holder: &Arc<Holder>, change: Value) -> Result<bool> {
    let (writer, since) = (Writer::start(holder), Instant::now());
    let amend: Operation = bed.api.post("/clusters/fab/amend", change.clone()).await?;
    bed.wait_succeeded(&amend).await?;
    let (took, gap) = (since.elapsed(), writer.longest_gap(since).await?);
    println!("{change}: done after {took:.1?}, longest time without a commit {gap:.1?}");
    let id = amend.cluster_id.expect("an amendment names its cluster");
    bed.wait_for_cluster(id, "healthy and proven", |now| {
        now.health.state == HealthState::Healthy && now.proof.is_some()
    })
    .await?;
    Ok(2 * gap < took)
}

/// Returns the incarnations of a cluster's nodes by name.
async fn incarnations(bed: &Bed, cluster: &Cluster) -> Result<BTreeMap<String, (String, String)>> {
    let mut incarnations = BTreeMap::new();
    for node in &cluster.nodes {
        incarnations.insert(
            node.name.clone(),
            bed.engine
                .incarnation(&Engine::container(cluster, &node.name))
                .await?,
        );
    }
    Ok(incarnations)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_grows_and_renews_its_certificates_while_it_commits() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        exclusive: true,
        ..Options::default()
    })
    .await?;
    let created = create_network(&bed, "standard").await?;
    let holder = Arc::new(Holder::apply(&bed).await?);
    holder.put("org1", "satoshi").await?;
    let before = incarnations(&bed, &created).await?;

    // From one orderer to two both must agree, so the new orderer must first learn that it is the second.
    let growth = json!({"parameters": {"organisations": 3, "peers": 2, "orderers": 3, "channels": ["main", "second"]}});
    let commits = amend_while_writing(&bed, &holder, growth.clone()).await?;
    ensure!(commits, "the network stalled for more than half of the time");
    let grown = bed.cluster("fab").await?;
    ensure!(
        grown.generation == created.generation && grown.nodes.len() == 3 + 3 * 2 + 1,
        "{grown:?}"
    );
    let after = incarnations(&bed, &grown).await?;
    ensure!(
        before
            .iter()
            .all(|(node, incarnation)| after.get(node) == Some(incarnation)),
        "unaffected nodes were restarted: {before:?} {after:?}"
    );
    let holder = Arc::new(Holder::with(&bed, holder.lease.clone()).await?);
    holder.put("org3", "hal").await?;
    holder.must_have("org2", "hal").await?;
    // The same amendment changes nothing.
    amend_while_writing(&bed, &holder, growth).await?;
    ensure!(
        incarnations(&bed, &grown).await? == after,
        "an amendment without a change restarted nodes"
    );

    // With three orderers the network commits without the first one.
    let _: Value = bed
        .api
        .patch("/clusters/fab", json!({"maintenance_seconds": 600}))
        .await?;
    bed.engine.kill(&Engine::container(&grown, "orderer0")).await?;
    bed.wait_for_health(
        grown.id,
        HealthState::Degraded,
        &["orderer0", "no further orderer failure tolerated"],
    )
    .await?;
    holder.put("org3", "nick").await?;
    let _: Value = bed
        .api
        .patch("/clusters/fab", json!({"maintenance_seconds": 0}))
        .await?;
    bed.wait_for_cluster(grown.id, "healthy again", |now| {
        now.health.state == HealthState::Healthy
    })
    .await?;

    let upgraded = CHAINCODE
        .replace("basic:1.0", "basic:1.1")
        .replace(":0.1.0", ":latest");
    let commits =
        amend_while_writing(&bed, &holder, json!({"parameters": {"chaincodes": [upgraded]}})).await?;
    ensure!(commits, "the network stalled for more than half of the time");
    holder.must_have("org3", "nick").await?;

    let old = (
        certificate_field(&holder, ADMIN, "-serial").await?,
        certificate_field(&holder, ADMIN, "-pubkey").await?,
    );
    let previous = incarnations(&bed, &grown).await?;
    let commits = amend_while_writing(&bed, &holder, json!({"renew_certificates": true})).await?;
    ensure!(commits, "the network stalled for more than half of the time");
    let holder = Holder::with(&bed, holder.lease.clone()).await?;
    let new = (
        certificate_field(&holder, ADMIN, "-serial").await?,
        certificate_field(&holder, ADMIN, "-pubkey").await?,
    );
    ensure!(old.0 != new.0 && old.1 == new.1, "{old:?} {new:?}");
    let renewed = incarnations(&bed, &grown).await?;
    ensure!(
        previous
            .iter()
            .all(|(node, incarnation)| node.starts_with("cc-") == (renewed.get(node) == Some(incarnation))),
        "{previous:?} {renewed:?}"
    );
    holder.put("org3", "dorian").await?;
    holder.must_have("org1", "dorian").await?;

    // The next holder gets the network as it was created.
    bed.release(&holder.lease).await?;
    let again = bed.cluster("fab").await?;
    ensure!(
        again.parameters == created.parameters
            && again.size == created.size
            && again.nodes.len() == created.nodes.len(),
        "{again:?}"
    );
    bed.end().await
}

/// Orderers of Fabric 2.5.0 can stall during their admission. The test pauses an orderer and a peer; only the
/// operation repairs nodes while it is in progress.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_stall_during_an_amendment_are_restarted() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "fab", "network_type": "fabric", "preset": "tiny"}),
        )
        .await?;
    bed.wait_succeeded(&create).await?;
    let amend: Operation = bed
        .api
        .post("/clusters/fab/amend", json!({"parameters": {"orderers": 3}}))
        .await?;
    let cluster = bed.cluster("fab").await?;
    let nodes = ["orderer1", "peer0-org1"].map(|node| Engine::container(&cluster, node));
    within_ok(Duration::from_mins(1), "the admission of orderer1", async || {
        let log = bed.engine.logs(&nodes[0]).await?;
        ensure!(log.contains("Starting raft node to join"), "its log is {log}");
        Ok(())
    })
    .await?;
    let mut incarnations = Vec::new();
    for node in &nodes {
        // The node may stall by itself and be restarted at this moment.
        let paused = within_ok(Duration::from_mins(1), "a pause", async || {
            let incarnation = bed.engine.incarnation(node).await?;
            bed.engine.pause(node).await?;
            Ok(incarnation)
        });
        incarnations.push(paused.await?);
    }
    let since = Instant::now();
    bed.wait_succeeded(&amend).await?;
    println!("amended after {:.1?}", since.elapsed());
    for (node, before) in nodes.iter().zip(incarnations) {
        let now = bed.engine.incarnation(node).await?;
        ensure!(
            now.0 == before.0 && now.1 != before.1,
            "{node} was not restarted: {before:?} {now:?}"
        );
    }
    bed.wait_for_health(
        cluster.id,
        HealthState::Healthy,
        &["all 3 orderers", "1 further orderer failure tolerated"],
    )
    .await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one network through its whole life")]
async fn an_amendment_rejects_immutable_parameters_and_resumes_after_a_failure() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "fab", "network_type": "fabric", "preset": "tiny"}),
        )
        .await?;
    bed.wait_succeeded(&create).await?;
    let before = bed.cluster("fab").await?;
    let cases = [
        (json!({}), "parameters"),
        (
            json!({"parameters": {"batch_messages": 1}}),
            "parameters.batch_messages",
        ),
        (
            json!({"parameters": {"channels": ["other"]}}),
            "parameters.channels",
        ),
        (json!({"parameters": {"orderers": 2}}), "parameters.orderers"),
        (
            json!({"parameters": {"certificate_days": 30}}),
            "parameters.certificate_days",
        ),
        (json!({"parameters": {"colour": "red"}}), "parameters.colour"),
    ];
    for (body, field) in cases {
        let refused = bed
            .api
            .refused(Method::POST, "/clusters/fab/amend", Some(body.clone()))
            .await?;
        let named = refused
            .problem
            .fields
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>();
        ensure!(
            refused.status == StatusCode::BAD_REQUEST && named == [field],
            "{body}: {refused:?}"
        );
    }
    let after = bed.cluster("fab").await?;
    ensure!(
        after.parameters == before.parameters && after.nodes.len() == before.nodes.len(),
        "{after:?}"
    );
    let amends: Page<Operation> = bed.api.get("/operations?kind=cluster_amend").await?;
    ensure!(amends.items.is_empty(), "{amends:?}");

    // The next amendment resumes a failed one: first with a missing image, then with an existing one.
    let missing_image =
        json!({"parameters": {"peers": 2, "chaincodes": ["basic:1.0=127.0.0.1:1/nowhere:1"]}});
    let amend: Operation = bed.api.post("/clusters/fab/amend", missing_image).await?;
    let failed = bed.wait_ended(&amend).await?;
    ensure!(
        failed
            .error
            .as_ref()
            .is_some_and(|why| why.contains("127.0.0.1:1/nowhere:1")),
        "{failed:?}"
    );
    ensure!(
        !bed.cluster("fab").await?.offered,
        "a partly amended network is offered"
    );
    // Another process has the port that was allocated to the new peer, so the peer gets another one.
    let ports = bed.resources.ports();
    let taken = std::net::TcpListener::bind(("127.0.0.1", ports.0 + 5))?;
    let amend: Operation = bed
        .api
        .post(
            "/clusters/fab/amend",
            json!({"parameters": {"chaincodes": [CHAINCODE]}}),
        )
        .await?;
    bed.wait_succeeded(&amend).await?;
    let grown = bed
        .wait_for_cluster(before.id, "healthy", |now| {
            now.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(grown.nodes.len() == before.nodes.len() + 2, "{grown:?}");
    let addresses: Vec<&str> = grown
        .nodes
        .iter()
        .flat_map(|node| &node.endpoints)
        .map(|endpoint| endpoint.address.as_str())
        .collect();
    let occupied = taken.local_addr()?.to_string();
    ensure!(
        addresses.len() == 3 && !addresses.contains(&occupied.as_str()),
        "{addresses:?}"
    );
    drop(taken);

    // A stop ignores the container that was never created; a start reports its image.
    let missing_image = json!({"parameters": {"chaincodes": [CHAINCODE, "other:1=127.0.0.1:1/nowhere:1"]}});
    let amend: Operation = bed.api.post("/clusters/fab/amend", missing_image).await?;
    bed.wait_ended(&amend).await?;
    let stop: Operation = bed.api.post_empty("/clusters/fab/stop").await?;
    bed.wait_succeeded(&stop).await?;
    let start: Operation = bed.api.post_empty("/clusters/fab/start").await?;
    let failed = bed.wait_ended(&start).await?;
    ensure!(
        failed
            .error
            .as_ref()
            .is_some_and(|why| why.contains("127.0.0.1:1/nowhere:1")),
        "{failed:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_stops_and_starts_and_the_next_holder_gets_a_new_network() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = create_network(&bed, "raft").await?;
    let first = Holder::apply(&bed).await?;
    first.put("org1", "satoshi").await?;

    for change in ["stop", "start"] {
        let operation: Operation = bed.api.post_empty(&format!("/clusters/fab/{change}")).await?;
        bed.wait_succeeded(&operation).await?;
    }
    bed.wait_for_cluster(cluster.id, "healthy after the start", |now| {
        now.health.state == HealthState::Healthy
    })
    .await?;
    let restart: Operation = bed
        .api
        .post_empty("/clusters/fab/restart?node=peer0-org2")
        .await?;
    bed.wait_succeeded(&restart).await?;
    bed.wait_for_cluster(cluster.id, "healthy after the restart", |now| {
        now.health.state == HealthState::Healthy
    })
    .await?;
    first.must_have("org2", "satoshi").await?;

    bed.release(&first.lease).await?;
    let second = Holder::apply(&bed).await?;
    ensure!(
        second.lease.cluster_id == first.lease.cluster_id,
        "the pool has only one cluster"
    );
    let (ours, theirs) = (identities(&first).await?, identities(&second).await?);
    let common: Vec<_> = theirs.intersection(&ours).collect();
    ensure!(
        common.is_empty() && ours.len() > 20,
        "of {} keys, certificates and serial numbers these were reused: {common:?}",
        ours.len()
    );
    second.put("org2", "hal").await?;
    second.must_have("org1", "hal").await?;
    // The first holder's user identity with the second network's addresses and root certificates.
    for (name, text) in first
        .bundle
        .files
        .iter()
        .filter(|(name, _)| name.starts_with("org1/user/msp/"))
    {
        fs::write(second.folder.path().join(name), text)?;
    }
    ensure!(
        second.put("org1", "nobody").await.is_err(),
        "the first holder's user still works"
    );
    bed.end().await
}
