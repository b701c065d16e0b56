//! What happens is told, seen and read.

use crate::yard::{RUN, STAY, connection, eventually, key, node, yard};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{
    Agent, LogQuery, NodeState, PlatformKind, SwarmRole, Wake, WakeStream, node_object_name,
};
use chainpool_agent_docker::DockerAgent;
use futures::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

async fn until(stream: &mut WakeStream, wanted: &Wake) -> Result<()> {
    timeout(SOON, async {
        loop {
            let wake = stream.next().await.context("the stream ended")?;
            if wake == *wanted {
                return Ok(());
            }
        }
    })
    .await?
}

#[test]
fn a_killed_node_is_told_and_seen() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", STAY));
        let mut wakes = yard.agent.watch();
        ensure!(
            timeout(SOON, wakes.next()).await? == Some(Wake::Connected),
            "first of all it is connected"
        );
        yard.start(&key, &node).await?;
        until(&mut wakes, &Wake::Changed(key.cluster)).await?;
        // By hand, so that the engine does not start it again.
        yard.docker
            .kill_container(&node_object_name(&key, &node.name), None)
            .await?;
        until(
            &mut wakes,
            &Wake::Died {
                cluster: key.cluster,
                node: node.name.clone(),
                code: 137,
            },
        )
        .await?;
        until(&mut wakes, &Wake::Changed(key.cluster)).await?;
        yard.eventually_is(&key, &node, NodeState::Exited(137)).await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_lost_engine_is_told_with_its_reason() {
    yard(async |_| {
        let mut nowhere = connection(chainpool_agent::InstanceId::new());
        nowhere.address = "unix:///nowhere/docker.sock".into();
        let wakes: Vec<_> = DockerAgent::connect(&nowhere)?.watch().collect().await;
        ensure!(
            matches!(&wakes[..], [Wake::Lost(why)] if why.contains("/nowhere/docker.sock")),
            "{wakes:?}"
        );
        Ok(())
    });
}

#[test]
fn a_followed_log_ends_with_its_node() {
    yard(async |yard| {
        let wait = "while [ ! -e /data/go ]; do busybox usleep 10000; done; echo go";
        let (key, node) = (key(), node("v0", &format!("{wait}; {STAY}")));
        yard.start(&key, &node).await?;
        let follow = LogQuery {
            tail: Some(0),
            follow: true,
            ..LogQuery::default()
        };
        let mut follow = yard.agent.logs(&key, &node.name, follow).await?;
        ensure!(
            timeout(Duration::from_millis(100), follow.next()).await.is_err(),
            "nothing is written yet"
        );
        yard.put(&key, &node, "go").await?;
        let line = timeout(SOON, follow.next()).await?.context("a line")??;
        ensure!(&line.bytes[..] == b"go\n", "{line:?}");
        yard.ensure(&key, &node, &chainpool_agent::Power::Off).await?;
        ensure!(timeout(SOON, follow.next()).await?.is_none(), "it goes on");
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_probe_tells_the_engine_as_it_is() {
    yard(async |yard| {
        let probe = yard.agent.probe().await?;
        let info = yard.docker.info().await?;
        ensure!(
            Some(&probe.engine_id) == info.id.as_ref() && Some(&probe.name) == info.name.as_ref(),
            "{probe:?}"
        );
        ensure!(
            !probe.version.is_empty() && !probe.api_version.is_empty() && !probe.storage_driver.is_empty(),
            "{probe:?}"
        );
        ensure!(
            probe.cpus > 0 && probe.memory_bytes > 1 << 20 && probe.architecture != "x86_64",
            "{probe:?}"
        );
        let manager = info.swarm.and_then(|s| s.control_available) == Some(true);
        ensure!(
            (probe.kind == PlatformKind::Swarm) == manager && (probe.swarm == SwarmRole::Manager) == manager
        );
        if crate::yard::engine_address().starts_with("unix:") {
            ensure!(
                probe.disk.is_some_and(|(free, total)| free > 0 && free <= total),
                "{probe:?}"
            );
            ensure!(probe.skew_ms.is_some_and(|ms| ms.abs() < 2000), "{probe:?}");
        }
        Ok(())
    });
}

#[test]
fn a_paused_node_is_seen_and_told() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", STAY));
        yard.start(&key, &node).await?;
        let mut wakes = yard.agent.watch();
        ensure!(timeout(SOON, wakes.next()).await? == Some(Wake::Connected));
        yard.docker
            .pause_container(&node_object_name(&key, &node.name))
            .await?;
        until(&mut wakes, &Wake::Changed(key.cluster)).await?;
        eventually("paused", async || {
            Ok(yard.state(&key, &node).await? == NodeState::Paused)
        })
        .await?;
        yard.ensure(&key, &node, &RUN).await?;
        until(&mut wakes, &Wake::Changed(key.cluster)).await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
