//! An engine that goes away and comes back, or does not: ledgers are left alone, and leases end only by word.

use crate::support::{applied, commit, read};
use anyhow::{Result, ensure};
use chainpool_api::{
    Bundle, Cluster, ClusterState, HealthState, Host, HostState, Lease, LeaseState, Operation, Page,
};
use chainpool_tests::{Bed, Engine, Options, SecondEngine, within, within_ok};
use futures::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Longer than a host or a ledger needs to be noticed gone or back.
const SOON: Duration = Duration::from_secs(90);
/// How long an engine takes calls before it answers: most of the time that its ledgers have after their host's return.
const HOLD_S: u32 = 18;

/// A Chainpool whose only host is an engine of the test's own.
struct Away {
    bed: Bed,
    second: SecondEngine,
}

impl Away {
    /// Registers the engine over its socket, or over the cable.
    async fn start(capacity: u32, validators: u32, cable: bool) -> Result<Self> {
        let second = SecondEngine::up().await?;
        let engine = Some(if cable { second.tcp() } else { second.socket() });
        let bed = Bed::start(Options {
            host: false,
            capacity,
            validators,
            engine,
            bind: second.address.clone(),
            ..Options::default()
        })
        .await?;
        let mut body = bed.host_body("h1");
        body["insecure"] = json!(cable);
        let _: Host = bed.api.post("/hosts", body).await?;
        Ok(Self { bed, second })
    }

    async fn host_when(&self, state: HostState) -> Result<Host> {
        within(SOON, &format!("the host {state}"), async || {
            let host: Host = self.bed.api.get("/hosts/h1").await?;
            Ok(if host.state == state {
                Ok(host)
            } else {
                Err(format!("{} ({})", host.state, host.reason))
            })
        })
        .await
    }

    async fn all_when(&self, clusters: &[Cluster], state: HealthState) -> Result<()> {
        for cluster in clusters {
            self.bed
                .cluster_when(cluster.id, &state.to_string(), |c| c.health.state == state)
                .await?;
        }
        Ok(())
    }

    /// The ids of the clusters' containers, asked over the socket.
    async fn containers(&self, clusters: &[Cluster]) -> Result<BTreeMap<String, String>> {
        let engine = self.second.engine().await?;
        let mut ids = BTreeMap::new();
        for cluster in clusters {
            for (name, _) in engine.containers_of(cluster.id).await? {
                let (id, _) = engine.life(&name).await?;
                ids.insert(name, id);
            }
        }
        Ok(ids)
    }

    /// The kinds of all operations so far.
    async fn kinds(&self) -> Result<Vec<String>> {
        let page: Page<Operation> = self.bed.api.get("/operations?limit=500").await?;
        Ok(page.items.into_iter().map(|o| o.kind.to_string()).collect())
    }

    async fn end(self) -> Result<()> {
        let Self { bed, second } = self;
        bed.end().await?;
        drop(second);
        Ok(())
    }
}

async fn has_key(bundle: &Bundle) -> Result<()> {
    within_ok(SOON, "the committed key", async || {
        ensure!(
            read(bundle, 0, "kept").await?.as_deref() == Some("yes"),
            "it is not there"
        );
        Ok(())
    })
    .await
}

