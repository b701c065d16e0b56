//! An engine becomes unreachable and reconnects, or is lost: ledgers are left untouched, and leases end only
//! on request.

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

/// Deadline to detect that a host or a ledger is unreachable or reachable.
const SOON: Duration = Duration::from_secs(90);
/// Seconds during which an engine accepts calls without answering: most of its ledgers' grace period after
/// the host reconnects.
const HOLD_S: u32 = 18;

/// Chainpool with a separate engine as its only host.
struct SeparateEngineBed {
    bed: Bed,
    second: SecondEngine,
}

impl SeparateEngineBed {
    /// Registers the engine by its socket, or by TCP over the cable.
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

    async fn wait_for_host(&self, state: HostState) -> Result<Host> {
        within(SOON, &format!("the host to be {state}"), async || {
            let host: Host = self.bed.api.get("/hosts/h1").await?;
            Ok(if host.state == state {
                Ok(host)
            } else {
                Err(format!("{} ({})", host.state, host.reason))
            })
        })
        .await
    }

    async fn wait_for_all(&self, clusters: &[Cluster], state: HealthState) -> Result<()> {
        for cluster in clusters {
            self.bed
                .wait_for_cluster(cluster.id, &state.to_string(), |c| c.health.state == state)
                .await?;
        }
        Ok(())
    }

    /// Returns the ids of the clusters' containers, read over the socket.
    async fn containers(&self, clusters: &[Cluster]) -> Result<BTreeMap<String, String>> {
        let engine = self.second.engine().await?;
        let mut ids = BTreeMap::new();
        for cluster in clusters {
            for (name, _) in engine.containers_of(cluster.id).await? {
                let (id, _) = engine.incarnation(&name).await?;
                ids.insert(name, id);
            }
        }
        Ok(ids)
    }

    /// Returns the kinds of all operations so far.
    async fn operation_kinds(&self) -> Result<Vec<String>> {
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
            "the key is missing"
        );
        Ok(())
    })
    .await
}

