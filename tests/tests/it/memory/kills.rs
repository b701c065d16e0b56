//! Chainpool is killed before and after every commit of a change. The next start completes every operation,
//! and the platform matches the database, object by object.
//!
//! Each crash point starts with a copy of one prepared data folder and world, so the points are independent.

use anyhow::{Context, Result, ensure};
use chainpool_agent::{InstanceId, NodeName, ObjectKind};
use chainpool_agent_memory::{Fault, Verb, ledger};
use chainpool_api::{Cluster, HealthState, Lease, Operation, OperationState, Page};
use chainpool_tests::{CrashPoint, Ending, KillableBed, MemoryBed, MemoryFixture, Side, key_of, within};
use serde_json::json;
use std::time::Duration;

const LONG: Duration = Duration::from_mins(2);

/// Creates a fixture and prepares it.
fn prepared(capacity: u32, prepare: impl AsyncFnOnce(&MemoryBed) -> Result<()>) -> Result<MemoryFixture> {
    let fixture = MemoryFixture::new()?;
    let server = KillableBed::start(&fixture, capacity, CrashPoint::never())?;
    server.run(prepare).context("cannot prepare the fixture")?;
    server.stop()?;
    Ok(fixture)
}

/// Runs a change on copies of a fixture and kills it at one crash point after the other, until it completes
/// without a kill. After the next start, `recover` repeats requests that were lost and checks the result.
/// Then no operation may be in progress and all clusters must be ready.
#[expect(clippy::needless_pass_by_value, reason = "callers pass closures inline")]
fn sweep(
    name: &str,
    (fixture, capacity): (&MemoryFixture, u32),
    minimum: usize,
    change: impl AsyncFn(&MemoryBed) -> Result<()>,
    recover: impl AsyncFn(&MemoryBed) -> Result<()>,
) -> Result<()> {
    let mut killed = 0;
    'points: for commit in 1.. {
        for side in [Side::Before, Side::After] {
            let at = || format!("killed {side:?} commit {commit} of {name}");
            let copy = fixture.copy()?;
            let server =
                KillableBed::start(&copy, capacity, CrashPoint::at(commit, side)).with_context(at)?;
            let ending = server.run_armed(&change).with_context(at)?;
            match ending {
                Ending::Killed => server.kill(),
                Ending::Completed => server.stop().with_context(at)?,
            }
            let server = KillableBed::start(&copy, capacity, CrashPoint::never()).with_context(at)?;
            server
                .run(async |bed| {
                    recover(bed).await?;
                    bed.wait_settled().await.map(drop)
                })
                .with_context(at)?;
            server.stop_and_compare(&copy).with_context(at)?;
            match ending {
                Ending::Killed => killed += 1,
                Ending::Completed => break 'points,
            }
        }
    }
    println!("{name}: killed {killed} times, 0 orphans, 0 duplicates");
    ensure!(killed >= 2 * minimum, "the change has only {killed} crash points");
    Ok(())
}

async fn create(bed: &MemoryBed, preset: &str) -> Result<()> {
    let body = json!({"name": "one", "network_type": ledger::TYPE, "preset": preset});
    let create: Operation = bed.api.post("/clusters", body).await?;
    bed.wait_succeeded(&create).await.map(drop)
}

async fn run_operation(bed: &MemoryBed, path: &str) -> Result<()> {
    let operation: Operation = bed.api.post_empty(path).await?;
    bed.wait_succeeded(&operation).await.map(drop)
}

async fn delete(bed: &MemoryBed) -> Result<()> {
    let delete: Operation = bed.api.delete("/clusters/one").await?;
    bed.wait_succeeded(&delete).await.map(drop)
}

/// The preset `staged` has every kind of step: a job, starts, a wait for the nodes, actions, a proof.
#[test]
fn create_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |_| Ok(()))?;
    sweep(
        "create",
        (&fixture, 1),
        25,
        async |bed| create(bed, "staged").await,
        async |bed| {
            bed.wait_idle().await?;
            let clusters = bed.clusters().await?;
            ensure!(
                clusters.len() <= 1 && clusters.iter().all(|c| c.proof.is_some() && c.generation == 1),
                "{clusters:?}"
            );
            Ok(())
        },
    )
}

