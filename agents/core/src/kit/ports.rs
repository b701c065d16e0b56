//! Ports are reached by `dial`, where they are published too.

use super::{
    Kept, Promise, Stand,
    outcome::Stop,
    program::Step,
    promise, promised,
    stand::{RUN, hashed},
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
        "a published port is reached by dial, and carries bytes both ways"
    ),
    promise!(
        "port-unpublished",
        unpublished,
        "a port that is not published is reached by dial, or told as Unsupported"
    ),
    promise!(
        "port-after-replacement",
        after_replacement,
        "a replaced node has its published port again"
    ),
    promise!(
        "port-occupied",
        occupied,
        "a published port that is in use is told as Occupied, with its place, and serves once it is free"
    ),
];

const INSIDE: u16 = 7000;

fn with_port(stand: &Stand<'_>, name: &str, published: Option<u16>) -> (NodeSpec, Port) {
    let mut node = stand.node(name, &[Step::Echo(INSIDE), Step::Stay]);
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

/// Whether what is sent comes back. A platform's proxy may take a connection before the node does: only the echo proves it.
async fn echoes(
    stand: &Stand<'_>,
    key: &ClusterKey,
    node: &NodeSpec,
    port: &Port,
) -> Result<std::result::Result<(), String>> {
    let mut stream = stand.agent.dial(key, &node.name, port).await?;
    let exchange = async {
        stream.write_all(b"ping").await?;
        stream.flush().await?;
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await?;
        Ok::<_, std::io::Error>(echo)
    };
    Ok(match timeout(Duration::from_secs(2), exchange).await {
        Ok(Ok(echo)) if &echo == b"ping" => Ok(()),
        Ok(Ok(echo)) => Err(format!("{echo:?} came back")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("nothing came back within 2 s".into()),
    })
}

async fn reached(stand: &Stand<'_>, key: &ClusterKey, node: &NodeSpec, port: &Port) -> Kept {
    stand
        .until("an echo", async || echoes(stand, key, node, port).await)
        .await
}

async fn published(stand: &Stand<'_>) -> Kept {
    let (node, port) = with_port(stand, "v0", Some(stand.ground.port()));
    let key = stand.up(&node).await?;
    reached(stand, &key, &node, &port).await?;
    let (two, one) = tokio::join!(
        reached(stand, &key, &node, &port),
        reached(stand, &key, &node, &port)
    );
    two.and(one)
}

async fn unpublished(stand: &Stand<'_>) -> Kept {
    let (node, port) = with_port(stand, "v0", None);
    let key = stand.up(&node).await?;
    match stand.agent.dial(&key, &node.name, &port).await.err() {
        Some(Error::Unsupported(_)) => Ok(()),
        Some(error) if !error.is_transient() => Err(error.into()),
        _ => reached(stand, &key, &node, &port).await,
    }
}

async fn after_replacement(stand: &Stand<'_>) -> Kept {
    let (node, port) = with_port(stand, "v0", Some(stand.ground.port()));
    let key = stand.up(&node).await?;
    reached(stand, &key, &node, &port).await?;
    let mut second = node.clone();
    second.stop_timeout += 1;
    let second = hashed(second);
    stand.start(&key, &second).await?;
    reached(stand, &key, &second, &port).await
}

async fn occupied(stand: &Stand<'_>) -> Kept {
    let taken = stand.ground.port();
    let ((holder, port), (late, _)) = (
        with_port(stand, "v0", Some(taken)),
        with_port(stand, "v0", Some(taken)),
    );
    let one = stand.up(&holder).await?;
    reached(stand, &one, &holder, &port).await?;
    let other = stand.key();
    stand.network(&other).await?;
    match stand.ensure(&other, &late, &RUN).await {
        Err(Error::Occupied {
            place: Place::Port(place),
            ..
        }) if place == taken => {}
        Err(error) => return Err(Stop::Failed(format!("the error is {error:?}"))),
        Ok(()) => return Err(Stop::Failed("two nodes have the same port".into())),
    }
    reached(stand, &one, &holder, &port).await?;
    stand.agent.drop_node(&one, &holder.name, Volumes::Purge).await?;
    stand
        .insist("the port is free", async || {
            match stand.ensure(&other, &late, &RUN).await {
                // It was freed this very moment.
                Err(Error::Occupied { words, .. }) => Err(Error::Busy(words)),
                other => other,
            }
        })
        .await?;
    stand.running(&other, &late).await?;
    reached(stand, &other, &late, &port).await?;
    promised!(
        stand.agent.incarnation(&one, &holder.name).await?.is_none(),
        "the holder lives on"
    );
    Ok(())
}
