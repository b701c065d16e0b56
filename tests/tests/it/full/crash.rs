//! kill -9 at commits of the journal, on the machine's own engine. The next start completes every operation
//! and leaves no orphans and no duplicates. Tries a sample of the crash points and prints its seed;
//! `CHAINPOOL_TEST_SWEEP=full` tries all.

use super::sweep::{self, Outcome, child, delete_all, ensure_one, sweep};
use anyhow::{Result, bail, ensure};
use chainpool_api::{Cluster, Host, Lease, Operation, OperationState, Page};
use chainpool_tests::{Bed, Options, Points, within};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Number of crash points per change.
const SAMPLE: usize = 4;
const LONG: Duration = Duration::from_mins(4);

fn options(capacity: u32) -> Options {
    // Without a watchdog all commits belong to the change.
    Options {
        capacity,
        validators: 1,
        watchdog: false,
        ..Options::default()
    }
}

/// Compares the engine with the database, object by object.
async fn check_objects(bed: &Bed, clusters: &[Cluster]) -> Result<()> {
    let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
    for cluster in clusters {
        // A chaincode container of Fabric has no volume.
        let volumes = cluster.size - u32::from(cluster.network_type == "fabric");
        for (kind, count) in [("container", cluster.size), ("volume", volumes), ("network", 1)] {
            *expected.entry(kind).or_default() += usize::try_from(count)?;
        }
        for (_, labels) in bed.engine.containers_of(cluster.id).await? {
            ensure!(
                labels["chainpool.generation"] == cluster.generation.to_string(),
                "an old generation is left"
            );
        }
    }
    let ours = bed.engine.objects_of(&bed.instance().await?).await?;
    for kind in ["container", "volume", "network"] {
        let found = ours.iter().filter(|name| name.starts_with(kind)).count();
        ensure!(
            found == expected.get(kind).copied().unwrap_or(0),
            "{found} {kind}s for {} clusters: {ours:?}",
            clusters.len()
        );
    }
    Ok(())
}