#[test]
fn reset_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |bed| create(bed, "staged").await)?;
    sweep(
        "reset",
        (&fixture, 1),
        25,
        async |bed| run_operation(bed, "/clusters/one/reset").await,
        async |bed| {
            bed.wait_idle().await?;
            let cluster = bed.cluster("one").await?;
            let resets: Page<Operation> = bed.api.get("/operations?kind=cluster_reset").await?;
            ensure!(
                resets.items.len() <= 1 && usize::try_from(cluster.generation)? == 1 + resets.items.len(),
                "{cluster:?} {resets:?}"
            );
            Ok(())
        },
    )
}

#[test]
fn release_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |bed| {
        create(bed, "default").await?;
        bed.wait_all_offered().await?;
        bed.api.post::<Lease>("/leases", json!({})).await.map(drop)
    })?;
    let release = async |bed: &MemoryBed| {
        let leases: Page<Lease> = bed.api.get("/leases?state=active").await?;
        bed.release(leases.items.first().context("there is a lease")?)
            .await
            .map(drop)
    };
    sweep("release", (&fixture, 1), 15, release, async |bed| {
        bed.wait_idle().await?;
        let active: Page<Lease> = bed.api.get("/leases?state=active").await?;
        let cluster = bed.cluster("one").await?;
        // The end of the lease and the start of the reset are one commit.
        let held = cluster.lease_id.is_some();
        ensure!(
            active.items.len() == usize::from(held) && cluster.generation == if held { 1 } else { 2 },
            "{cluster:?} {active:?}"
        );
        Ok(())
    })
}

#[test]
fn fillup_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(2, async |_| Ok(()))?;
    sweep(
        "fillup",
        (&fixture, 2),
        25,
        async |bed| run_operation(bed, "/hosts/h1/fillup").await,
        async |bed| {
            bed.wait_idle().await?;
            let clusters = bed.clusters().await?;
            ensure!(clusters.is_empty() || clusters.len() == 2, "{clusters:?}");
            Ok(())
        },
    )
}

/// More clusters than one transaction accepts: the next start accepts what is left.
#[test]
fn a_fillup_of_many_clusters_survives_a_kill() -> Result<()> {
    const CLUSTERS: u32 = 20;
    let fixture = prepared(CLUSTERS, async |_| Ok(()))?;
    for commit in [2, 4, 9, 17] {
        let at = || format!("killed before commit {commit}");
        let copy = fixture.copy()?;
        let crash = CrashPoint::at(commit, Side::Before);
        let server = KillableBed::start(&copy, CLUSTERS, crash).with_context(at)?;
        let ending = server.run_armed(async |bed| run_operation(bed, "/hosts/h1/fillup").await)?;
        ensure!(ending == Ending::Killed, "{}", at());
        server.kill();
        let server = KillableBed::start(&copy, CLUSTERS, CrashPoint::never()).with_context(at)?;
        server
            .run(async |bed| {
                bed.wait_idle().await?;
                let fillups: Page<Operation> = bed.api.get("/operations?kind=host_fillup").await?;
                let results: Vec<_> = fillups.items.iter().map(|fillup| &fillup.result).collect();
                ensure!(
                    results == [&Some(json!({"made": CLUSTERS, "failed": 0}))],
                    "{results:?}"
                );
                bed.wait_settled().await.map(drop)
            })
            .with_context(at)?;
        server.stop_and_compare(&copy).with_context(at)?;
    }
    Ok(())
}

#[test]
fn delete_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |bed| create(bed, "staged").await)?;
    sweep("delete", (&fixture, 1), 5, delete, async |_| Ok(()))
}

#[test]
fn amend_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |bed| create(bed, "staged").await)?;
    let amend = async |bed: &MemoryBed| {
        let amend: Operation = bed
            .api
            .post("/clusters/one/amend", json!({"parameters": {"nodes": 4}}))
            .await?;
        bed.wait_succeeded(&amend).await.map(drop)
    };
    sweep("amend", (&fixture, 1), 18, amend, async |bed| {
        bed.wait_idle().await?;
        let accepted: Page<Operation> = bed.api.get("/operations?kind=cluster_amend").await?;
        let cluster = bed.cluster("one").await?;
        ensure!(
            cluster.size == if accepted.items.is_empty() { 2 } else { 4 } && cluster.generation == 1,
            "{cluster:?}"
        );
        // All new nodes are members: the network commits and all nodes take part.
        run_operation(bed, "/clusters/one/prove").await?;
        bed.orchestrator.cluster_assess(cluster.id, true).await?;
        let assessed = bed.cluster("one").await?;
        ensure!(assessed.health.state == HealthState::Healthy, "{assessed:?}");
        Ok(())
    })
}

