//! A Chainpool that dies before and after every commit of a change: the next start ends every operation, and the platform
//! is what the database says, object by object.
//!
//! Each point begins with a copy of one prepared data folder and world, so that points share nothing.

use anyhow::{Context, Result, ensure};
use chainpool_agent::{InstanceId, NodeName, ObjectKind};
use chainpool_agent_memory::{Fault, Verb, ledger};
use chainpool_api::{Cluster, HealthState, Lease, Operation, OperationState, Page};
use chainpool_tests::{CrashPoint, Ending, Life, MemoryBed, MemoryFixture, Side, key_of, within};
use serde_json::json;
use std::time::Duration;

const LONG: Duration = Duration::from_mins(2);

/// A folder and a world on which this was done.
fn prepared(capacity: u32, prepare: impl AsyncFnOnce(&MemoryBed) -> Result<()>) -> Result<MemoryFixture> {
    let fixture = MemoryFixture::new()?;
    let life = Life::start(&fixture, capacity, CrashPoint::never())?;
    life.run(prepare).context("the preparation")?;
    life.stop()?;
    Ok(fixture)
}

/// Does a change on copies of a fixture, killed at one point after the other until it comes to its end unharmed. `recover`
/// sees to what the next start cannot know, and checks what came of it; then all must be settled.
#[expect(
    clippy::needless_pass_by_value,
    reason = "each caller writes its closures down where it calls"
)]
fn sweep(
    name: &str,
    (fixture, capacity): (&MemoryFixture, u32),
    least: usize,
    change: impl AsyncFn(&MemoryBed) -> Result<()>,
    recover: impl AsyncFn(&MemoryBed) -> Result<()>,
) -> Result<()> {
    let mut killed = 0;
    'points: for commit in 1.. {
        for side in [Side::Before, Side::After] {
            let at = || format!("killed {side:?} commit {commit} of {name}");
            let copy = fixture.copy()?;
            let life = Life::start(&copy, capacity, CrashPoint::at(commit, side)).with_context(at)?;
            let ending = life.run_armed(&change).with_context(at)?;
            match ending {
                Ending::Killed => life.kill(),
                Ending::Ended => life.stop().with_context(at)?,
            }
            let life = Life::start(&copy, capacity, CrashPoint::never()).with_context(at)?;
            life.run(async |bed| {
                recover(bed).await?;
                bed.settled().await.map(drop)
            })
            .with_context(at)?;
            life.stop_and_compare(&copy).with_context(at)?;
            match ending {
                Ending::Killed => killed += 1,
                Ending::Ended => break 'points,
            }
        }
    }
    println!("{name}: killed {killed} times, 0 orphans, 0 duplicates");
    ensure!(killed >= 2 * least, "only {killed} points were found");
    Ok(())
}

async fn created(bed: &MemoryBed, preset: &str) -> Result<()> {
    let body = json!({"name": "one", "network_type": ledger::TYPE, "preset": preset});
    let create: Operation = bed.api.post("/clusters", body).await?;
    bed.done(&create).await.map(drop)
}

async fn asked(bed: &MemoryBed, path: &str) -> Result<()> {
    let operation: Operation = bed.api.ask(path).await?;
    bed.done(&operation).await.map(drop)
}

async fn deleted(bed: &MemoryBed) -> Result<()> {
    let delete: Operation = bed.api.delete("/clusters/one").await?;
    bed.done(&delete).await.map(drop)
}

/// A ledger that boots in phases has every kind of step: a job, starts, a wait for answers, actions, a proof.
#[test]
fn create_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |_| Ok(()))?;
    sweep(
        "create",
        (&fixture, 1),
        25,
        async |bed| created(bed, "staged").await,
        async |bed| {
            bed.idle().await?;
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
    let fixture = prepared(1, async |bed| created(bed, "staged").await)?;
    sweep(
        "reset",
        (&fixture, 1),
        25,
        async |bed| asked(bed, "/clusters/one/reset").await,
        async |bed| {
            bed.idle().await?;
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
        created(bed, "default").await?;
        bed.all_offered().await?;
        bed.api.post::<Lease>("/leases", json!({})).await.map(drop)
    })?;
    let release = async |bed: &MemoryBed| {
        let leases: Page<Lease> = bed.api.get("/leases?state=active").await?;
        bed.released(leases.items.first().context("there is a lease")?)
            .await
            .map(drop)
    };
    sweep("release", (&fixture, 1), 15, release, async |bed| {
        bed.idle().await?;
        let active: Page<Lease> = bed.api.get("/leases?state=active").await?;
        let cluster = bed.cluster("one").await?;
        // The end of the lease and the reset are one commit.
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
        async |bed| asked(bed, "/hosts/h1/fillup").await,
        async |bed| {
            bed.idle().await?;
            let clusters = bed.clusters().await?;
            ensure!(clusters.is_empty() || clusters.len() == 2, "{clusters:?}");
            Ok(())
        },
    )
}

#[test]
fn delete_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |bed| created(bed, "staged").await)?;
    sweep("delete", (&fixture, 1), 5, deleted, async |_| Ok(()))
}

