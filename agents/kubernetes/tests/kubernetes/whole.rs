//! A cluster from its network to its removal, and what the platform tells of itself.

use crate::yard::{ANY, RUN, STAY, Yard, eventually, file, key, name, node, port, second, user_port};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{
    Agent, Error, LogQuery, NodeState, ObjectKind, PlatformKind, Power, Scope, Volumes, Wake,
};
use futures::{StreamExt, TryStreamExt};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Sends a word and takes it back.
async fn echoes(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<bool> {
    let exchange = async {
        stream.write_all(b"ping").await?;
        stream.flush().await?;
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await?;
        Ok::<_, std::io::Error>(echo == *b"ping")
    };
    // Nothing listens yet: not an error of the test.
    Ok(matches!(
        timeout(Duration::from_secs(3), exchange).await,
        Ok(Ok(true))
    ))
}

pub(crate) async fn two_nodes_live_and_leave_nothing(yard: &Yard<'_>) -> Result<()> {
    let (key, published) = (key(), port());
    let reach = |other: &str| {
        format!(
            "nc -ll -p 7000 -e /bin/busybox cat & until echo ping | nc -w 1 {other} 7000 | grep -q ping; do sleep 0.1; done; echo reached {other}; "
        )
    };
    let mut v0 = node(
        "v0",
        &format!(
            "echo life >> /data/lives; echo lives $(wc -l < /data/lives); {}{STAY}",
            reach("v1")
        ),
    );
    v0.ports = vec![user_port(Some(published))];
    v0.files = vec![file("/data/config/app", "app")];
    let mut v1 = node("v1", &format!("{}{STAY}", reach("v0")));
    v1.ports = vec![user_port(None)];
    yard.agent.ensure_network(&key, &ANY).await?;
    let (a, b) = tokio::join!(yard.ensure(&key, &v0, &RUN), yard.ensure(&key, &v1, &RUN));
    a?;
    b?;
    yard.says(&key, &v0, "reached v1").await?;
    yard.says(&key, &v1, "reached v0").await?;
    // The published port from outside, at the machine's address; the other one by the API server.
    let machine = yard
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
            echoes(yard.agent.dial(&key, &node.name, port).await?).await?,
            "no echo through the API server"
        );
    }
    // A restart that is asked for twice happens once.
    let first = yard.agent.incarnation(&key, &v0.name).await?.context("a life")?;
    for _ in 0..2 {
        yard.ensure(
            &key,
            &v0,
            &Power::On {
                after: Some(first.clone()),
            },
        )
        .await?;
    }
    let life = yard.agent.incarnation(&key, &v0.name).await?.context("a life")?;
    ensure!(life != first);
    yard.says(&key, &v0, "lives 2").await?;
    yard.ensure(&key, &v0, &Power::Off).await?;
    ensure!(matches!(yard.state(&key, &v0).await?, NodeState::Exited(_)));
    ensure!(yard.agent.incarnation(&key, &v0.name).await?.is_none());
    yard.ensure(&key, &v0, &RUN).await?;
    yard.says(&key, &v0, "lives 3").await?;
    // Replaced, and made again beside its kept volume.
    let v0 = second(v0);
    yard.ensure(&key, &v0, &RUN).await?;
    yard.says(&key, &v0, "lives 4").await?;
    yard.agent.drop_node(&key, &v0.name, Volumes::Keep).await?;
    ensure!(yard.state(&key, &v0).await? == NodeState::Absent);
    yard.ensure(&key, &v0, &RUN).await?;
    yard.says(&key, &v0, "lives 5").await?;
    let seen = yard.agent.observe(Scope::Cluster(key.cluster)).await?.objects;
    let count = |kind| seen.iter().filter(|o| o.kind == kind).count();
    ensure!(
        (
            count(ObjectKind::Network),
            count(ObjectKind::Node),
            count(ObjectKind::Volume)
        ) == (1, 2, 2),
        "{seen:?}"
    );
    let tail = LogQuery {
        tail: Some(1),
        ..LogQuery::default()
    };
    ensure!(
        yard.agent
            .logs(&key, &v1.name, tail)
            .await?
            .try_collect::<Vec<_>>()
            .await?
            .len()
            == 1
    );
    for _ in 0..2 {
        yard.agent.drop_cluster(key.cluster, 1).await?;
    }
    Ok(())
}

pub(crate) async fn a_probe_tells_the_cluster_as_it_is(yard: &Yard<'_>) -> Result<()> {
    let probe = yard.agent.probe().await?;
    ensure!(
        probe.kind == PlatformKind::Kubernetes
            && probe.version.starts_with('v')
            && !probe.engine_id.is_empty(),
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

pub(crate) async fn images_are_found_or_their_absence_is_told(yard: &Yard<'_>) -> Result<()> {
    let absent = [
        "127.0.0.1:9/chainpool-test/absent:1",
        "127.0.0.1:9/chainpool-test/missing:2",
    ]
    .map(str::to_owned);
    let words = yard
        .agent
        .ensure_image(&absent)
        .await
        .expect_err("no such images")
        .to_string();
    ensure!(absent.iter().all(|name| words.contains(name)), "{words}");
    let found = yard
        .agent
        .ensure_image(&[absent[0].clone(), yard.image.name.clone()])
        .await?;
    ensure!(found == yard.image, "{found:?}");
    eventually("the namespace for pulling goes", async || {
        let list = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(yard.bed.admin.clone())
            .list(&kube::api::ListParams::default().labels(&format!("chainpool.pull={}", yard.instance)))
            .await?;
        Ok(list.items.is_empty())
    })
    .await
}

pub(crate) async fn what_happens_is_told(yard: &Yard<'_>) -> Result<()> {
    let mut wakes = yard.agent.watch();
    let first = timeout(Duration::from_secs(20), wakes.next()).await?;
    ensure!(first == Some(Wake::Connected), "{first:?}");
    let (key, node) = (key(), node("v0", "sleep 1; exit 3"));
    yard.start(&key, &node).await?;
    let died = Wake::Died {
        cluster: key.cluster,
        node: name("v0"),
        code: 3,
    };
    let mut heard = Vec::new();
    while !heard.contains(&died) {
        heard.push(
            timeout(Duration::from_secs(20), wakes.next())
                .await
                .with_context(|| format!("{heard:?}"))?
                .context("it ended")?,
        );
    }
    ensure!(heard.contains(&Wake::Changed(key.cluster)), "{heard:?}");
    // What ended is started again by the cluster, and its end is told once.
    let nobody = yard
        .agent
        .logs(&key, &name("v7"), LogQuery::default())
        .await
        .err();
    ensure!(
        matches!(&nobody, Some(Error::Refused(words)) if words.contains("v7")),
        "{nobody:?}"
    );
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}