/// Sweeps over a change on the machine's own engine.
async fn sweep_on_engine(
    scenario: &str,
    capacity: u32,
    prepare: impl AsyncFnMut(&Bed) -> Result<()>,
    mut check: impl AsyncFnMut(&Bed, &[Cluster]) -> Result<()>,
) -> Result<()> {
    let options = options(capacity);
    let bed = Bed::start(options.clone()).await?;
    sweep(
        scenario,
        Points::sample(SAMPLE),
        bed,
        &options,
        prepare,
        async |bed, clusters| {
            check_objects(bed, clusters).await?;
            check(bed, clusters).await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn create_survives_kills() -> Result<()> {
    sweep_on_engine("create", 1, delete_all, async |_, clusters| {
        ensure!(clusters.len() <= 1, "{clusters:?}");
        Ok(())
    })
    .await
}

/// Boot of a Fabric network: joins and the chaincode's deployment may each have happened before the kill.
#[tokio::test(flavor = "multi_thread")]
async fn fabric_survives_kills() -> Result<()> {
    sweep_on_engine("fabric", 1, delete_all, async |_, clusters| {
        ensure!(clusters.len() <= 1, "{clusters:?}");
        Ok(())
    })
    .await
}

/// Adds a second organisation to a Fabric network. The next start completes an accepted amendment, so the
/// network must have grown.
#[tokio::test(flavor = "multi_thread")]
async fn amend_survives_kills() -> Result<()> {
    let options = options(1);
    let bed = Bed::start(options.clone()).await?;
    let prepare = async |bed: &Bed| -> Result<()> {
        delete_all(bed).await?;
        let create: Operation = bed
            .api
            .post(
                "/clusters",
                json!({"name": "one", "network_type": "fabric", "preset": "tiny"}),
            )
            .await?;
        bed.wait_succeeded(&create).await.map(drop)
    };
    sweep(
        "amend",
        Points::sample(SAMPLE),
        bed,
        &options,
        prepare,
        async |bed, clusters| {
            let [cluster] = clusters else {
                bail!("{clusters:?}")
            };
            let accepted: Page<Operation> = bed.api.get("/operations?kind=cluster_amend&limit=1").await?;
            let grown = accepted
                .items
                .first()
                .is_some_and(|amend| amend.cluster_id == Some(cluster.id));
            ensure!(cluster.size == if grown { 3 } else { 2 }, "{cluster:?}");
            let listed = bed.engine.containers_of(cluster.id).await?;
            ensure!(listed.len() == usize::try_from(cluster.size)?, "{listed:?}");
            let volumes = bed.engine.volumes_of(cluster.id).await?;
            ensure!(volumes.len() == listed.len(), "{volumes:?}");
            let prove: Operation = bed.api.post_empty("/clusters/one/prove").await?;
            bed.wait_succeeded(&prove).await.map(drop)
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_survives_kills() -> Result<()> {
    sweep_on_engine("reset", 1, ensure_one, async |_, clusters| {
        ensure!(clusters.len() == 1, "{clusters:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn release_survives_kills() -> Result<()> {
    let prepare = async |bed: &Bed| -> Result<()> {
        ensure_one(bed).await?;
        // Without a watchdog the evidence ages; an assessment refreshes it.
        let lease: Page<Lease> = bed.api.get("/leases?state=active").await?;
        if lease.items.is_empty() {
            within(LONG, "an offered cluster", async || {
                let id = bed.clusters().await?[0].id;
                bed.orchestrator.cluster_assess(id, true).await?;
                bed.orchestrator.note_checked().await?;
                let now = bed.cluster(id).await?;
                Ok(if now.offered {
                    Ok(())
                } else {
                    Err(format!("{:?}", now.health))
                })
            })
            .await?;
            let _: Lease = bed.api.post("/leases", json!({})).await?;
        }
        Ok(())
    };
    sweep_on_engine("release", 1, prepare, async |bed, clusters| {
        let active: Page<Lease> = bed.api.get("/leases?state=active").await?;
        let held = usize::from(clusters[0].lease_id.is_some());
        ensure!(
            clusters.len() == 1 && active.items.len() == held,
            "{clusters:?} {active:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn fillup_survives_kills() -> Result<()> {
    sweep_on_engine("fillup", 2, delete_all, async |_, clusters| {
        ensure!(clusters.is_empty() || clusters.len() == 2, "{clusters:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_survives_kills() -> Result<()> {
    sweep_on_engine("delete", 1, ensure_one, async |_, clusters| {
        ensure!(clusters.len() <= 1, "{clusters:?}");
        Ok(())
    })
    .await
}

/// A registry accepts connections and never answers, so the create hangs on its image pull until the delete
/// supersedes it.
#[tokio::test(flavor = "multi_thread")]
async fn delete_during_a_hanging_image_pull_survives_kills() -> Result<()> {
    let registry = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let image = format!("{}/none:1", registry.local_addr()?);
    let open = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let server = tokio::spawn({
        let open = std::sync::Arc::clone(&open);
        async move {
            while let Ok((connection, _)) = registry.accept().await {
                open.lock().expect("no panic before").push(connection);
            }
        }
    });
    let prepare = async |bed: &Bed| -> Result<()> {
        let _: Host = bed
            .api
            .patch("/hosts/h1", json!({"images": {"cometbft": [image.clone()]}}))
            .await?;
        if bed.clusters().await?.is_empty() {
            let create: Operation = bed
                .api
                .post("/clusters", json!({"name": "one", "preset": "single"}))
                .await?;
            within(LONG, "the hanging step", async || {
                let now: Operation = bed.api.get(&format!("/operations/{}", create.id)).await?;
                Ok(if now.steps.iter().any(|s| s.started_at.is_some()) {
                    Ok(())
                } else {
                    Err(format!("{now:?}"))
                })
            })
            .await?;
        }
        Ok(())
    };
    let mut bed = Bed::start(options(1)).await?;
    let folder = bed.folder.clone();
    prepare(&bed).await?;
    let resources = bed.stop().await?;
    let points = Points::sample(SAMPLE)
        .chosen("delete of a hanging create", async || {
            sweep::count_commits(&folder, "delete").await
        })
        .await?;
    bed = Bed::open(resources, options(1)).await?;
    for (point, when) in points {
        prepare(&bed).await?;
        let resources = bed.stop().await?;
        let outcome = child(&folder, "delete", point, when).await?;
        bed = Bed::open(resources, options(1)).await?;
        if point > 60 {
            bail!("the delete does not complete");
        }
        // A kill before the delete was accepted leaves the create hanging.
        let deletes: Page<Operation> = bed.api.get("/operations?kind=cluster_delete&limit=1").await?;
        for cluster in bed.clusters().await? {
            if deletes.items.first().and_then(|d| d.cluster_id) != Some(cluster.id) {
                let _: Operation = bed.api.delete(&format!("/clusters/{}", cluster.id)).await?;
            }
        }
        bed.wait_idle().await?;
        ensure!(bed.clusters().await?.is_empty(), "the cluster is still there");
        let all: Page<Operation> = bed.api.get("/operations?kind=cluster_create&limit=1").await?;
        ensure!(all.items[0].state == OperationState::Superseded, "{all:?}");
        // Requests of the killed process may reach the engine after the delete. The next full pass removes
        // their objects.
        within(LONG, "the removal of all objects", async || {
            bed.orchestrator
                .host_assess(bed.api.get::<Host>("/hosts/h1").await?.id)
                .await?;
            let left = bed.engine.objects_of(&bed.instance().await?).await?;
            Ok(if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            })
        })
        .await?;
        if matches!(outcome, Outcome::Completed(_)) {
            break;
        }
    }
    server.abort();
    let _: Value = bed.api.patch("/hosts/h1", json!({"images": {}})).await?;
    bed.end().await?;
    Ok(())
}