#[test]
fn restart_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |bed| create(bed, "default").await)?;
    let node_ids = |fixture: &MemoryFixture, instance: InstanceId| {
        let running = fixture
            .world
            .objects(instance)
            .into_iter()
            .filter(|object| object.kind == ObjectKind::Node);
        running.map(|object| object.id).collect::<Vec<_>>()
    };
    let instance = {
        let server = KillableBed::start(&fixture, 1, CrashPoint::never())?;
        let instance: InstanceId = server.run(async |bed| Ok(bed.instance().await?.parse()?))?;
        server.stop()?;
        instance
    };
    let before = node_ids(&fixture, instance);
    sweep(
        "restart",
        (&fixture, 1),
        8,
        async |bed| run_operation(bed, "/clusters/one/restart").await,
        async |bed| {
            bed.wait_idle().await?;
            let cluster = bed.cluster("one").await?;
            let restarts: Page<Operation> = bed.api.get("/operations?kind=cluster_restart").await?;
            // A restart is stored with the incarnation that it ends, so it happens once, however often it is
            // resumed.
            let expected = 1 + u64::try_from(restarts.items.len())?;
            for (at, id) in before.iter().enumerate() {
                let node = NodeName::parse(&format!("v{at}"))?;
                let incarnation = bed.world.incarnation(&key_of(&cluster), &node);
                ensure!(
                    incarnation
                        .as_ref()
                        .is_some_and(|(found, starts)| found == id && *starts == expected),
                    "{node} has the incarnation {incarnation:?}"
                );
            }
            Ok(())
        },
    )
}

#[test]
fn host_reset_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(2, async |bed| run_operation(bed, "/hosts/h1/fillup").await)?;
    sweep(
        "reset of a host",
        (&fixture, 2),
        10,
        async |bed| run_operation(bed, "/hosts/h1/reset").await,
        async |bed| {
            bed.wait_idle().await?;
            let (clusters, resets): (Vec<Cluster>, Page<Operation>) = (
                bed.clusters().await?,
                bed.api.get("/operations?kind=host_reset").await?,
            );
            ensure!(
                clusters.len() == if resets.items.is_empty() { 2 } else { 0 },
                "{clusters:?} {resets:?}"
            );
            Ok(())
        },
    )
}

/// The create hangs on its image pull until the delete supersedes it.
#[test]
fn delete_during_a_hanging_create_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |_| Ok(()))?;
    fixture.world.always(Verb::EnsureImage, Some(Fault::Hang));
    let server = KillableBed::start(&fixture, 1, CrashPoint::never())?;
    server.run(async |bed| {
        let body = json!({"name": "one", "network_type": ledger::TYPE, "preset": "staged"});
        let create: Operation = bed.api.post("/clusters", body).await?;
        within(LONG, "the hanging step", async || {
            let now: Operation = bed.api.get(&format!("/operations/{}", create.id)).await?;
            let hangs = now
                .steps
                .iter()
                .any(|step| step.started_at.is_some() && step.title.contains("images"));
            Ok(if hangs { Ok(()) } else { Err(format!("{now:?}")) })
        })
        .await
    })?;
    server.kill();
    sweep(
        "delete of a hanging create",
        (&fixture, 1),
        4,
        delete,
        async |bed| {
            // A kill before the delete was accepted leaves no delete: the create continues and succeeds.
            bed.world.always(Verb::EnsureImage, None);
            bed.wait_idle().await?;
            let deletes: Page<Operation> = bed.api.get("/operations?kind=cluster_delete").await?;
            let creates: Page<Operation> = bed.api.get("/operations?kind=cluster_create").await?;
            let expected = if deletes.items.is_empty() {
                OperationState::Succeeded
            } else {
                OperationState::Superseded
            };
            ensure!(
                creates.items.len() == 1 && creates.items[0].state == expected,
                "{creates:?}"
            );
            ensure!(
                bed.clusters().await?.is_empty() != deletes.items.is_empty(),
                "{deletes:?}"
            );
            Ok(())
        },
    )
}
