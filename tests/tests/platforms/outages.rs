//! Outages of machines, managers and an API server, and objects deleted by hand.

use crate::support::{applied, commit, read_back};
use anyhow::{Context, Result, ensure};
use chainpool_api::{Bundle, Cluster, HealthState, Host, HostState};
use chainpool_tests::{Bed, Engine, Options, TestBed, within, within_ok};
use reqwest::Method;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_mins(3);
/// Machine of the first manager in the host's address.
const FIRST: &str = "machine-1";
/// Deadline for a platform to recover. After an outage of the API server, Kubernetes' own controllers wait
/// more than a minute before they reconnect.
const SETTLED: Duration = Duration::from_mins(5);
/// Duration of the API server's outage.
const OUTAGE: Duration = Duration::from_mins(1);

/// Host with one leased ledger of four validators.
struct LeasedLedger {
    bed: Bed,
    cluster: Cluster,
    bundle: Bundle,
}

impl LeasedLedger {
    async fn on(testbed: &TestBed, capacity: u32) -> Result<Self> {
        let bed = Bed::start(Options {
            host: false,
            ..Options::default()
        })
        .await?;
        let _: Host = bed.api.post("/hosts", testbed.host_body(capacity)).await?;
        bed.fill().await?;
        let (lease, bundle) = applied(&bed).await?;
        let cluster = bed.cluster(lease.cluster_id).await?;
        Ok(Self { bed, cluster, bundle })
    }

    /// Waits for a health state and prints how long it took.
    async fn wait_for(&self, wanted: HealthState, after: &str) -> Result<Cluster> {
        let start = Instant::now();
        let generation = self.cluster.generation;
        let what = format!("{wanted} after {after}");
        let matches = |now: &Cluster| now.health.state == wanted && now.generation == generation;
        let now = self
            .bed
            .wait_for_cluster_within(SETTLED, self.cluster.id, &what, matches)
            .await?;
        eprintln!(
            "{what}: {:.1} s, {}",
            start.elapsed().as_secs_f32(),
            now.health.reason
        );
        Ok(now)
    }

    /// Waits for a health state that follows from the ledger's own evidence, before the platform notices.
    async fn wait_for_evidence_of(&self, wanted: HealthState, after: &str) -> Result<()> {
        let now = self.wait_for(wanted, after).await?;
        ensure!(
            now.health.reason.contains("is running but unresponsive"),
            "not from the ledger's evidence: {}",
            now.health.reason
        );
        Ok(())
    }

    async fn wait_for_host(&self, wanted: HostState) -> Result<Host> {
        within(SOON, &format!("the host to be {wanted}"), async || {
            let host: Host = self.bed.api.get("/hosts/h1").await?;
            Ok(if host.state == wanted {
                Ok(host)
            } else {
                Err(format!("{}: {}", host.state, host.reason))
            })
        })
        .await
    }

    /// Commits through the first node and reads back through the last one.
    async fn commits(&self, key: &str, first: usize, last: usize) -> Result<()> {
        within_ok(SOON, "a transaction", async || {
            commit(&self.bundle, first, key, "yes").await
        })
        .await?;
        read_back(&self.bundle, last, key, "yes").await
    }
}

