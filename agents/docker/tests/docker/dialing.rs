//! A published port is reached; any other says why not.

use crate::yard::{eventually, free_port, key, name, node, yard};
use anyhow::ensure;
use chainpool_agent::{Agent, Audience, Error, Port, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn port(published: Option<u16>, protocol: Protocol) -> Port {
    Port { name: "rpc".into(), inside: 7, protocol, audience: Audience::User, published }
}

#[test]
fn a_published_port_carries_bytes_both_ways() {
    yard(async |yard| {
        let (key, port) = (key(), port(Some(free_port()), Protocol::Tcp));
        let mut node = node("v0", "busybox nc -ll -p 7 -e busybox cat");
        node.ports = vec![port.clone()];
        yard.start(&key, &node).await?;
        // The engine's proxy answers before the node does: only an echo proves that it listens.
        eventually("an echo", async || {
            let mut stream = yard.agent.dial(&key, &node.name, &port).await?;
            let mut echo = [0; 4];
            Ok(stream.write_all(b"ping").await.is_ok() && stream.read_exact(&mut echo).await.is_ok() && &echo == b"ping")
        })
        .await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_port_that_cannot_be_reached_says_why() {
    yard(async |yard| {
        let (key, v0) = (key(), name("v0"));
        for port in [port(None, Protocol::Tcp), port(Some(9), Protocol::Udp)] {
            let error = yard.agent.dial(&key, &v0, &port).await.err();
            ensure!(matches!(error, Some(Error::Unsupported(_))), "{error:?}");
        }
        let error = yard.agent.dial(&key, &v0, &port(Some(free_port()), Protocol::Tcp)).await.err();
        ensure!(matches!(&error, Some(Error::Unreachable(text)) if text.contains("v0")), "{error:?}");
        Ok(())
    });
}