#[test]
fn amend_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |bed| created(bed, "staged").await)?;
    let amend = async |bed: &MemoryBed| {
        let amend: Operation = bed
            .api
            .post("/clusters/one/amend", json!({"parameters": {"nodes": 4}}))
            .await?;
        bed.done(&amend).await.map(drop)
    };
    sweep("amend", (&fixture, 1), 18, amend, async |bed| {
        bed.idle().await?;
        let accepted: Page<Operation> = bed.api.get("/operations?kind=cluster_amend").await?;
        let cluster = bed.cluster("one").await?;
        ensure!(
            cluster.size == if accepted.items.is_empty() { 2 } else { 4 } && cluster.generation == 1,
            "{cluster:?}"
        );
        // All that it has grown by are members: it commits, and all of them take part.
        asked(bed, "/clusters/one/prove").await?;
        bed.orchestrator.cluster_judge(cluster.id, true).await?;
        let judged = bed.cluster("one").await?;
        ensure!(judged.health.state == HealthState::Healthy, "{judged:?}");
        Ok(())
    })
}

#[test]
fn restart_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |bed| created(bed, "default").await)?;
    let lives = |fixture: &MemoryFixture, instance: InstanceId| {
        let running = fixture
            .world
            .objects(instance)
            .into_iter()
            .filter(|object| object.kind == ObjectKind::Node);
        running.map(|object| object.id).collect::<Vec<_>>()
    };
    let instance = {
        let life = Life::start(&fixture, 1, CrashPoint::never())?;
        let instance: InstanceId = life.run(async |bed| Ok(bed.instance().await?.parse()?))?;
        life.stop()?;
        instance
    };
    let before = lives(&fixture, instance);
    sweep(
        "restart",
        (&fixture, 1),
        8,
        async |bed| asked(bed, "/clusters/one/restart").await,
        async |bed| {
            bed.idle().await?;
            let cluster = bed.cluster("one").await?;
            let restarts: Page<Operation> = bed.api.get("/operations?kind=cluster_restart").await?;
            // A restart is written down with the life that it ends: however often it is taken up, it happens once.
            let wanted = 1 + u64::try_from(restarts.items.len())?;
            for (at, id) in before.iter().enumerate() {
                let node = NodeName::parse(&format!("v{at}"))?;
                let life = bed.world.life(&key_of(&cluster), &node);
                ensure!(
                    life.as_ref()
                        .is_some_and(|(found, life)| found == id && *life == wanted),
                    "{node} has the life {life:?}"
                );
            }
            Ok(())
        },
    )
}

#[test]
fn reset_of_a_host_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(2, async |bed| asked(bed, "/hosts/h1/fillup").await)?;
    sweep(
        "reset of a host",
        (&fixture, 2),
        10,
        async |bed| asked(bed, "/hosts/h1/reset").await,
        async |bed| {
            bed.idle().await?;
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

/// The create hangs on its image until the delete supersedes it.
#[test]
fn delete_of_a_create_that_hangs_survives_a_kill_at_every_commit() -> Result<()> {
    let fixture = prepared(1, async |_| Ok(()))?;
    fixture.world.always(Verb::EnsureImage, Some(Fault::Hang));
    let life = Life::start(&fixture, 1, CrashPoint::never())?;
    life.run(async |bed| {
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
    life.kill();
    sweep(
        "delete of a hanging create",
        (&fixture, 1),
        4,
        deleted,
        async |bed| {
            // Killed before the delete was accepted, nothing was asked for yet: the create goes on, and ends well.
            bed.world.always(Verb::EnsureImage, None);
            bed.idle().await?;
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
