//! A real Fabric network: its boot, its bundle, its faults, and its next holder.

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

/// Keys, certificates and their serial numbers of a bundle: what no other network may have.
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
            found.insert(told(holder, name, "-serial").await?);
        }
    }
    Ok(found)
}

/// What a certificate of a bundle says of itself under one option of `openssl x509`.
async fn told(holder: &Holder, file: &str, what: &str) -> Result<String> {
    run(Command::new("openssl")
        .args(["x509", "-noout", what, "-in"])
        .arg(holder.folder.path().join(file)))
    .await
}

/// The bundle's certificate of an organisation's administrator.
const ADMIN: &str = "org1/admin/msp/signcerts/cert.pem";

/// A network of two organisations with a chaincode; `raft` has three orderers, `standard` one.
async fn network(bed: &Bed, preset: &str) -> Result<Cluster> {
    let body = json!({"name": "fab", "network_type": "fabric", "preset": preset, "parameters": {"chaincodes": [CHAINCODE]}});
    let create: Operation = bed.api.post("/clusters", body).await?;
    bed.done(&create).await?;
    bed.cluster("fab").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_commits_by_its_bundle_and_tells_the_truth_when_orderers_die() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = network(&bed, "raft").await?;
    ensure!(
        cluster.offered && cluster.health.state == HealthState::Healthy && cluster.proof.is_some(),
        "{cluster:?}"
    );
    let holder = Holder::apply(&bed).await?;
    holder.put("org1", "satoshi").await?;
    holder.must_have("org2", "satoshi").await?;

    loss::bears_one(&bed, &holder, ["orderer0", "orderer1"], "no Raft leader").await?;
    bed.end().await
}

/// Writes through both organisations again and again until it is told to stop; when each write was committed.
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
                    // What is refused in between is told by the gap that it leaves.
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

    /// Ends it; the longest time between two commits from then until now.
    async fn longest_gap(self, since: Instant) -> Result<Duration> {
        self.stop.cancel();
        let until = Instant::now();
        let mut committed = vec![since, until];
        for task in self.tasks {
            committed.extend(task.await?.into_iter().filter(|at| *at < until));
        }
        ensure!(
            committed.len() > 2,
            "the network stood still for more than half of the time"
        );
        committed.sort();
        Ok(committed
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default())
    }
}

/// Amends the network while its holder writes; whether the holder could write for most of the time.
async fn amended(bed: &Bed, holder: &Arc<Holder>, change: Value) -> Result<bool> {
    let (writer, since) = (Writer::start(holder), Instant::now());
    let amend: Operation = bed.api.post("/clusters/fab/amend", change.clone()).await?;
    bed.done(&amend).await?;
    let (took, gap) = (since.elapsed(), writer.longest_gap(since).await?);
    println!("{change}: done after {took:.1?}, the longest time without a commit {gap:.1?}");
    let id = amend.cluster_id.expect("an amendment names its cluster");
    bed.cluster_when(id, "healthy and proven", |now| {
        now.health.state == HealthState::Healthy && now.proof.is_some()
    })
    .await?;
    Ok(2 * gap < took)
}

