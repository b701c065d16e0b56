//! A cluster from its network to its removal, the probe, images and events.

use crate::fixture::{ANY, Fixture, RUN, STAY, eventually, file, key, name, node, port, second, user_port};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{
    Agent, Error, ImageRequest, LogQuery, NodeState, ObjectKind, Power, Scope, Volumes, Wake,
};
use chainpool_agent_kubernetes::KUBERNETES;
use futures::{StreamExt, TryStreamExt};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Returns true if the stream echoes a message.
async fn echoes(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<bool> {
    let exchange = async {
        stream.write_all(b"ping").await?;
        stream.flush().await?;
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await?;
        Ok::<_, std::io::Error>(echo == *b"ping")
    };
    // Nothing may listen yet: not an error of the test.
    Ok(matches!(
        timeout(Duration::from_secs(3), exchange).await,
        Ok(Ok(true))
    ))
}

#[expect(clippy::too_many_lines, reason = "one cluster through its whole life")]
pub(crate) async fn two_nodes_run_and_are_removed_completely(fixture: &Fixture<'_>) -> Result<()> {
    let (key, published) = (key(), port());
    let reach = |other: &str| {
        format!(
            "nc -ll -p 7000 -e /bin/busybox cat & until echo ping | nc -w 1 {other} 7000 | grep -q ping; do sleep 0.1; done; echo reached {other}; "
        )
    };
    let mut v0 = node(
        "v0",
        &format!(
            "echo start >> /data/starts; echo starts $(wc -l < /data/starts); {}{STAY}",
            reach("v1")
        ),
    );
    v0.ports = vec![user_port(Some(published))];
    v0.files = vec![file("/data/config/app", "app")];
    let mut v1 = node("v1", &format!("{}{STAY}", reach("v0")));
    v1.ports = vec![user_port(None)];
    fixture.agent.ensure_network(&key, &ANY).await?;
    let (a, b) = tokio::join!(fixture.ensure(&key, &v0, &RUN), fixture.ensure(&key, &v1, &RUN));
    a?;
    b?;
    fixture.wait_for_log(&key, &v0, "reached v1").await?;
    fixture.wait_for_log(&key, &v1, "reached v0").await?;
    // The published port from outside at the machine's address, the other one through the API server.
    let machine = fixture
        .agent
        .probe()
        .await?
        .machines
        .first()
        .context("a machine")?
        .address
        .clone();
    eventually("an echo from outside", async || {
        match TcpStream::connect((machine.as_str(), published)).await {
            Ok(stream) => echoes(stream).await,
            Err(_) => Ok(false),
        }
    })
    .await?;
    for (node, port) in [(&v0, &v0.ports[0]), (&v1, &v1.ports[0])] {
        ensure!(
            echoes(fixture.agent.dial(&key, &node.name, port).await?).await?,
            "no echo through the API server"
        );
    }
    // A repeated restart request restarts once.
    let first = fixture
        .agent
        .incarnation(&key, &v0.name)
        .await?
        .context("an incarnation")?;
    for _ in 0..2 {
        fixture
            .ensure(
                &key,
                &v0,
                &Power::On {
                    after: Some(first.clone()),
                },
            )
            .await?;
    }
    let second_start = fixture
        .agent
        .incarnation(&key, &v0.name)
        .await?
        .context("an incarnation")?;
    ensure!(second_start != first);
    fixture.wait_for_log(&key, &v0, "starts 2").await?;
    fixture.ensure(&key, &v0, &Power::Off).await?;
    ensure!(matches!(fixture.state(&key, &v0).await?, NodeState::Exited(_)));
    ensure!(fixture.agent.incarnation(&key, &v0.name).await?.is_none());
    fixture.ensure(&key, &v0, &RUN).await?;
    fixture.wait_for_log(&key, &v0, "starts 3").await?;
    // Replace the node, then recreate it with its kept volume.
    let v0 = second(v0);
    fixture.ensure(&key, &v0, &RUN).await?;
    fixture.wait_for_log(&key, &v0, "starts 4").await?;
    fixture.agent.drop_node(&key, &v0.name, Volumes::Keep).await?;
    ensure!(fixture.state(&key, &v0).await? == NodeState::Absent);
    fixture.ensure(&key, &v0, &RUN).await?;
    fixture.wait_for_log(&key, &v0, "starts 5").await?;
    let objects = fixture.agent.observe(Scope::Cluster(key.cluster)).await?.objects;
    let count = |kind| objects.iter().filter(|o| o.kind == kind).count();
    ensure!(
        (
            count(ObjectKind::Network),
            count(ObjectKind::Node),
            count(ObjectKind::Volume)
        ) == (1, 2, 2),
        "{objects:?}"
    );
    let tail = LogQuery {
        tail: Some(1),
        ..LogQuery::default()
    };
    ensure!(
        fixture
            .agent
            .logs(&key, &v1.name, tail)
            .await?
            .try_collect::<Vec<_>>()
            .await?
            .len()
            == 1
    );
    for _ in 0..2 {
        fixture.agent.drop_cluster(key.cluster, 1).await?;
    }
    Ok(())
}

pub(crate) async fn the_probe_reports_the_cluster(fixture: &Fixture<'_>) -> Result<()> {
    let probe = fixture.agent.probe().await?;
    ensure!(
        probe.kind == KUBERNETES && probe.version.starts_with('v') && !probe.engine_id.is_empty(),
        "{probe:?}"
    );
    ensure!(
        probe.cpus > 0
            && probe.memory_bytes > 1 << 28
            && !probe.storage_driver.is_empty()
            && !probe.architecture.is_empty(),
        "{probe:?}"
    );
    ensure!(probe.skew_ms.is_some_and(|skew| skew.abs() < 5000), "{probe:?}");
    let machine = probe.machines.first().context("a machine")?;
    ensure!(
        machine.closed.is_none() && machine.address.parse::<std::net::IpAddr>().is_ok(),
        "{machine:?}"
    );
    Ok(())
}

pub(crate) async fn images_are_found_or_reported_missing(fixture: &Fixture<'_>) -> Result<()> {
    let absent = [
        "127.0.0.1:9/chainpool-test/absent:1",
        "127.0.0.1:9/chainpool-test/missing:2",
    ]
    .map(str::to_owned);
    let error = fixture
        .agent
        .ensure_image(&ImageRequest::of(&absent))
        .await
        .expect_err("no such images")
        .to_string();
    ensure!(absent.iter().all(|name| error.contains(name)), "{error}");
    let found = fixture
        .agent
        .ensure_image(&ImageRequest::of(&[
            absent[0].clone(),
            fixture.image.name.clone(),
        ]))
        .await?;
    ensure!(found == fixture.image, "{found:?}");
    eventually("the namespace for pulls is deleted", async || {
        let list = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(fixture.bed.admin.clone())
            .list(&kube::api::ListParams::default().labels(&format!("chainpool.pull={}", fixture.instance)))
            .await?;
        Ok(list.items.is_empty())
    })
    .await
}

pub(crate) async fn node_exits_are_reported_as_events(fixture: &Fixture<'_>) -> Result<()> {
    let mut wakes = fixture.agent.watch();
    let first = timeout(Duration::from_secs(20), wakes.next()).await?;
    ensure!(first == Some(Wake::Connected), "{first:?}");
    let (key, node) = (key(), node("v0", "sleep 1; exit 3"));
    fixture.start(&key, &node).await?;
    let died = Wake::Died {
        cluster: key.cluster,
        node: name("v0"),
        code: 3,
    };
    let mut events = Vec::new();
    while !events.contains(&died) {
        events.push(
            timeout(Duration::from_secs(20), wakes.next())
                .await
                .with_context(|| format!("{events:?}"))?
                .context("the stream ended")?,
        );
    }
    ensure!(events.contains(&Wake::Changed(key.cluster)), "{events:?}");
    // The log of an absent node is an error.
    let absent = fixture
        .agent
        .logs(&key, &name("v7"), LogQuery::default())
        .await
        .err();
    ensure!(
        matches!(&absent, Some(Error::Refused(reason)) if reason.contains("v7")),
        "{absent:?}"
    );
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}
