//! Ports are reachable through `dial`, published or not.

use super::{
    fixture::{Fixture, RUN, hashed},
    outcome::{Stop, TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{Audience, ClusterKey, Error, NodeSpec, Place, Port, Protocol, Result, Volumes};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "port-published",
        published,
        "a published port is reachable through dial, in both directions"
    ),
    promise!(
        "port-unpublished",
        unpublished,
        "an unpublished port is reachable through dial, or reported as Unsupported"
    ),
    promise!(
        "port-after-replacement",
        after_replacement,
        "a replaced node keeps its published port"
    ),
    promise!(
        "port-occupied",
        occupied,
        "a published port in use is reported as Occupied, with its place, and works once it is free"
    ),
];

const INSIDE: u16 = 7000;

fn with_port(fixture: &Fixture<'_>, name: &str, published: Option<u16>) -> (NodeSpec, Port) {
    let mut node = fixture.node(name, &[Step::Echo(INSIDE), Step::Stay]);
    let audience = if published.is_some() {
        Audience::User
    } else {
        Audience::Control
    };
    let port = Port {
        name: "rpc".into(),
        inside: INSIDE,
        protocol: Protocol::Tcp,
        audience,
        published,
    };
    node.ports = vec![port.clone()];
    (hashed(node), port)
}

/// Sends bytes and expects them back. A platform's proxy may accept a connection before the node does: only
/// an echo proves the port.
async fn echoes(
    fixture: &Fixture<'_>,
    key: &ClusterKey,
    node: &NodeSpec,
    port: &Port,
) -> Result<std::result::Result<(), String>> {
    let mut stream = fixture.agent.dial(key, &node.name, port).await?;
    let exchange = async {
        stream.write_all(b"ping").await?;
        stream.flush().await?;
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await?;
        Ok::<_, std::io::Error>(echo)
    };
    Ok(match timeout(Duration::from_secs(2), exchange).await {
        Ok(Ok(echo)) if &echo == b"ping" => Ok(()),
        Ok(Ok(echo)) => Err(format!("the echo is {echo:?}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no echo within 2 s".into()),
    })
}

async fn wait_for_echo(fixture: &Fixture<'_>, key: &ClusterKey, node: &NodeSpec, port: &Port) -> TestResult {
    fixture
        .wait_until("an echo", async || echoes(fixture, key, node, port).await)
        .await
}

async fn published(fixture: &Fixture<'_>) -> TestResult {
    let (node, port) = with_port(fixture, "v0", Some(fixture.platform.port()));
    let key = fixture.start_cluster(&node).await?;
    wait_for_echo(fixture, &key, &node, &port).await?;
    let (two, one) = tokio::join!(
        wait_for_echo(fixture, &key, &node, &port),
        wait_for_echo(fixture, &key, &node, &port)
    );
    two.and(one)
}

async fn unpublished(fixture: &Fixture<'_>) -> TestResult {
    let (node, port) = with_port(fixture, "v0", None);
    let key = fixture.start_cluster(&node).await?;
    match fixture.agent.dial(&key, &node.name, &port).await.err() {
        Some(Error::Unsupported(_)) => Ok(()),
        Some(error) if !error.is_transient() => Err(error.into()),
        _ => wait_for_echo(fixture, &key, &node, &port).await,
    }
}

async fn after_replacement(fixture: &Fixture<'_>) -> TestResult {
    let (node, port) = with_port(fixture, "v0", Some(fixture.platform.port()));
    let key = fixture.start_cluster(&node).await?;
    wait_for_echo(fixture, &key, &node, &port).await?;
    let mut second = node.clone();
    second.stop_timeout += 1;
    let second = hashed(second);
    fixture.start(&key, &second).await?;
    wait_for_echo(fixture, &key, &second, &port).await
}

async fn occupied(fixture: &Fixture<'_>) -> TestResult {
    let occupied_port = fixture.platform.port();
    let ((holder, port), (late, _)) = (
        with_port(fixture, "v0", Some(occupied_port)),
        with_port(fixture, "v0", Some(occupied_port)),
    );
    let one = fixture.start_cluster(&holder).await?;
    wait_for_echo(fixture, &one, &holder, &port).await?;
    let other = fixture.key();
    fixture.network(&other).await?;
    match fixture.ensure(&other, &late, &RUN).await {
        Err(Error::Occupied {
            place: Place::Port(place),
            ..
        }) if place == occupied_port => {}
        Err(error) => return Err(Stop::Failed(format!("the error is {error:?}"))),
        Ok(()) => return Err(Stop::Failed("two nodes have the same port".into())),
    }
    wait_for_echo(fixture, &one, &holder, &port).await?;
    fixture
        .agent
        .drop_node(&one, &holder.name, Volumes::Purge)
        .await?;
    fixture
        .retry("the port is free", async || {
            match fixture.ensure(&other, &late, &RUN).await {
                // The platform may not have released it yet.
                Err(Error::Occupied { reason, .. }) => Err(Error::Busy(reason)),
                other => other,
            }
        })
        .await?;
    fixture.wait_until_running(&other, &late).await?;
    wait_for_echo(fixture, &other, &late, &port).await?;
    check!(
        fixture.agent.incarnation(&one, &holder.name).await?.is_none(),
        "the dropped holder still runs"
    );
    Ok(())
}
