//! Agents whose answers are lost, listings that hang, hosts that are cut off, nodes that die: what the façade makes of it.

use anyhow::{Context, Result, ensure};
use chainpool_agent::{ClusterId, NodeName, ObjectKind, node_object_name};
use chainpool_agent_memory::{
    Fault, Verb,
    ledger::{self, Answer, Conduct, Request},
};
use chainpool_api::{
    Cluster, ClusterState, HealthState, Host, HostState, Lease, LeaseState, Operation, OperationState, Page,
    StepState,
};
use chainpool_tests::{MemoryBed, MemoryOptions, key_of, within};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(2);

fn node(name: &str) -> NodeName {
    NodeName::parse(name).expect("a node name")
}

async fn one_free(options: MemoryOptions) -> Result<(MemoryBed, Cluster)> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        ..options
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    Ok((bed, cluster))
}

async fn host_when(bed: &MemoryBed, state: HostState) -> Result<Host> {
    within(LONG, &format!("the host {state}"), async || {
        let host: Host = bed.api.get("/hosts/h1").await?;
        Ok(if host.state == state {
            Ok(host)
        } else {
            Err(format!("{host:?}"))
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_end_well_although_answers_of_every_verb_are_lost() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        watchdog: false,
        ..MemoryOptions::default()
    })
    .await?;
    let verbs = [
        Verb::EnsureImage,
        Verb::EnsureNetwork,
        Verb::EnsureNode,
        Verb::EnsureJob,
        Verb::Observe,
        Verb::Incarnation,
        Verb::Dial,
        Verb::DropCluster,
    ];
    let lose = || {
        verbs
            .iter()
            .for_each(|verb| bed.world.next(*verb, Fault::AnswerLost))
    };
    lose();
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "one", "network_type": ledger::TYPE, "preset": "staged"}),
        )
        .await?;
    bed.done(&create).await?;
    for verb in ["reset", "restart", "stop", "start"] {
        lose();
        let operation: Operation = bed.api.ask(&format!("/clusters/one/{verb}")).await?;
        bed.done(&operation).await?;
    }
    let cluster = bed.cluster("one").await?;
    ensure!(
        cluster.generation == 2 && cluster.state == ClusterState::Ready,
        "{cluster:?}"
    );
    lose();
    let delete: Operation = bed.api.delete("/clusters/one").await?;
    bed.done(&delete).await?;
    ensure!(
        verbs.iter().all(|verb| bed.world.calls(*verb) >= 2),
        "a verb was not called"
    );
    verbs.iter().for_each(|verb| bed.world.forget_faults(*verb));
    bed.end().await
}

