//! Watches, observations and logs.

use crate::fixture::{RUN, STAY, connection, eventually, key, node, with_fixture};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{Agent, LogQuery, NodeState, SwarmRole, Wake, WakeStream, node_object_name};
use chainpool_agent_docker::{DockerAgent, SWARM};
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
fn a_killed_node_is_reported_and_observed() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", STAY));
        let mut wakes = fixture.agent.watch();
        ensure!(
            timeout(SOON, wakes.next()).await? == Some(Wake::Connected),
            "the first wake is not Connected"
        );
        fixture.start(&key, &node).await?;
        until(&mut wakes, &Wake::Changed(key.cluster)).await?;
        // By hand, so the engine does not restart it.
        fixture
            .docker
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
        fixture
            .wait_for_state(&key, &node, NodeState::Exited(137))
            .await?;
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_lost_engine_is_reported_with_the_reason() {
    with_fixture(async |_| {
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
    with_fixture(async |fixture| {
        let wait = "while [ ! -e /data/go ]; do busybox usleep 10000; done; echo go";
        let (key, node) = (key(), node("v0", &format!("{wait}; {STAY}")));
        fixture.start(&key, &node).await?;
        let follow = LogQuery {
            tail: Some(0),
            follow: true,
            ..LogQuery::default()
        };
        let mut follow = fixture.agent.logs(&key, &node.name, follow).await?;
        ensure!(
            timeout(Duration::from_millis(100), follow.next()).await.is_err(),
            "a line before any output"
        );
        fixture.put(&key, &node, "go").await?;
        let line = timeout(SOON, follow.next()).await?.context("a line")??;
        ensure!(&line.bytes[..] == b"go\n", "{line:?}");
        fixture.ensure(&key, &node, &chainpool_agent::Power::Off).await?;
        ensure!(
            timeout(SOON, follow.next()).await?.is_none(),
            "the log does not end"
        );
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_probe_reports_the_engine() {
    with_fixture(async |fixture| {
        let probe = fixture.agent.probe().await?;
        let info = fixture.docker.info().await?;
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
        ensure!((probe.kind == SWARM) == manager && (probe.swarm == SwarmRole::Manager) == manager);
        if crate::fixture::engine_address().starts_with("unix:") {
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
fn a_paused_node_is_observed_and_reported() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", STAY));
        fixture.start(&key, &node).await?;
        let mut wakes = fixture.agent.watch();
        ensure!(timeout(SOON, wakes.next()).await? == Some(Wake::Connected));
        fixture
            .docker
            .pause_container(&node_object_name(&key, &node.name))
            .await?;
        until(&mut wakes, &Wake::Changed(key.cluster)).await?;
        eventually("paused", async || {
            Ok(fixture.state(&key, &node).await? == NodeState::Paused)
        })
        .await?;
        fixture.ensure(&key, &node, &RUN).await?;
        until(&mut wakes, &Wake::Changed(key.cluster)).await?;
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
