//! Faults on the platform in memory: lost responses, hanging list calls, unreachable hosts, dead nodes.

use anyhow::{Context, Result, ensure};
use chainpool_agent::{NodeName, ObjectKind, node_object_name};
use chainpool_agent_memory::{
    Fault, Verb,
    ledger::{self, Answer, NodeBehavior, Request},
};
use chainpool_api::{
    Cluster, ClusterState, HealthState, Host, HostState, Lease, LeaseState, Operation, OperationState, Page,
};
use chainpool_health::HealthPolicy;
use chainpool_tests::{MemoryBed, MemoryOptions, key_of, within};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than any step here takes on a busy machine.
const LONG: Duration = Duration::from_mins(2);

pub(super) fn node(name: &str) -> NodeName {
    NodeName::parse(name).expect("a node name")
}

pub(super) async fn one_free_cluster(options: MemoryOptions) -> Result<(MemoryBed, Cluster)> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        ..options
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
    Ok((bed, cluster))
}

async fn wait_for_host(bed: &MemoryBed, state: HostState) -> Result<Host> {
    within(LONG, &format!("the host to be {state}"), async || {
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
async fn operations_succeed_when_responses_of_every_verb_are_lost() -> Result<()> {
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
            .for_each(|verb| bed.world.next(*verb, Fault::AnswerLost));
    };
    lose();
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "one", "network_type": ledger::TYPE, "preset": "staged"}),
        )
        .await?;
    bed.wait_succeeded(&create).await?;
    for verb in ["reset", "restart", "stop", "start"] {
        lose();
        let operation: Operation = bed.api.post_empty(&format!("/clusters/one/{verb}")).await?;
        bed.wait_succeeded(&operation).await?;
    }
    let cluster = bed.cluster("one").await?;
    ensure!(
        cluster.generation == 2 && cluster.state == ClusterState::Ready,
        "{cluster:?}"
    );
    lose();
    let delete: Operation = bed.api.delete("/clusters/one").await?;
    bed.wait_succeeded(&delete).await?;
    ensure!(
        verbs.iter().all(|verb| bed.world.calls(*verb) >= 2),
        "a verb was not called"
    );
    verbs.iter().for_each(|verb| bed.world.clear_faults(*verb));
    bed.end().await
}

/// While the list call hangs, the ledger's own evidence determines the health state, and nothing is repaired.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_list_call_delays_the_repair_but_not_the_health_state() -> Result<()> {
    let (bed, cluster) = one_free_cluster(MemoryOptions::default()).await?;
    bed.world.always(Verb::Observe, Some(Fault::Hang));
    let calls = bed.world.calls(Verb::EnsureNode);
    bed.world.set_behavior(
        &key_of(&cluster),
        &node("v1"),
        NodeBehavior {
            unresponsive: true,
            ..NodeBehavior::default()
        },
    );
    let bad = bed
        .wait_for_health(
            cluster.id,
            HealthState::Degraded,
            &["v1 is running but unresponsive"],
        )
        .await?;
    ensure!(
        !bad.offered && bed.world.calls(Verb::EnsureNode) == calls,
        "{bad:?}"
    );
    bed.world
        .set_behavior(&key_of(&cluster), &node("v1"), NodeBehavior::default());
    bed.world.always(Verb::Observe, None);
    let again = bed
        .wait_for_cluster(cluster.id, "offered again", |now| now.offered)
        .await?;
    ensure!(again.generation == 1, "{again:?}");
    bed.end().await
}