/// While the platform does not list, the ledger's own word makes the verdict, and nothing is repaired.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_hangs_delays_the_repair_and_not_the_verdict() -> Result<()> {
    let (bed, cluster) = one_free(MemoryOptions::default()).await?;
    bed.world.always(Verb::Observe, Some(Fault::Hang));
    let made = bed.world.calls(Verb::EnsureNode);
    bed.world.set_conduct(
        &key_of(&cluster),
        &node("v1"),
        Conduct {
            silent: true,
            ..Conduct::default()
        },
    );
    let bad = bed
        .judged(
            cluster.id,
            HealthState::Degraded,
            &["v1 runs and does not answer"],
        )
        .await?;
    ensure!(
        !bad.offered && bed.world.calls(Verb::EnsureNode) == made,
        "{bad:?}"
    );
    bed.world
        .set_conduct(&key_of(&cluster), &node("v1"), Conduct::default());
    bed.world.always(Verb::Observe, None);
    let again = bed
        .cluster_when(cluster.id, "offered again", |now| now.offered)
        .await?;
    ensure!(again.generation == 1, "{again:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_cut_off_makes_its_clusters_unknown_and_loses_nothing() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions::default()).await?;
    bed.filled().await?;
    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    let instance = bed.instance().await?.parse()?;
    let before = bed.world.objects(instance);
    bed.world.set_reachable(false);
    host_when(&bed, HostState::Unreachable).await?;
    for cluster in bed.clusters().await? {
        let now = bed.judged(cluster.id, HealthState::Unknown, &["h1"]).await?;
        ensure!(!now.offered, "{now:?}");
    }
    let refused = bed
        .api
        .refused(Method::POST, "/leases", Some(json!({"allow_multiple": true})))
        .await?;
    ensure!(refused.status == StatusCode::CONFLICT, "{refused:?}");
    // A release ends the lease at once; the reset waits for the host.
    let ended: Lease = bed.api.delete(&format!("/leases/{}", lease.id)).await?;
    ensure!(ended.state == LeaseState::Released, "{ended:?}");
    let reset = ended.operation_id.context("a release wipes")?;
    within(LONG, "a reset that waits", async || {
        let now: Operation = bed.api.get(&format!("/operations/{reset}")).await?;
        let waits = now
            .steps
            .iter()
            .any(|step| step.note.as_deref().is_some_and(|note| note.contains("cut off")));
        Ok(if waits { Ok(()) } else { Err(format!("{now:?}")) })
    })
    .await?;
    ensure!(
        bed.world.objects(instance) == before,
        "a host that is cut off was changed"
    );
    bed.world.set_reachable(true);
    host_when(&bed, HostState::Active).await?;
    bed.done(&bed.api.get(&format!("/operations/{reset}")).await?)
        .await?;
    let clusters = bed.all_offered().await?;
    let generations: Vec<_> = clusters
        .iter()
        .map(|c| (c.id == lease.cluster_id, c.generation))
        .collect();
    ensure!(
        generations.contains(&(true, 2)) && generations.contains(&(false, 1)),
        "{generations:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_engine_at_the_address_pauses_the_host() -> Result<()> {
    let (bed, cluster) = one_free(MemoryOptions::default()).await?;
    bed.world.swap_engine();
    bed.orchestrator
        .host_judge(bed.api.get::<Host>("/hosts/h1").await?.id)
        .await?;
    let paused = host_when(&bed, HostState::Paused).await?;
    ensure!(paused.reason.contains("another engine"), "{paused:?}");
    let now = bed.cluster(cluster.id).await?;
    ensure!(!now.offered && now.generation == 1, "{now:?}");
    let refused = bed
        .api
        .refused(Method::PATCH, "/hosts/h1", Some(json!({"paused": false})))
        .await?;
    ensure!(refused.problem.fields.contains_key("address"), "{refused:?}");
    bed.world.swap_back();
    let _: Value = bed.api.patch("/hosts/h1", json!({"paused": false})).await?;
    bed.cluster_when(cluster.id, "offered again", |now| now.offered)
        .await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_started_in_place_and_a_lost_quorum_makes_the_next_generation() -> Result<()> {
    let (bed, cluster) = one_free(MemoryOptions::default()).await?;
    let key = key_of(&cluster);
    let before = bed.world.life(&key, &node("v1")).context("it lives")?;
    bed.world.kill(&key, &node("v1"), 137);
    let repaired = within(LONG, "a new life of v1", async || {
        Ok(bed
            .world
            .life(&key, &node("v1"))
            .filter(|life| *life != before)
            .ok_or_else(|| "none".to_owned()))
    })
    .await?;
    ensure!(
        repaired.0 == before.0 && repaired.1 == before.1 + 1,
        "not in place: {before:?} {repaired:?}"
    );
    bed.cluster_when(cluster.id, "offered again", |now| {
        now.offered && now.generation == 1
    })
    .await?;
    // They run, answer and take no part: there is nothing to be started in place.
    for name in ["v0", "v1"] {
        bed.world.set_conduct(
            &key,
            &node(name),
            Conduct {
                stalled: true,
                ..Conduct::default()
            },
        );
    }
    let fresh = bed
        .cluster_when(cluster.id, "the next generation", |now| {
            now.offered && now.generation == 2
        })
        .await?;
    ensure!(fresh.health.state == HealthState::Healthy, "{fresh:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_cluster_is_repaired_in_place_with_its_data() -> Result<()> {
    let (bed, cluster) = one_free(MemoryOptions::default()).await?;
    let key = key_of(&cluster);
    let _: Lease = bed.api.post("/leases", json!({})).await?;
    let put = Request::Put {
        key: "kept".to_owned(),
        value: "yes".to_owned(),
    };
    let answer = bed.world.ask(&key, &node("v0"), &put);
    ensure!(matches!(answer, Some(Answer::Committed { .. })), "{answer:?}");
    bed.world.kill(&key, &node("v0"), 137);
    bed.world.set_paused(&key, &node("v1"), true);
    bed.world
        .remove(ObjectKind::Node, &node_object_name(&key, &node("v2")));
    bed.cluster_when(cluster.id, "bad", |now| now.health.state != HealthState::Healthy)
        .await?;
    let healed = bed
        .cluster_when(cluster.id, "healthy again", |now| {
            now.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(
        healed.generation == 1 && healed.lease_id.is_some(),
        "an applied cluster was wiped: {healed:?}"
    );
    for name in ["v0", "v1", "v2", "v3"] {
        let found = bed.world.ask(
            &key,
            &node(name),
            &Request::Get {
                key: "kept".to_owned(),
            },
        );
        ensure!(
            matches!(&found, Some(Answer::Entry { value, .. }) if value == "yes"),
            "{name} has {found:?}"
        );
    }
    bed.end().await
}

/// The platform tells so often that the process of v0 has ended; each end is looked into before the next.
async fn dies(bed: &MemoryBed, cluster: &Cluster, times: usize) -> Result<()> {
    for _ in 0..times {
        bed.orchestrator
            .node_died(ClusterId(cluster.id), &node("v0"), 1)
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_again_and_again_makes_its_cluster_broken_with_its_last_lines() -> Result<()> {
    let (bed, cluster) = one_free(MemoryOptions {
        watchdog: false,
        ..MemoryOptions::default()
    })
    .await?;
    let _: Lease = bed.api.post("/leases", json!({})).await?;
    dies(&bed, &cluster, 5).await?;
    let before = bed.cluster(cluster.id).await?;
    ensure!(before.health.state != HealthState::Broken, "{:?}", before.health);
    dies(&bed, &cluster, 1).await?;
    let looped = bed.cluster(cluster.id).await?.health;
    let reason = "v0 ended 6 times within two minutes (crash loop); its last lines: ledger node started";
    ensure!(
        looped.state == HealthState::Broken && looped.reason == reason,
        "{looped:?}"
    );
    // It is said once while that stands: the log of such a node is another one each time.
    let read = bed.world.calls(Verb::Logs);
    dies(&bed, &cluster, 1).await?;
    let still = bed.cluster(cluster.id).await?.health;
    ensure!(
        still.reason == reason && bed.world.calls(Verb::Logs) == read,
        "{still:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_a_node_that_ends_again_and_again_fails_with_its_last_lines() -> Result<()> {
    let (bed, cluster) = one_free(MemoryOptions {
        watchdog: false,
        ..MemoryOptions::default()
    })
    .await?;
    let _: Lease = bed.api.post("/leases", json!({})).await?;
    bed.world.always(Verb::Dial, Some(Fault::Unreachable));
    let restart: Operation = bed.api.ask(&format!("/clusters/{}/restart", cluster.id)).await?;
    within(LONG, "a restart that waits for answers", async || {
        let now: Operation = bed.api.get(&format!("/operations/{}", restart.id)).await?;
        let waits = now
            .steps
            .iter()
            .any(|step| step.title == "wait until the nodes answer" && step.state == StepState::Started);
        Ok(if waits { Ok(()) } else { Err(format!("{now:?}")) })
    })
    .await?;
    dies(&bed, &cluster, 5).await?;
    let waits: Operation = bed.api.get(&format!("/operations/{}", restart.id)).await?;
    ensure!(!waits.state.is_over(), "{waits:?}");
    dies(&bed, &cluster, 1).await?;
    let failed = bed.ended(&restart).await?;
    let why = failed.error.clone().unwrap_or_default();
    ensure!(
        failed.state == OperationState::Failed
            && why.contains("v0 ended 6 times")
            && why.contains("crash loop"),
        "{failed:?}"
    );
    ensure!(why.ends_with("ledger node started"), "{why}");
    bed.world.always(Verb::Dial, None);
    bed.end().await
}

/// A reset makes names with the next generation; they are known before, so that something foreign can wait there.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_with_our_name_is_refused_and_untouched() -> Result<()> {
    let (bed, mut cluster) = one_free(MemoryOptions {
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    for kind in [ObjectKind::Node, ObjectKind::Network, ObjectKind::Volume] {
        let next = chainpool_agent::ClusterKey {
            generation: cluster.generation + 1,
            ..key_of(&cluster)
        };
        let name = match kind {
            ObjectKind::Network => chainpool_agent::network_name(&next),
            ObjectKind::Volume => chainpool_agent::volume_name(&next, &node("v0"), "data"),
            _ => node_object_name(&next, &node("v0")),
        };
        bed.world.foreign_make(kind, &name, None);
        let look = bed.world.foreign_look(kind, &name);
        let reset: Operation = bed.api.ask(&format!("/clusters/{}/reset", cluster.id)).await?;
        let reset = bed.ended(&reset).await?;
        ensure!(
            reset.state == OperationState::Failed
                && reset.error.as_deref().is_some_and(|why| why.contains(&name)),
            "{kind:?}: {reset:?}"
        );
        ensure!(
            bed.world.foreign_look(kind, &name) == look && look.is_some(),
            "{kind:?} was touched"
        );
        ensure!(bed.cluster(cluster.id).await?.state == ClusterState::Failed);
        bed.world.remove(kind, &name);
        let again: Operation = bed.api.ask(&format!("/clusters/{}/reset", cluster.id)).await?;
        bed.done(&again).await?;
        cluster = bed.cluster(cluster.id).await?;
    }
    bed.end().await
}

/// Chainpool looked before somebody else took the addresses: the cluster is made all the same, at another place.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_addresses_are_taken_at_the_last_moment_goes_to_others() -> Result<()> {
    // Without a watchdog nothing looks again.
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        watchdog: false,
        ..MemoryOptions::default()
    })
    .await?;
    bed.world
        .foreign_make(ObjectKind::Network, "foreign", Some("10.213.0.0/26".parse()?));
    bed.world.set_port_taken(20_000, true);
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "one", "network_type": ledger::TYPE, "preset": "default"}),
        )
        .await?;
    bed.done(&create).await?;
    let made = bed.cluster("one").await?;
    let addresses: Vec<_> = made
        .nodes
        .iter()
        .flat_map(|node| &node.endpoints)
        .map(|endpoint| endpoint.address.clone())
        .collect();
    ensure!(
        made.generation > 1 && addresses.len() == 4 && !addresses.contains(&"127.0.0.1:20000".to_owned()),
        "{made:?}"
    );
    ensure!(
        bed.world.foreign_look(ObjectKind::Network, "foreign").is_some(),
        "the foreign network is gone"
    );
    let creates: Page<Operation> = bed.api.get("/operations?kind=cluster_create").await?;
    ensure!(creates.items.len() == 1, "{creates:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ends_badly_fails_its_cluster_with_its_last_words() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        ..MemoryOptions::default()
    })
    .await?;
    let body = json!({"name": "one", "network_type": ledger::TYPE, "preset": "staged", "parameters": {"job_code": 7}});
    let create: Operation = bed.api.post("/clusters", body).await?;
    let failed = bed.ended(&create).await?;
    let why = failed.error.clone().unwrap_or_default();
    ensure!(
        why.contains("job setup ended with 7") && why.contains("setup done"),
        "{failed:?}"
    );
    let nodes = bed
        .world
        .objects(bed.instance().await?.parse()?)
        .into_iter()
        .filter(|object| object.kind == ObjectKind::Node);
    ensure!(nodes.count() == 0, "a node was made all the same");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_clusters_get_sixty_subnets() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 60,
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    let clusters = bed.filled().await?;
    ensure!(
        clusters.len() == 60 && clusters.iter().all(|c| c.offered),
        "{} clusters",
        clusters.len()
    );
    let subnets: std::collections::BTreeSet<_> = bed
        .world
        .subnets(bed.instance().await?.parse()?)
        .into_iter()
        .collect();
    ensure!(subnets.len() == 60, "{subnets:?}");
    bed.end().await
}
