//! What fails beneath a pool: machines, managers, an API server; and what somebody deletes by hand.

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
/// The machine of the manager that the host's address names first.
const FIRST: &str = "machine-1";
/// How long a platform may need to settle: after an outage of its API server, Kubernetes' own controllers pause for a minute
/// and more before they ask it again.
const SETTLED: Duration = Duration::from_mins(5);
/// How long the API server stays away.
const AWAY: Duration = Duration::from_mins(1);

/// A host with one applied ledger of four validators.
struct Held {
    bed: Bed,
    cluster: Cluster,
    bundle: Bundle,
}

impl Held {
    async fn on(place: &TestBed, capacity: u32) -> Result<Self> {
        let bed = Bed::start(Options {
            host: false,
            ..Options::default()
        })
        .await?;
        let _: Host = bed.api.post("/hosts", place.host_body(capacity)).await?;
        bed.filled().await?;
        let (lease, bundle) = applied(&bed).await?;
        let cluster = bed.cluster(lease.cluster_id).await?;
        Ok(Self { bed, cluster, bundle })
    }

    /// Waits until the evidence gives this verdict, and says how long it took.
    async fn is(&self, wanted: HealthState, after: &str) -> Result<Cluster> {
        let start = Instant::now();
        let generation = self.cluster.generation;
        let what = format!("{wanted} after {after}");
        let is_so = |now: &Cluster| now.health.state == wanted && now.generation == generation;
        let now = self
            .bed
            .cluster_within(SETTLED, self.cluster.id, &what, is_so)
            .await?;
        eprintln!(
            "{what}: {:.1} s, {}",
            start.elapsed().as_secs_f32(),
            now.health.reason
        );
        Ok(now)
    }

    /// Waits until the ledger's own evidence gives this verdict, which does not wait for the platform to notice.
    async fn shows(&self, wanted: HealthState, after: &str) -> Result<()> {
        let now = self.is(wanted, after).await?;
        ensure!(
            now.health.reason.contains("does not answer"),
            "not by the ledger's evidence: {}",
            now.health.reason
        );
        Ok(())
    }

    async fn host_is(&self, wanted: HostState) -> Result<Host> {
        within(SOON, &format!("host {wanted}"), async || {
            let host: Host = self.bed.api.get("/hosts/h1").await?;
            Ok(if host.state == wanted {
                Ok(host)
            } else {
                Err(format!("{}: {}", host.state, host.reason))
            })
        })
        .await
    }

    /// A transaction through the first node, read back through the last.
    async fn commits(&self, key: &str, first: usize, last: usize) -> Result<()> {
        within_ok(SOON, "a transaction", async || {
            commit(&self.bundle, first, key, "yes").await
        })
        .await?;
        read_back(&self.bundle, last, key, "yes").await
    }
}

/// Three managers, four validators: one machine has two of them.
pub(crate) async fn machines(place: &TestBed) -> Result<()> {
    let held = Held::on(place, 1).await?;
    let mut on: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, node) in held.cluster.nodes.iter().enumerate() {
        on.entry(node.machine.clone().context("a node of a swarm has a machine")?)
            .or_default()
            .push(index);
    }
    let with = |count: usize| {
        on.iter()
            .find(|(_, nodes)| nodes.len() == count)
            .context("four validators are spread over three machines")
    };
    let ((one, lost), (two, _)) = (with(1)?, with(2)?);
    let left: Vec<usize> = (0..4).filter(|node| !lost.contains(node)).collect();
    held.is(HealthState::Healthy, "the fill").await?;

    // The manager that is spoken to first dies. What it runs goes on, but is cut off from the others; the next one is spoken to.
    place.machine("stop", FIRST).await?;
    let verdict = if on[FIRST].len() == 1 {
        HealthState::Degraded
    } else {
        HealthState::Broken
    };
    held.is(verdict, "the first manager died").await?;
    let elsewhere = held
        .cluster
        .nodes
        .iter()
        .find(|node| node.machine.as_deref() != Some(FIRST))
        .context("a node elsewhere")?;
    let logs = format!(
        "/clusters/{}/nodes/{}/logs?tail=5",
        held.cluster.id, elsewhere.name
    );
    let (status, said) = held.bed.api.raw(Method::GET, &logs, None, &[]).await?;
    ensure!(status.is_success() && !said.is_empty(), "{status}: {said}");
    held.host_is(HostState::Active).await?;
    place.machine("start", FIRST).await?;
    held.is(HealthState::Healthy, "the manager's return").await?;
    held.commits("led", 0, 3).await?;

    place.machine("cut", one).await?;
    held.shows(HealthState::Degraded, "one validator's machine was cut off")
        .await?;
    held.commits("degraded", left[0], left[2]).await?;
    place.machine("heal", one).await?;
    held.is(HealthState::Healthy, "it is back").await?;

    place.machine("cut", two).await?;
    held.shows(HealthState::Broken, "two validators' machine was cut off")
        .await?;
    place.machine("heal", two).await?;
    held.is(HealthState::Healthy, "it is back").await?;
    held.commits("healed", 0, 3).await?;

    held.bed.end().await
}

/// The API server goes and comes; a pod and a namespace are deleted by hand.
pub(crate) async fn server(place: &TestBed) -> Result<()> {
    let held = Held::on(place, 2).await?;
    held.commits("before", 0, 1).await?;

    place.server("stop").await?;
    let gone = Instant::now();
    held.host_is(HostState::Unreachable).await?;
    held.is(HealthState::Unknown, "the API server went").await?;
    within(SOON, "the end of the outage", async || {
        let now = held.bed.cluster(held.cluster.id).await?;
        ensure!(
            now.generation == held.cluster.generation,
            "an outage wiped a ledger: {now:?}"
        );
        Ok(if gone.elapsed() >= AWAY {
            Ok(())
        } else {
            Err("it lasts".to_owned())
        })
    })
    .await?;
    place.server("start").await?;
    held.host_is(HostState::Active).await?;
    held.is(HealthState::Healthy, "the API server's return").await?;
    held.commits("after", 0, 3).await?;

    // Pods are the platform's to bring back, with the data they had.
    place
        .kubectl(&[
            "delete",
            "pod",
            "--namespace",
            &Engine::network(&held.cluster),
            "--all",
            "--wait=false",
        ])
        .await?;
    held.is(HealthState::Broken, "all pods were deleted").await?;
    held.is(HealthState::Healthy, "they came back").await?;
    held.commits("back", 0, 3).await?;

    // The namespace of a free one: nothing of it is left, so a fresh one takes its place.
    let clusters = held.bed.clusters().await?;
    let free = clusters
        .iter()
        .find(|cluster| cluster.offered)
        .context("one of two is free")?;
    place
        .kubectl(&["delete", "namespace", &Engine::network(free), "--wait=false"])
        .await?;
    held.bed
        .cluster_when(free.id, "reset after its namespace was deleted", |now| {
            now.generation > free.generation && now.offered
        })
        .await?;
    held.bed.end().await
}