/// An inventory that lags further behind than usual does not delay the start of an exited node.
#[tokio::test(flavor = "multi_thread")]
async fn an_exited_node_is_started_although_the_inventory_shows_it_as_running() -> Result<()> {
    let mut health = HealthPolicy::default();
    // Ten times this is the limit for the assessment, also on a busy machine.
    health.assessment.inventory_lag = Duration::from_secs(3);
    let (bed, cluster) = one_free_cluster(MemoryOptions {
        health,
        ..MemoryOptions::default()
    })
    .await?;
    bed.world.set_stale(true);
    let (key, exited) = (key_of(&cluster), node("v1"));
    bed.world.kill(&key, &exited, 137);
    // The watch of the host may not be established yet.
    bed.orchestrator.node_died(key.cluster, &exited, 137);
    let repair = within(LONG, "a repair", async || {
        let repairs: Page<Operation> = bed.api.get("/operations?kind=cluster_repair").await?;
        Ok(repairs
            .items
            .into_iter()
            .next()
            .ok_or_else(|| "there is none".to_owned()))
    })
    .await?;
    ensure!(repair.reason.contains("v1 exited 137"), "{repair:?}");
    bed.wait_succeeded(&repair).await?;
    bed.world.set_stale(false);
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_host_makes_its_clusters_unknown_and_loses_nothing() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions::default()).await?;
    bed.fill().await?;
    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    let instance = bed.instance().await?.parse()?;
    let before = bed.world.objects(instance);
    bed.world.set_reachable(false);
    wait_for_host(&bed, HostState::Unreachable).await?;
    for cluster in bed.clusters().await? {
        let now = bed
            .wait_for_health(cluster.id, HealthState::Unknown, &["h1"])
            .await?;
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
    let reset = ended.operation_id.context("a release starts a reset")?;
    within(LONG, "a reset that waits for the host", async || {
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
        "an unreachable host was changed"
    );
    bed.world.set_reachable(true);
    wait_for_host(&bed, HostState::Active).await?;
    bed.wait_succeeded(&bed.api.get(&format!("/operations/{reset}")).await?)
        .await?;
    let clusters = bed.wait_all_offered().await?;
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
    let (bed, cluster) = one_free_cluster(MemoryOptions::default()).await?;
    bed.world.swap_engine();
    bed.orchestrator
        .host_assess(bed.api.get::<Host>("/hosts/h1").await?.id)
        .await?;
    let paused = wait_for_host(&bed, HostState::Paused).await?;
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
    bed.wait_for_cluster(cluster.id, "offered again", |now| now.offered)
        .await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_restarted_in_place_and_a_lost_quorum_resets_the_cluster() -> Result<()> {
    let (bed, cluster) = one_free_cluster(MemoryOptions::default()).await?;
    let key = key_of(&cluster);
    let before = bed
        .world
        .incarnation(&key, &node("v1"))
        .context("v1 has no incarnation")?;
    bed.world.kill(&key, &node("v1"), 137);
    let repaired = within(LONG, "a restart of v1", async || {
        Ok(bed
            .world
            .incarnation(&key, &node("v1"))
            .filter(|incarnation| *incarnation != before)
            .ok_or_else(|| "none".to_owned()))
    })
    .await?;
    ensure!(
        repaired.0 == before.0 && repaired.1 == before.1 + 1,
        "not in place: {before:?} {repaired:?}"
    );
    bed.wait_for_cluster(cluster.id, "offered again", |now| {
        now.offered && now.generation == 1
    })
    .await?;
    // The nodes run and answer but do not take part, so a restart in place does not apply.
    for name in ["v0", "v1"] {
        bed.world.set_behavior(
            &key,
            &node(name),
            NodeBehavior {
                stalled: true,
                ..NodeBehavior::default()
            },
        );
    }
    let fresh = bed
        .wait_for_cluster(cluster.id, "the next generation", |now| {
            now.offered && now.generation == 2
        })
        .await?;
    ensure!(fresh.health.state == HealthState::Healthy, "{fresh:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leased_cluster_is_repaired_in_place_with_its_data() -> Result<()> {
    let (bed, cluster) = one_free_cluster(MemoryOptions::default()).await?;
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
    bed.wait_for_cluster(cluster.id, "bad", |now| now.health.state != HealthState::Healthy)
        .await?;
    let healed = bed
        .wait_for_cluster(cluster.id, "healthy again", |now| {
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

/// A reset uses the next generation's names. They are predictable, so a foreign object can already have them.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_with_our_name_fails_the_reset_and_stays_untouched() -> Result<()> {
    let (bed, mut cluster) = one_free_cluster(MemoryOptions {
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
        bed.world.foreign_create(kind, &name, None);
        let foreign = bed.world.foreign_state(kind, &name);
        let reset: Operation = bed
            .api
            .post_empty(&format!("/clusters/{}/reset", cluster.id))
            .await?;
        let reset = bed.wait_ended(&reset).await?;
        ensure!(
            reset.state == OperationState::Failed
                && reset.error.as_deref().is_some_and(|why| why.contains(&name)),
            "{kind:?}: {reset:?}"
        );
        ensure!(
            bed.world.foreign_state(kind, &name) == foreign && foreign.is_some(),
            "{kind:?} was touched"
        );
        ensure!(bed.cluster(cluster.id).await?.state == ClusterState::Failed);
        bed.world.remove(kind, &name);
        let again: Operation = bed
            .api
            .post_empty(&format!("/clusters/{}/reset", cluster.id))
            .await?;
        bed.wait_succeeded(&again).await?;
        cluster = bed.cluster(cluster.id).await?;
    }
    bed.end().await
}

/// The addresses are taken after Chainpool listed the resources in use. The cluster is created with others.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_gets_other_addresses_when_its_own_are_taken_at_the_last_moment() -> Result<()> {
    // Without a watchdog the list is not refreshed.
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        watchdog: false,
        ..MemoryOptions::default()
    })
    .await?;
    bed.world
        .foreign_create(ObjectKind::Network, "foreign", Some("10.213.0.0/26".parse()?));
    bed.world.set_port_in_use(20_000, true);
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "one", "network_type": ledger::TYPE, "preset": "default"}),
        )
        .await?;
    bed.wait_succeeded(&create).await?;
    let created = bed.cluster("one").await?;
    let addresses: Vec<_> = created
        .nodes
        .iter()
        .flat_map(|node| &node.endpoints)
        .map(|endpoint| endpoint.address.clone())
        .collect();
    ensure!(
        created.generation > 1 && addresses.len() == 4 && !addresses.contains(&"127.0.0.1:20000".to_owned()),
        "{created:?}"
    );
    ensure!(
        bed.world.foreign_state(ObjectKind::Network, "foreign").is_some(),
        "the foreign network is gone"
    );
    let page: Page<Operation> = bed.api.get("/operations?kind=cluster_create").await?;
    ensure!(page.items.len() == 1, "{page:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_fails_its_cluster_with_its_last_log_lines() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        ..MemoryOptions::default()
    })
    .await?;
    let body = json!({"name": "one", "network_type": ledger::TYPE, "preset": "staged", "parameters": {"job_code": 7}});
    let create: Operation = bed.api.post("/clusters", body).await?;
    let failed = bed.wait_ended(&create).await?;
    let why = failed.error.clone().unwrap_or_default();
    ensure!(
        why.contains("job setup exited with 7") && why.contains("setup done"),
        "{failed:?}"
    );
    let nodes = bed
        .world
        .objects(bed.instance().await?.parse()?)
        .into_iter()
        .filter(|object| object.kind == ObjectKind::Node);
    ensure!(
        nodes.count() == 0,
        "a node was created in spite of the failed job"
    );
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
    let clusters = bed.fill().await?;
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