/// Two free clusters and a leased one survive an outage of their engine.
async fn engine_outage(
    fail: impl AsyncFnOnce(&SecondEngine) -> Result<()>,
    restore: impl AsyncFnOnce(&SecondEngine) -> Result<()>,
) -> Result<()> {
    let setup = SeparateEngineBed::start(3, 4, false).await?;
    let clusters = setup.bed.fill().await?;
    ensure!(clusters.len() == 3, "{clusters:?}");
    let (lease, bundle) = applied(&setup.bed).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    let before = setup.containers(&clusters).await?;
    ensure!(before.len() == 12, "{before:?}");

    fail(&setup.second).await?;
    setup.wait_for_host(HostState::Unreachable).await?;
    setup.wait_for_all(&clusters, HealthState::Unknown).await?;
    let refused = setup
        .bed
        .api
        .refused(Method::POST, "/leases", Some(json!({"allow_multiple": true})))
        .await?;
    ensure!(
        refused.status == StatusCode::CONFLICT && refused.problem.code == "nothing_free",
        "{refused:?}"
    );

    // Calls to a starting engine return once it is up. This wait must not count as a late answer of a ledger.
    let answers = within(SOON, "an answer", async || {
        try_join_all((0..8).map(|_| setup.bed.orchestrator.host_assess(clusters[0].host_id))).await?;
        let host: Host = setup.bed.api.get("/hosts/h1").await?;
        Ok(if host.state == HostState::Active {
            Ok(())
        } else {
            Err(host.reason)
        })
    });
    tokio::try_join!(restore(&setup.second), answers)?;
    setup.wait_for_all(&clusters, HealthState::Healthy).await?;
    has_key(&bundle).await?;
    commit(&bundle, 1, "after", "return").await?;
    for cluster in &clusters {
        let recovered =
            |c: &Cluster| c.health.state == HealthState::Healthy && c.offered == (c.id != lease.cluster_id);
        let now = setup
            .bed
            .wait_for_cluster(cluster.id, "healthy, and offered if it is free", recovered)
            .await?;
        let unchanged =
            now.generation == 1 && now.chain_id == cluster.chain_id && now.state == ClusterState::Ready;
        ensure!(unchanged, "{now:?}\n{}", setup.bed.history(cluster.id).await?);
    }
    let kinds = setup.operation_kinds().await?;
    ensure!(
        !kinds
            .iter()
            .any(|kind| kind == "cluster_reset" || kind == "cluster_delete"),
        "{kinds:?}"
    );
    ensure!(
        setup.containers(&clusters).await? == before,
        "containers were recreated"
    );
    setup.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_restart_brings_all_clusters_back_without_resets() -> Result<()> {
    engine_outage(
        async |second| second.stop().await,
        async |second| second.start().await,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_kill_brings_all_clusters_back_without_resets() -> Result<()> {
    engine_outage(
        async |second| second.kill().await,
        async |second| second.start_slowly(HOLD_S).await,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_host_makes_its_clusters_unknown_and_deletes_nothing() -> Result<()> {
    let setup = SeparateEngineBed::start(3, 1, true).await?;
    let bed = &setup.bed;
    let clusters = bed.fill().await?;
    let (kept, bundle) = applied(bed).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    let released: Lease = bed.api.post("/leases", json!({"allow_multiple": true})).await?;
    let free = clusters
        .iter()
        .find(|c| ![kept.cluster_id, released.cluster_id].contains(&c.id))
        .expect("three clusters");
    let before = setup.containers(&clusters).await?;

    setup.second.cut().await?;
    setup.wait_for_host(HostState::Unreachable).await?;
    setup.wait_for_all(&clusters, HealthState::Unknown).await?;
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

    let ended: Lease = bed.api.delete(&format!("/leases/{}", released.id)).await?;
    ensure!(
        ended.state == LeaseState::Released && ended.ended_at.is_some(),
        "{ended:?}"
    );
    let reset: Operation = bed
        .api
        .get(&format!(
            "/operations/{}",
            ended.operation_id.expect("a release starts a reset")
        ))
        .await?;
    let delete: Operation = bed.api.delete(&format!("/clusters/{}", free.id)).await?;
    for operation in [&reset, &delete] {
        // The operation notes the failed attempt and waits for the host.
        within(SOON, "a failed attempt in the notes", async || {
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
        setup.containers(&clusters).await? == before,
        "containers were deleted or created"
    );

    setup.second.heal().await?;
    setup.wait_for_host(HostState::Active).await?;
    bed.wait_succeeded(&reset).await?;
    bed.wait_succeeded(&delete).await?;
    let again = bed
        .wait_for_cluster(released.cluster_id, "offered again", |c| c.offered)
        .await?;
    ensure!(again.generation == 2, "{again:?}");
    let now = bed
        .wait_for_cluster(kept.cluster_id, "healthy", |c| {
            c.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(now.generation == 1 && now.lease_id == Some(kept.id), "{now:?}");
    has_key(&bundle).await?;
    setup.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_host_is_forgotten_with_its_leases() -> Result<()> {
    let setup = SeparateEngineBed::start(2, 1, true).await?;
    let bed = &setup.bed;
    let clusters = bed.fill().await?;
    let (lease, _) = applied(bed).await?;
    let refused = bed
        .api
        .refused(Method::DELETE, "/hosts/h1?forget=h1", None)
        .await?;
    ensure!(refused.problem.code == "host_reachable", "{refused:?}");

    let before = setup.containers(&clusters).await?;
    setup.second.cut().await?;
    setup.wait_for_host(HostState::Unreachable).await?;
    let refused = bed
        .api
        .refused(Method::DELETE, "/hosts/h1?forget=h2", None)
        .await?;
    ensure!(refused.problem.fields.contains_key("forget"), "{refused:?}");
    let _: Value = bed.api.delete("/hosts/h1?forget=h1").await?;
    let ended: Lease = bed.api.get(&format!("/leases/{}", lease.id)).await?;
    ensure!(
        ended.state == LeaseState::HostLost && ended.ended_at.is_some(),
        "{ended:?}"
    );
    ensure!(
        bed.clusters().await?.is_empty(),
        "clusters of a forgotten host are listed"
    );
    let refused = bed.api.refused(Method::GET, "/hosts/h1", None).await?;
    ensure!(refused.status == StatusCode::NOT_FOUND, "{refused:?}");

    // The host reconnects after all: its clusters are listed as unclaimed and deleted only on request.
    setup.second.heal().await?;
    let mut body = bed.host_body("h1");
    body["insecure"] = json!(true);
    let _: Host = within_ok(SOON, "the registration of the host", async || {
        bed.api.post("/hosts", body.clone()).await
    })
    .await?;
    within(SOON, "the unclaimed clusters", async || {
        let status: chainpool_api::Status = bed.api.get("/status").await?;
        Ok(if status.unclaimed.len() == clusters.len() {
            Ok(())
        } else {
            Err(format!(
                "{:?} of {:?}",
                status.unclaimed,
                setup.containers(&clusters).await?
            ))
        })
    })
    .await?;
    ensure!(
        setup.containers(&clusters).await? == before,
        "unclaimed clusters were changed"
    );
    setup.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_engine_at_the_same_address_pauses_the_host() -> Result<()> {
    let setup = SeparateEngineBed::start(2, 1, false).await?;
    let bed = &setup.bed;
    let clusters = bed.fill().await?;
    let (lease, bundle) = applied(bed).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    let before = setup.containers(&clusters).await?;
    let instance = bed.instance().await?;

    setup.second.stop().await?;
    setup.wait_for_host(HostState::Unreachable).await?;
    setup.second.start_another().await?;
    let host = setup.wait_for_host(HostState::Paused).await?;
    ensure!(host.reason.contains("another engine"), "{host:?}");
    setup.wait_for_all(&clusters, HealthState::Unknown).await?;
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
    let ended: Lease = bed.api.delete(&format!("/leases/{}", lease.id)).await?;
    let reset: Operation = bed
        .api
        .get(&format!(
            "/operations/{}",
            ended.operation_id.expect("a release starts a reset")
        ))
        .await?;
    within(SOON, "a reset that waits for the host", async || {
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
    let found = setup.second.engine().await?.objects_of(&instance).await?;
    ensure!(found.is_empty(), "the other engine was touched: {found:?}");

    setup.second.stop().await?;
    setup.second.start().await?;
    let _: Host = bed.api.patch("/hosts/h1", json!({"paused": false})).await?;
    setup.wait_for_host(HostState::Active).await?;
    bed.wait_succeeded(&reset).await?;
    setup.wait_for_all(&clusters, HealthState::Healthy).await?;
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
        setup.containers(&clusters).await?.get(&free) == before.get(&free),
        "a container was recreated"
    );
    setup.end().await
}
