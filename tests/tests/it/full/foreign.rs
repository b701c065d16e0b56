//! Foreign objects are never touched.

use anyhow::{Result, ensure};
use chainpool_api::{Cluster, ClusterState, Operation, OperationState};
use chainpool_tests::{Bed, Engine, Foreign, Options};
use serde_json::json;
use tokio::net::TcpListener;

/// A reset uses the next generation's names. They are predictable, so a foreign object can already have them.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_with_our_name_fails_the_reset_and_stays_untouched() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    })
    .await?;
    let mut cluster = bed.fill().await?.remove(0);
    for kind in ["container", "network", "volume"] {
        let mut next = cluster.clone();
        next.generation += 1;
        let mut foreign = Foreign::default();
        let taken = match kind {
            "container" => {
                let name = Engine::container(&next, "v0");
                foreign
                    .containers
                    .insert(bed.engine.foreign_container(&name).await?);
                name
            }
            "network" => {
                let name = Engine::network(&next);
                foreign.networks.insert(bed.engine.foreign_network(&name).await?);
                name
            }
            _ => {
                let volume = bed.engine.volumes_of(cluster.id).await?.remove(0);
                let name = volume.replacen(&Engine::network(&cluster), &Engine::network(&next), 1);
                foreign.volumes.insert(bed.engine.foreign_volume(&name).await?);
                name
            }
        };
        let reset: Operation = bed
            .api
            .post_empty(&format!("/clusters/{}/reset", cluster.id))
            .await?;
        let reset = bed.wait_ended(&reset).await?;
        ensure!(
            reset.state == OperationState::Failed
                && reset.error.as_deref().is_some_and(|e| e.contains(&taken)),
            "{kind}: {reset:?}"
        );
        let failed = bed.cluster(cluster.id).await?;
        ensure!(failed.state == ClusterState::Failed, "{failed:?}");
        bed.engine.remove_foreign(&foreign).await?;
        let again: Operation = bed
            .api
            .post_empty(&format!("/clusters/{}/reset", cluster.id))
            .await?;
        bed.wait_succeeded(&again).await?;
        cluster = bed.cluster(cluster.id).await?;
    }
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_reset_leaves_other_installations_alone() -> Result<()> {
    let (one, two) = (
        Bed::start(Options {
            capacity: 1,
            validators: 1,
            ..Options::default()
        })
        .await?,
        Bed::start(Options {
            capacity: 1,
            validators: 1,
            ..Options::default()
        })
        .await?,
    );
    one.fill().await?;
    let other = two.fill().await?.remove(0);
    // Maintenance prevents repairs, so any change comes from the reset.
    let _: Cluster = two
        .api
        .patch(
            &format!("/clusters/{}", other.id),
            json!({"maintenance_seconds": 600}),
        )
        .await?;
    let theirs = two.engine.objects_of(&two.instance().await?).await?;
    let reset: Operation = one.api.post_empty("/hosts/h1/reset").await?;
    one.wait_succeeded(&reset).await?;
    ensure!(
        two.engine.objects_of(&two.instance().await?).await? == theirs,
        "objects of another installation changed"
    );
    let prove: Operation = two
        .api
        .post_empty(&format!("/clusters/{}/prove", other.id))
        .await?;
    two.wait_succeeded(&prove).await?;
    one.end().await?;
    two.end().await
}

/// The addresses are taken after Chainpool listed the resources in use. The cluster is created with others.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_gets_other_addresses_when_its_own_are_taken_at_the_last_moment() -> Result<()> {
    // Without a watchdog the list is not refreshed.
    let bed = Bed::start(Options {
        capacity: 1,
        validators: 1,
        watchdog: false,
        ..Options::default()
    })
    .await?;
    let (port, subnet) = bed.resources.first();
    let mut foreign = Foreign::default();
    let name = format!("foreign-{}", bed.instance().await?);
    foreign
        .networks
        .insert(bed.engine.foreign_network_on(&name, &subnet).await?);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let create: Operation = bed.api.post("/clusters", json!({"preset": "single"})).await?;
    let done = bed.wait_succeeded(&create).await?;
    ensure!(done.steps.iter().all(|step| step.note.is_none()), "{done:?}");
    let cluster = bed.clusters().await?.remove(0);
    ensure!(
        cluster.generation == 3 && cluster.state == ClusterState::Ready,
        "expected one retry for the network and one for the port: {cluster:?}"
    );
    let ours = bed.engine.subnets(&bed.instance().await?).await?;
    ensure!(ours.len() == 1 && ours[0] != subnet, "{ours:?}");
    drop(listener);
    bed.engine.remove_foreign(&foreign).await?;
    bed.end().await
}
