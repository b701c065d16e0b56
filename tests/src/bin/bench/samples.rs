//! Creation time of the test network of fabric-samples with the same nodes: `network.sh up createChannel`.
//!
//! `FABRIC_SAMPLES` names a checkout prepared by its `install-fabric.sh`: programs in `bin`, images on the
//! engine.

use crate::{
    fabric::body,
    pool::Pool,
    report::{Bar, Row, median},
};
use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptions};
use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};
use tokio::process::Command;

const ROUNDS: usize = 3;

/// Measures both in turns. Returns nothing without a checkout.
pub(crate) async fn measure(pool: &Pool) -> Result<Option<Row>> {
    let Some(samples) = env::var_os("FABRIC_SAMPLES").map(PathBuf::from) else {
        eprintln!("not run: comparison with fabric-samples; set FABRIC_SAMPLES to a checkout");
        return Ok(None);
    };
    let network = samples.join("test-network");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (cluster, seconds) = pool.create_of(body("standard", &[])).await?;
        ours.push(seconds);
        pool.delete(cluster.id).await?;
        // Each round has its own volumes and network, because not every version of compose removes them.
        let project = format!("chainpool-bench-{}-{round}", std::process::id());
        let since = Instant::now();
        let up = script(&network, &project, &["up", "createChannel"]).await;
        theirs.push(since.elapsed().as_secs_f64());
        let down = script(&network, &project, &["down"]).await;
        leftovers_remove(pool, &project).await?;
        up.and(down)?;
    }
    let (own, sample) = (median(&ours), median(&theirs));
    let row = Row::new(
        "fabric, times faster than fabric-samples' test network",
        sample / own,
        "",
    )
    .bar(Bar::AtLeast(5.0));
    let note = format!(
        "the same nodes and one channel: {sample:.2} s by `network.sh up createChannel`, {own:.2} s until ready with its proof"
    );
    Ok(Some(row.note(note)))
}

async fn script(network: &Path, project: &str, arguments: &[&str]) -> Result<()> {
    let script = network.join("network.sh");
    let mut command = Command::new(&script);
    command
        .args(arguments)
        .current_dir(network)
        .env("COMPOSE_PROJECT_NAME", project)
        .stdin(Stdio::null());
    let output = command
        .output()
        .await
        .with_context(|| format!("cannot run {}", script.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().take(5).collect::<Vec<_>>().join(" < ");
    ensure!(
        output.status.success(),
        "{} {arguments:?}: {}: {last}",
        script.display(),
        output.status
    );
    Ok(())
}

async fn leftovers_remove(pool: &Pool, project: &str) -> Result<()> {
    let filters = HashMap::from([("label", vec![format!("com.docker.compose.project={project}")])]);
    let docker = pool.engine.docker();
    let listed = docker
        .list_volumes(Some(ListVolumesOptionsBuilder::new().filters(&filters).build()))
        .await?;
    for volume in listed.volumes.unwrap_or_default() {
        docker
            .remove_volume(&volume.name, None::<RemoveVolumeOptions>)
            .await?;
    }
    for network in docker
        .list_networks(Some(ListNetworksOptionsBuilder::new().filters(&filters).build()))
        .await?
    {
        docker
            .remove_network(&network.id.context("a network has an id")?)
            .await?;
    }
    Ok(())
}