/// The lives of a cluster's nodes by name.
async fn lives(bed: &Bed, cluster: &Cluster) -> Result<BTreeMap<String, (String, String)>> {
    let mut lives = BTreeMap::new();
    for node in &cluster.nodes {
        lives.insert(
            node.name.clone(),
            bed.engine.life(&Engine::container(cluster, &node.name)).await?,
        );
    }
    Ok(lives)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_grows_and_renews_its_certificates_while_it_commits() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        alone: true,
        ..Options::default()
    })
    .await?;
    let made = network(&bed, "standard").await?;
    let holder = Arc::new(Holder::apply(&bed).await?);
    holder.put("org1", "satoshi").await?;
    let before = lives(&bed, &made).await?;

    // From one orderer to two, of which both must agree, the new one has to learn first that it is the second.
    let growth = json!({"parameters": {"organisations": 3, "peers": 2, "orderers": 3, "channels": ["main", "second"]}});
    let commits = amended(&bed, &holder, growth.clone()).await?;
    ensure!(commits, "the network stood still for more than half of the time");
    let grown = bed.cluster("fab").await?;
    ensure!(
        grown.generation == made.generation && grown.nodes.len() == 3 + 3 * 2 + 1,
        "{grown:?}"
    );
    let after = lives(&bed, &grown).await?;
    ensure!(
        before.iter().all(|(node, life)| after.get(node) == Some(life)),
        "untouched nodes were touched: {before:?} {after:?}"
    );
    let holder = Arc::new(Holder::with(&bed, holder.lease.clone()).await?);
    holder.put("org3", "hal").await?;
    holder.must_have("org2", "hal").await?;
    // The same again changes nothing.
    amended(&bed, &holder, growth).await?;
    ensure!(
        lives(&bed, &grown).await? == after,
        "nodes were touched by an amendment without a change"
    );

    // With three orderers it commits without the first of them.
    let _: Value = bed
        .api
        .patch("/clusters/fab", json!({"maintenance_seconds": 600}))
        .await?;
    bed.engine.kill(&Engine::container(&grown, "orderer0")).await?;
    bed.judged(grown.id, HealthState::Degraded, &["orderer0", "no more orderer"])
        .await?;
    holder.put("org3", "nick").await?;
    let _: Value = bed
        .api
        .patch("/clusters/fab", json!({"maintenance_seconds": 0}))
        .await?;
    bed.cluster_when(grown.id, "healthy again", |now| {
        now.health.state == HealthState::Healthy
    })
    .await?;

    let upgraded = CHAINCODE
        .replace("basic:1.0", "basic:1.1")
        .replace(":0.1.0", ":latest");
    let commits = amended(&bed, &holder, json!({"parameters": {"chaincodes": [upgraded]}})).await?;
    ensure!(commits, "the network stood still for more than half of the time");
    holder.must_have("org3", "nick").await?;

    let old = (
        told(&holder, ADMIN, "-serial").await?,
        told(&holder, ADMIN, "-pubkey").await?,
    );
    let lived = lives(&bed, &grown).await?;
    let commits = amended(&bed, &holder, json!({"renew_certificates": true})).await?;
    ensure!(commits, "the network stood still for more than half of the time");
    let holder = Holder::with(&bed, holder.lease.clone()).await?;
    let new = (
        told(&holder, ADMIN, "-serial").await?,
        told(&holder, ADMIN, "-pubkey").await?,
    );
    ensure!(old.0 != new.0 && old.1 == new.1, "{old:?} {new:?}");
    let renewed = lives(&bed, &grown).await?;
    ensure!(
        lived
            .iter()
            .all(|(node, life)| node.starts_with("cc-") == (renewed.get(node) == Some(life))),
        "{lived:?} {renewed:?}"
    );
    holder.put("org3", "dorian").await?;
    holder.must_have("org1", "dorian").await?;

    // Who applies next gets what it was made as.
    bed.released(&holder.lease).await?;
    let again = bed.cluster("fab").await?;
    ensure!(
        again.parameters == made.parameters
            && again.size == made.size
            && again.nodes.len() == made.nodes.len(),
        "{again:?}"
    );
    bed.end().await
}

