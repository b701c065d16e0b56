//! A node runs, rests and starts again as asked, and no more often.

use crate::yard::{RUN, STAY, eventually, free_port, key, node, yard};
use anyhow::{Context, ensure};
use chainpool_agent::{Agent, Audience, Error, NodeState, Place, Port, Power, Protocol};
use std::net::TcpListener;

#[test]
fn a_paused_node_is_restarted() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", STAY));
        yard.start(&key, &node).await?;
        let first = yard
            .agent
            .incarnation(&key, &node.name)
            .await?
            .context("it runs")?;
        yard.docker
            .pause_container(&yard.inspect(&key, &node).await?.id.context("an id")?)
            .await?;
        ensure!(
            yard.agent.incarnation(&key, &node.name).await? == Some(first.clone()),
            "a pause is no other life"
        );
        yard.ensure(
            &key,
            &node,
            &Power::On {
                after: Some(first.clone()),
            },
        )
        .await?;
        ensure!(
            yard.agent
                .incarnation(&key, &node.name)
                .await?
                .is_some_and(|life| life != first)
        );
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_node_is_stopped_and_started_and_unpaused() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", STAY));
        yard.start(&key, &node).await?;
        let id = yard.inspect(&key, &node).await?.id.context("an id")?;

        yard.docker.pause_container(&id).await?;
        ensure!(yard.state(&key, &node).await? == NodeState::Paused);
        yard.ensure(&key, &node, &RUN).await?;
        ensure!(yard.state(&key, &node).await? == NodeState::Running);

        yard.docker.pause_container(&id).await?;
        for _ in 0..2 {
            yard.ensure(&key, &node, &Power::Off).await?;
            ensure!(
                yard.state(&key, &node).await? == NodeState::Exited(0),
                "stopped as its stop signal asks"
            );
        }
        ensure!(yard.agent.incarnation(&key, &node.name).await?.is_none());
        yard.ensure(&key, &node, &RUN).await?;
        ensure!(yard.state(&key, &node).await? == NodeState::Running);
        ensure!(
            yard.inspect(&key, &node).await?.id == Some(id),
            "it is the same container"
        );
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_node_that_keeps_dying_is_seen_so() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", "exit 3"));
        yard.start(&key, &node).await?;
        let between = NodeState::Changing("restarting".into());
        eventually("the engine is between two tries", async || {
            Ok(yard.state(&key, &node).await? == between)
        })
        .await?;
        yard.ensure(&key, &node, &RUN).await?; // the engine is at it already
        yard.ensure(&key, &node, &Power::Off).await?;
        yard.eventually_is(&key, &node, NodeState::Exited(3)).await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

fn is_occupied(error: &Error, taken: u16) -> bool {
    matches!(error, Error::Occupied { place: Place::Port(port), words } if *port == taken && words.contains(&format!("port {taken} of the host")))
}

#[test]
fn a_port_that_is_taken_is_named_and_works_once_it_is_free() {
    yard(async |yard| {
        let (key, mut node) = (key(), node("v0", STAY));
        let taken = TcpListener::bind(("127.0.0.1", free_port()))?;
        let port = taken.local_addr()?.port();
        node.ports = vec![Port {
            name: "rpc".into(),
            inside: 80,
            protocol: Protocol::Tcp,
            audience: Audience::User,
            published: Some(port),
        }];
        let error = yard
            .start(&key, &node)
            .await
            .expect_err("a taken port")
            .downcast::<Error>()?;
        ensure!(is_occupied(&error, port), "{error}");
        ensure!(yard.state(&key, &node).await? == NodeState::Created);

        // Another container of ours holds it.
        drop(taken);
        let mut holder = node.clone();
        holder.name = crate::yard::name("holder");
        yard.ensure(&key, &holder, &RUN).await?;
        let error = yard.ensure(&key, &node, &RUN).await.expect_err("a taken port");
        ensure!(is_occupied(&error, port), "{error}");

        yard.agent
            .drop_node(&key, &holder.name, chainpool_agent::Volumes::Purge)
            .await?;
        yard.ensure(&key, &node, &RUN).await?;
        ensure!(yard.state(&key, &node).await? == NodeState::Running);
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
