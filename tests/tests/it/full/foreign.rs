//! Nothing foreign is ever touched.

use anyhow::{Result, ensure};
use chainpool_api::{Cluster, ClusterState, Operation, OperationState};
use chainpool_tests::{Bed, Engine, Foreign, Options};
use serde_json::json;
use tokio::net::TcpListener;

/// A reset makes names with the next generation; they are known before, so that something foreign can wait there.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_somebody_else_with_our_name_is_refused_and_untouched() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    })
    .await?;
    let mut cluster = bed.filled().await?.remove(0);
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
        let reset: Operation = bed.api.ask(&format!("/clusters/{}/reset", cluster.id)).await?;
        let reset = bed.ended(&reset).await?;
        ensure!(
            reset.state == OperationState::Failed
                && reset.error.as_deref().is_some_and(|e| e.contains(&taken)),
            "{kind}: {reset:?}"
        );
        let failed = bed.cluster(cluster.id).await?;
        ensure!(failed.state == ClusterState::Failed, "{failed:?}");
        bed.engine.remove_foreign(&foreign).await?;
        let again: Operation = bed.api.ask(&format!("/clusters/{}/reset", cluster.id)).await?;
        bed.done(&again).await?;
        cluster = bed.cluster(cluster.id).await?;
    }
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_a_host_leaves_other_installations_alone() -> Result<()> {
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
    one.filled().await?;
    let other = two.filled().await?.remove(0);
    // Nobody mends it meanwhile: what changes is somebody's doing.
    let _: Cluster = two
        .api
        .patch(
            &format!("/clusters/{}", other.id),
            json!({"maintenance_seconds": 600}),
        )
        .await?;
    let theirs = two.engine.ours(&two.instance().await?).await?;
    let reset: Operation = one.api.ask("/hosts/h1/reset").await?;
    one.done(&reset).await?;
    ensure!(
        two.engine.ours(&two.instance().await?).await? == theirs,
        "objects of another installation changed"
    );
    let prove: Operation = two.api.ask(&format!("/clusters/{}/prove", other.id)).await?;
    two.done(&prove).await?;
    one.end().await?;
    two.end().await
}

/// Chainpool looked before somebody else took the addresses: the cluster is made all the same, at another place.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_addresses_are_taken_at_the_last_moment_goes_to_others() -> Result<()> {
    // Without a watchdog nobody looks again.
    let bed = Bed::start(Options {
        capacity: 1,
        validators: 1,
        watchdog: false,
        ..Options::default()
    })
    .await?;
    let (port, subnet) = bed.ground.first();
    let mut foreign = Foreign::default();
    let name = format!("somebody-elses-{}", bed.instance().await?);
    foreign
        .networks
        .insert(bed.engine.foreign_network_on(&name, &subnet).await?);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let create: Operation = bed.api.post("/clusters", json!({"preset": "single"})).await?;
    let done = bed.done(&create).await?;
    ensure!(done.steps.iter().all(|step| step.note.is_none()), "{done:?}");
    let cluster = bed.clusters().await?.remove(0);
    ensure!(
        cluster.generation == 3 && cluster.state == ClusterState::Ready,
        "one for the network, one for the port: {cluster:?}"
    );
    let ours = bed.engine.subnets(&bed.instance().await?).await?;
    ensure!(ours.len() == 1 && ours[0] != subnet, "{ours:?}");
    drop(listener);
    bed.engine.remove_foreign(&foreign).await?;
    bed.end().await
}