/// Fabric 2.5.0 has orderers stand still in the moment of their admission; here one is made to, and a peer with it. Nobody but the operation
/// takes care of them while it is under way.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_still_in_an_amendment_is_started_anew() -> Result<()> {
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
    bed.done(&create).await?;
    let amend: Operation = bed
        .api
        .post("/clusters/fab/amend", json!({"parameters": {"orderers": 3}}))
        .await?;
    let cluster = bed.cluster("fab").await?;
    let nodes = ["orderer1", "peer0-org1"].map(|node| Engine::container(&cluster, node));
    within_ok(Duration::from_mins(1), "the admission of orderer1", async || {
        let said = bed.engine.said(&nodes[0]).await?;
        ensure!(
            said.contains("Starting raft node to join"),
            "it has only said {said}"
        );
        Ok(())
    })
    .await?;
    let mut lives = Vec::new();
    for node in &nodes {
        // It may stand still by itself, and be started anew in this moment.
        let paused = within_ok(Duration::from_mins(1), "a pause", async || {
            let life = bed.engine.life(node).await?;
            bed.engine.pause(node).await?;
            Ok(life)
        });
        lives.push(paused.await?);
    }
    let since = Instant::now();
    bed.done(&amend).await?;
    println!("gone on with after {:.1?}", since.elapsed());
    for (node, life) in nodes.iter().zip(lives) {
        let now = bed.engine.life(node).await?;
        ensure!(
            now.0 == life.0 && now.1 != life.1,
            "{node} was not started anew: {life:?} {now:?}"
        );
    }
    bed.judged(
        cluster.id,
        HealthState::Healthy,
        &["all 3 orderers", "1 more orderer"],
    )
    .await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_refuses_what_cannot_change_and_goes_on_with_what_failed() -> Result<()> {
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
    bed.done(&create).await?;
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

    // What fails on its way is gone on with: here an image that is nowhere, then one that is there.
    let without = json!({"parameters": {"peers": 2, "chaincodes": ["basic:1.0=127.0.0.1:1/nowhere:1"]}});
    let amend: Operation = bed.api.post("/clusters/fab/amend", without).await?;
    let failed = bed.ended(&amend).await?;
    ensure!(
        failed
            .error
            .as_ref()
            .is_some_and(|why| why.contains("127.0.0.1:1/nowhere:1")),
        "{failed:?}"
    );
    ensure!(!bed.cluster("fab").await?.offered, "half a change is offered");
    // Somebody else has the port that the new peer was given: it gets another one.
    let ports = bed.ground.ports();
    let taken = std::net::TcpListener::bind(("127.0.0.1", ports.0 + 5))?;
    let amend: Operation = bed
        .api
        .post(
            "/clusters/fab/amend",
            json!({"parameters": {"chaincodes": [CHAINCODE]}}),
        )
        .await?;
    bed.done(&amend).await?;
    let grown = bed
        .cluster_when(before.id, "healthy", |now| {
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

    // What was never made is nothing to stop, and is named when it shall start.
    let without = json!({"parameters": {"chaincodes": [CHAINCODE, "other:1=127.0.0.1:1/nowhere:1"]}});
    let amend: Operation = bed.api.post("/clusters/fab/amend", without).await?;
    bed.ended(&amend).await?;
    let stop: Operation = bed.api.ask("/clusters/fab/stop").await?;
    bed.done(&stop).await?;
    let start: Operation = bed.api.ask("/clusters/fab/start").await?;
    let failed = bed.ended(&start).await?;
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
async fn a_fabric_network_stops_starts_and_is_another_one_for_the_next_holder() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = network(&bed, "raft").await?;
    let first = Holder::apply(&bed).await?;
    first.put("org1", "satoshi").await?;

    for change in ["stop", "start"] {
        let operation: Operation = bed.api.ask(&format!("/clusters/fab/{change}")).await?;
        bed.done(&operation).await?;
    }
    bed.cluster_when(cluster.id, "healthy after the start", |now| {
        now.health.state == HealthState::Healthy
    })
    .await?;
    let restart: Operation = bed.api.ask("/clusters/fab/restart?node=peer0-org2").await?;
    bed.done(&restart).await?;
    bed.cluster_when(cluster.id, "healthy after the restart", |now| {
        now.health.state == HealthState::Healthy
    })
    .await?;
    first.must_have("org2", "satoshi").await?;

    bed.released(&first.lease).await?;
    let second = Holder::apply(&bed).await?;
    ensure!(
        second.lease.cluster_id == first.lease.cluster_id,
        "there is but one"
    );
    let (ours, theirs) = (identities(&first).await?, identities(&second).await?);
    let common: Vec<_> = theirs.intersection(&ours).collect();
    ensure!(
        common.is_empty() && ours.len() > 20,
        "{} keys, certificates and serial numbers, of which came again: {common:?}",
        ours.len()
    );
    second.put("org2", "hal").await?;
    second.must_have("org1", "hal").await?;
    // The first holder's user, at the second network's addresses and with its roots.
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