/// Two free clusters and an applied one live through an engine that goes and comes.
async fn comes_back(
    go: impl AsyncFnOnce(&SecondEngine) -> Result<()>,
    come: impl AsyncFnOnce(&SecondEngine) -> Result<()>,
) -> Result<()> {
    let away = Away::start(3, 4, false).await?;
    let clusters = away.bed.filled().await?;
    ensure!(clusters.len() == 3, "{clusters:?}");
    let (lease, bundle) = applied(&away.bed).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    let before = away.containers(&clusters).await?;
    ensure!(before.len() == 12, "{before:?}");

    go(&away.second).await?;
    away.host_when(HostState::Unreachable).await?;
    away.all_when(&clusters, HealthState::Unknown).await?;
    let refused = away
        .bed
        .api
        .refused(Method::POST, "/leases", Some(json!({"allow_multiple": true})))
        .await?;
    ensure!(
        refused.status == StatusCode::CONFLICT && refused.problem.code == "nothing_free",
        "{refused:?}"
    );

    // Whoever asks an engine that is coming up gets the answer when it is up: no ledger is late because of that wait.
    let answers = within(SOON, "an answer", async || {
        try_join_all((0..8).map(|_| away.bed.orchestrator.host_judge(clusters[0].host_id))).await?;
        let host: Host = away.bed.api.get("/hosts/h1").await?;
        Ok(if host.state == HostState::Active {
            Ok(())
        } else {
            Err(host.reason)
        })
    });
    tokio::try_join!(come(&away.second), answers)?;
    away.all_when(&clusters, HealthState::Healthy).await?;
    has_key(&bundle).await?;
    commit(&bundle, 1, "after", "return").await?;
    for cluster in &clusters {
        let whole =
            |c: &Cluster| c.health.state == HealthState::Healthy && c.offered == (c.id != lease.cluster_id);
        let now = away
            .bed
            .cluster_when(cluster.id, "healthy, and offered if it is free", whole)
            .await?;
        let same =
            now.generation == 1 && now.chain_id == cluster.chain_id && now.state == ClusterState::Ready;
        ensure!(same, "{now:?}\n{}", away.bed.story(cluster.id).await?);
    }
    let kinds = away.kinds().await?;
    ensure!(
        !kinds
            .iter()
            .any(|kind| kind == "cluster_reset" || kind == "cluster_delete"),
        "{kinds:?}"
    );
    ensure!(
        away.containers(&clusters).await? == before,
        "containers were made again"
    );
    away.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_restarted_under_running_clusters_brings_all_back_without_resets() -> Result<()> {
    comes_back(
        async |second| second.stop().await,
        async |second| second.start().await,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_killed_under_running_clusters_brings_all_back_without_resets() -> Result<()> {
    comes_back(
        async |second| second.kill().await,
        async |second| second.start_slowly(HOLD_S).await,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_host_makes_its_clusters_unknown_and_deletes_nothing() -> Result<()> {
    let away = Away::start(3, 1, true).await?;
    let bed = &away.bed;
    let clusters = bed.filled().await?;
    let (kept, bundle) = applied(bed).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    let released: Lease = bed.api.post("/leases", json!({"allow_multiple": true})).await?;
    let free = clusters
        .iter()
        .find(|c| ![kept.cluster_id, released.cluster_id].contains(&c.id))
        .expect("three clusters");
    let before = away.containers(&clusters).await?;

    away.second.cut().await?;
    away.host_when(HostState::Unreachable).await?;
    away.all_when(&clusters, HealthState::Unknown).await?;
    let refused = bed
        .api
        .refused(Method::POST, "/leases", Some(json!({"allow_multiple": true})))
        .await?;
    ensure!(
        refused.status == StatusCode::CONFLICT && refused.problem.message.contains("not active"),
        "{refused:?}"
    );
    let refused = bed.api.refused(Method::DELETE, "/hosts/h1", None).await?;
    ensure!(refused.problem.code == "host_not_empty", "{refused:?}");
    let refused = bed
        .api
        .refused(Method::DELETE, &format!("/clusters/{}", kept.cluster_id), None)
        .await?;
    ensure!(refused.status == StatusCode::CONFLICT, "{refused:?}");

    let over: Lease = bed.api.delete(&format!("/leases/{}", released.id)).await?;
    ensure!(
        over.state == LeaseState::Released && over.ended_at.is_some(),
        "{over:?}"
    );
    let reset: Operation = bed
        .api
        .get(&format!(
            "/operations/{}",
            over.operation_id.expect("a release wipes")
        ))
        .await?;
    let delete: Operation = bed.api.delete(&format!("/clusters/{}", free.id)).await?;
    for operation in [&reset, &delete] {
        // Tried and noted: it waits for the host and does not fail.
        within(SOON, "a try that is noted", async || {
            let now: Operation = bed.api.get(&format!("/operations/{}", operation.id)).await?;
            ensure!(!now.state.is_over(), "{now:?}");
            Ok(if now.steps.iter().any(|step| step.note.is_some()) {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            })
        })
        .await?;
    }
    ensure!(
        away.containers(&clusters).await? == before,
        "something was deleted or made"
    );

    away.second.heal().await?;
    away.host_when(HostState::Active).await?;
    bed.done(&reset).await?;
    bed.done(&delete).await?;
    let again = bed
        .cluster_when(released.cluster_id, "offered again", |c| c.offered)
        .await?;
    ensure!(again.generation == 2, "{again:?}");
    let now = bed
        .cluster_when(kept.cluster_id, "healthy", |c| {
            c.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(now.generation == 1 && now.lease_id == Some(kept.id), "{now:?}");
    has_key(&bundle).await?;
    away.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_never_returns_is_forgotten_with_its_leases() -> Result<()> {
    let away = Away::start(2, 1, true).await?;
    let bed = &away.bed;
    let clusters = bed.filled().await?;
    let (lease, _) = applied(bed).await?;
    let refused = bed
        .api
        .refused(Method::DELETE, "/hosts/h1?forget=h1", None)
        .await?;
    ensure!(refused.problem.code == "host_reachable", "{refused:?}");

    let before = away.containers(&clusters).await?;
    away.second.cut().await?;
    away.host_when(HostState::Unreachable).await?;
    let refused = bed
        .api
        .refused(Method::DELETE, "/hosts/h1?forget=h2", None)
        .await?;
    ensure!(refused.problem.fields.contains_key("forget"), "{refused:?}");
    let _: Value = bed.api.delete("/hosts/h1?forget=h1").await?;
    let over: Lease = bed.api.get(&format!("/leases/{}", lease.id)).await?;
    ensure!(
        over.state == LeaseState::HostLost && over.ended_at.is_some(),
        "{over:?}"
    );
    ensure!(
        bed.clusters().await?.is_empty(),
        "clusters of a forgotten host are listed"
    );
    let refused = bed.api.refused(Method::GET, "/hosts/h1", None).await?;
    ensure!(refused.status == StatusCode::NOT_FOUND, "{refused:?}");

    // It returns after all: what stands there is shown, and goes only when somebody says so.
    away.second.heal().await?;
    let mut body = bed.host_body("h1");
    body["insecure"] = json!(true);
    let _: Host = within_ok(SOON, "the host again", async || {
        bed.api.post("/hosts", body.clone()).await
    })
    .await?;
    within(SOON, "what was left behind", async || {
        let status: chainpool_api::Status = bed.api.get("/status").await?;
        Ok(if status.unclaimed.len() == clusters.len() {
            Ok(())
        } else {
            Err(format!(
                "{:?} of {:?}",
                status.unclaimed,
                away.containers(&clusters).await?
            ))
        })
    })
    .await?;
    ensure!(
        away.containers(&clusters).await? == before,
        "what was left behind was touched"
    );
    away.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_engine_at_the_same_address_pauses_the_host() -> Result<()> {
    let away = Away::start(2, 1, false).await?;
    let bed = &away.bed;
    let clusters = bed.filled().await?;
    let (lease, bundle) = applied(bed).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    let before = away.containers(&clusters).await?;
    let instance = bed.instance().await?;

    away.second.stop().await?;
    away.host_when(HostState::Unreachable).await?;
    away.second.start_another().await?;
    let host = away.host_when(HostState::Paused).await?;
    ensure!(host.reason.contains("another engine"), "{host:?}");
    away.all_when(&clusters, HealthState::Unknown).await?;
    let refused = bed
        .api
        .refused(Method::PATCH, "/hosts/h1", Some(json!({"paused": false})))
        .await?;
    ensure!(
        refused.problem.message.contains("another engine")
            || refused
                .problem
                .fields
                .values()
                .any(|why| why.contains("another engine")),
        "{refused:?}"
    );
    let over: Lease = bed.api.delete(&format!("/leases/{}", lease.id)).await?;
    let reset: Operation = bed
        .api
        .get(&format!(
            "/operations/{}",
            over.operation_id.expect("a release wipes")
        ))
        .await?;
    within(SOON, "a reset that waits", async || {
        let now: Operation = bed.api.get(&format!("/operations/{}", reset.id)).await?;
        ensure!(!now.state.is_over(), "{now:?}");
        Ok(
            if now
                .steps
                .iter()
                .any(|step| step.note.as_deref().is_some_and(|note| note.contains("paused")))
            {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            },
        )
    })
    .await?;
    let there = away.second.engine().await?.ours(&instance).await?;
    ensure!(there.is_empty(), "the other engine was touched: {there:?}");

    away.second.stop().await?;
    away.second.start().await?;
    let _: Host = bed.api.patch("/hosts/h1", json!({"paused": false})).await?;
    away.host_when(HostState::Active).await?;
    bed.done(&reset).await?;
    away.all_when(&clusters, HealthState::Healthy).await?;
    for cluster in &clusters {
        let now = bed.cluster(cluster.id).await?;
        ensure!(
            now.generation == if now.id == lease.cluster_id { 2 } else { 1 },
            "{now:?}"
        );
    }
    let free = Engine::container(
        clusters
            .iter()
            .find(|c| c.id != lease.cluster_id)
            .expect("two clusters"),
        "v0",
    );
    ensure!(
        away.containers(&clusters).await?.get(&free) == before.get(&free),
        "a container was made again"
    );
    away.end().await
}
