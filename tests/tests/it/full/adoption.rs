//! Upgrade from a previous version: the present one opens its data folder and adopts its running pool.

use crate::{
    holder::Holder,
    support::{commit, read},
};
use anyhow::{Context, Result, ensure};
use chainpool_api::{Bundle, Cluster, ClusterState, HealthState, Lease, Operation, Page};
use chainpool_tests::{Bed, Engine, Options, RecordedLease, RecordedPool, ResourceLock, within};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bound for restored ledgers to commit again.
const SOON: Duration = Duration::from_mins(3);

/// Id and start time of each container. A replaced container has another id, a restarted one another start time.
async fn containers(engine: &Engine, pool: &RecordedPool) -> Result<BTreeMap<String, (String, String)>> {
    let mut found = BTreeMap::new();
    for name in pool.containers() {
        found.insert(name.to_owned(), engine.incarnation(name).await?);
    }
    Ok(found)
}

/// Commits through the bundle repeatedly; `committed` counts.
async fn commit_repeatedly(bundle: &Bundle, committed: &AtomicU64) -> Result<()> {
    loop {
        let count = committed.load(Ordering::Relaxed);
        commit(bundle, 0, "count", &count.to_string())
            .await
            .with_context(|| format!("after {count} commits"))?;
        committed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Leases keep their holders, and bundles their endpoints and identities.
async fn keeps_leases(bed: &Bed, leases: &[RecordedLease]) -> Result<()> {
    for recorded in leases {
        let lease: Lease = bed.api.get(&format!("/leases/{}", recorded.lease.id)).await?;
        ensure!(
            lease.holder == recorded.lease.holder && lease.cluster_id == recorded.lease.cluster_id,
            "{lease:?}"
        );
        let bundle: Bundle = bed.api.get(&format!("/leases/{}/bundle", lease.id)).await?;
        ensure!(
            bundle.chain_id == recorded.bundle.chain_id && bundle.nodes.len() == recorded.bundle.nodes.len(),
            "{bundle:?}"
        );
        for (now, then) in bundle.nodes.iter().zip(&recorded.bundle.nodes) {
            ensure!(
                now.name == then.name && now.identities == then.identities && now.endpoints == then.endpoints,
                "{now:?} {then:?}"
            );
        }
        let identities = |bundle: &Bundle| -> BTreeMap<String, String> {
            let of_msp = bundle.files.iter().filter(|(name, _)| name.contains("/msp/"));
            of_msp.map(|(name, text)| (name.clone(), text.clone())).collect()
        };
        ensure!(
            identities(&bundle) == identities(&recorded.bundle),
            "the bundle of {} has other keys or certificates",
            lease.cluster
        );
    }
    Ok(())
}

async fn adopts(commit_of_version: &str) -> Result<()> {
    let pool = RecordedPool::of(commit_of_version)?;
    let (engine, mut resources) = (Engine::local().await?, ResourceLock::new()?);
    pool.restore(&engine, &mut resources).await?;
    let before = containers(&engine, &pool).await?;
    let leases = pool.leases()?;
    let of_type = |name: &str| {
        leases
            .iter()
            .find(|recorded| recorded.lease.network_type == name)
            .context("such a lease was recorded")
    };
    let (ledger, fabric) = (of_type("cometbft")?, of_type("fabric")?);
    within(SOON, "a commit on the restored ledger", async || {
        Ok(commit(&ledger.bundle, 0, "restored", "yes")
            .await
            .map_err(|error| format!("{error:#}")))
    })
    .await?;

    // The ledger commits while the present version starts, inspects the pool and offers free clusters.
    let committed = AtomicU64::new(0);
    let opened = async {
        let bed = Bed::open(
            resources,
            Options {
                host: false,
                ..Options::default()
            },
        )
        .await?;
        for cluster in bed.clusters().await? {
            let since = cluster.health.checked_at;
            let adopted = |now: &Cluster| {
                let healthy = now.health.state == HealthState::Healthy && now.health.checked_at > since;
                healthy && now.offered == now.holder.is_none() && now.operation_id.is_none()
            };
            bed.wait_for_cluster(
                cluster.id,
                "healthy, and offered where it is free, by this version",
                adopted,
            )
            .await?;
        }
        let so_far = committed.load(Ordering::Relaxed);
        within(SOON, "another commit", async || {
            let now = committed.load(Ordering::Relaxed);
            Ok(if now > so_far {
                Ok(())
            } else {
                Err(format!("{now} commits"))
            })
        })
        .await?;
        anyhow::Ok(bed)
    };
    let bed = tokio::select! {
        bed = opened => bed?,
        failed = commit_repeatedly(&ledger.bundle, &committed) => return failed.context("the ledger stopped committing"),
    };

    let clusters = bed.clusters().await?;
    ensure!(clusters.len() == 3, "{clusters:?}");
    for cluster in &clusters {
        let adopted = cluster.state == ClusterState::Ready && cluster.generation == 1;
        ensure!(adopted, "{cluster:?}\n{}", bed.history(cluster.id).await?);
    }
    // A free ledger may be proven again before it is offered. No other operation runs.
    let page: Page<Operation> = bed.api.get("/operations?limit=500").await?;
    let kinds: BTreeSet<String> = page
        .items
        .iter()
        .map(|operation| operation.kind.to_string())
        .collect();
    let harmless =
        BTreeSet::from(["host_create", "cluster_create", "lease_apply", "cluster_repair"].map(String::from));
    ensure!(kinds.is_subset(&harmless), "{kinds:?}");

    keeps_leases(&bed, &leases).await?;
    ensure!(
        read(&ledger.bundle, 1, "recorded").await?.as_deref() == Some("yes"),
        "the value committed before the recording is missing"
    );
    let holder = Holder::with(&bed, fabric.lease.clone()).await?;
    holder.put("org1", "adopted").await?;
    holder.must_have("org2", "adopted").await?;
    ensure!(
        containers(&engine, &pool).await? == before,
        "containers were replaced or restarted"
    );

    // A release resets the cluster, and its next generation is offered.
    bed.release(&bed.api.get(&format!("/leases/{}", ledger.lease.id)).await?)
        .await?;
    let fresh = |now: &Cluster| now.offered && now.generation == 2 && now.proof.is_some();
    bed.wait_for_cluster(ledger.lease.cluster_id, "offered in its second generation", fresh)
        .await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_922f4bb_is_adopted_while_its_ledgers_commit() -> Result<()> {
    adopts("922f4bb").await
}