/// Three managers, four validators: one machine runs two of them.
pub(crate) async fn machine_outages(testbed: &TestBed) -> Result<()> {
    let ledger = LeasedLedger::on(testbed, 1).await?;
    let mut on: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, node) in ledger.cluster.nodes.iter().enumerate() {
        on.entry(node.machine.clone().context("the node has no machine")?)
            .or_default()
            .push(index);
    }
    let with = |count: usize| {
        on.iter()
            .find(|(_, nodes)| nodes.len() == count)
            .context("four validators must be spread over three machines")
    };
    let ((one, lost), (two, _)) = (with(1)?, with(2)?);
    let left: Vec<usize> = (0..4).filter(|node| !lost.contains(node)).collect();
    ledger.wait_for(HealthState::Healthy, "the fill").await?;

    // The first manager dies. Its nodes keep running without a network; the next manager is used.
    testbed.machine("stop", FIRST).await?;
    let verdict = if on[FIRST].len() == 1 {
        HealthState::Degraded
    } else {
        HealthState::Broken
    };
    ledger.wait_for(verdict, "the first manager died").await?;
    let elsewhere = ledger
        .cluster
        .nodes
        .iter()
        .find(|node| node.machine.as_deref() != Some(FIRST))
        .context("no node on another machine")?;
    let logs = format!(
        "/clusters/{}/nodes/{}/logs?tail=5",
        ledger.cluster.id, elsewhere.name
    );
    let (status, log) = ledger.bed.api.raw(Method::GET, &logs, None, &[]).await?;
    ensure!(status.is_success() && !log.is_empty(), "{status}: {log}");
    ledger.wait_for_host(HostState::Active).await?;
    testbed.machine("start", FIRST).await?;
    ledger
        .wait_for(HealthState::Healthy, "the manager's return")
        .await?;
    ledger.commits("led", 0, 3).await?;

    testbed.machine("cut", one).await?;
    ledger
        .wait_for_evidence_of(HealthState::Degraded, "one validator's machine was cut off")
        .await?;
    ledger.commits("degraded", left[0], left[2]).await?;
    testbed.machine("heal", one).await?;
    ledger
        .wait_for(HealthState::Healthy, "it was reconnected")
        .await?;

    testbed.machine("cut", two).await?;
    ledger
        .wait_for_evidence_of(HealthState::Broken, "two validators' machine was cut off")
        .await?;
    testbed.machine("heal", two).await?;
    ledger
        .wait_for(HealthState::Healthy, "it was reconnected")
        .await?;
    ledger.commits("healed", 0, 3).await?;

    ledger.bed.end().await
}

/// Stops and starts the API server; deletes pods and a namespace by hand.
pub(crate) async fn server_outages(testbed: &TestBed) -> Result<()> {
    let ledger = LeasedLedger::on(testbed, 2).await?;
    ledger.commits("before", 0, 1).await?;

    testbed.api_server("stop").await?;
    let stopped = Instant::now();
    ledger.wait_for_host(HostState::Unreachable).await?;
    ledger
        .wait_for(HealthState::Unknown, "the API server stopped")
        .await?;
    within(SOON, "the end of the outage", async || {
        let now = ledger.bed.cluster(ledger.cluster.id).await?;
        ensure!(
            now.generation == ledger.cluster.generation,
            "an outage reset a ledger: {now:?}"
        );
        Ok(if stopped.elapsed() >= OUTAGE {
            Ok(())
        } else {
            Err("the outage continues".to_owned())
        })
    })
    .await?;
    testbed.api_server("start").await?;
    ledger.wait_for_host(HostState::Active).await?;
    ledger
        .wait_for(HealthState::Healthy, "the API server's return")
        .await?;
    ledger.commits("after", 0, 3).await?;

    // The platform recreates pods with their data.
    testbed
        .kubectl(&[
            "delete",
            "pod",
            "--namespace",
            &Engine::network(&ledger.cluster),
            "--all",
            "--wait=false",
        ])
        .await?;
    ledger
        .wait_for(HealthState::Broken, "all pods were deleted")
        .await?;
    ledger
        .wait_for(HealthState::Healthy, "they were recreated")
        .await?;
    ledger.commits("back", 0, 3).await?;

    // Deleting the namespace of a free cluster leaves none of its objects, so the cluster is reset.
    let clusters = ledger.bed.clusters().await?;
    let free = clusters
        .iter()
        .find(|cluster| cluster.offered)
        .context("no cluster is free")?;
    testbed
        .kubectl(&["delete", "namespace", &Engine::network(free), "--wait=false"])
        .await?;
    ledger
        .bed
        .wait_for_cluster(free.id, "reset after its namespace was deleted", |now| {
            now.generation > free.generation && now.offered
        })
        .await?;
    ledger.bed.end().await
}
