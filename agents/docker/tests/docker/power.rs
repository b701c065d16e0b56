//! A node starts, stops and restarts as requested, and no more often.

use crate::fixture::{RUN, STAY, eventually, free_port, key, node, with_fixture};
use anyhow::{Context, ensure};
use chainpool_agent::{Agent, Audience, Error, NodeState, Place, Port, Power, Protocol};
use std::net::TcpListener;

#[test]
fn a_paused_node_is_restarted() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", STAY));
        fixture.start(&key, &node).await?;
        let first = fixture
            .agent
            .incarnation(&key, &node.name)
            .await?
            .context("it runs")?;
        fixture
            .docker
            .pause_container(&fixture.inspect(&key, &node).await?.id.context("an id")?)
            .await?;
        ensure!(
            fixture.agent.incarnation(&key, &node.name).await? == Some(first.clone()),
            "a pause changes the incarnation"
        );
        fixture
            .ensure(
                &key,
                &node,
                &Power::On {
                    after: Some(first.clone()),
                },
            )
            .await?;
        ensure!(
            fixture
                .agent
                .incarnation(&key, &node.name)
                .await?
                .is_some_and(|incarnation| incarnation != first)
        );
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_node_is_stopped_and_started_and_unpaused() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", STAY));
        fixture.start(&key, &node).await?;
        let id = fixture.inspect(&key, &node).await?.id.context("an id")?;

        fixture.docker.pause_container(&id).await?;
        ensure!(fixture.state(&key, &node).await? == NodeState::Paused);
        fixture.ensure(&key, &node, &RUN).await?;
        ensure!(fixture.state(&key, &node).await? == NodeState::Running);

        fixture.docker.pause_container(&id).await?;
        for _ in 0..2 {
            fixture.ensure(&key, &node, &Power::Off).await?;
            ensure!(
                fixture.state(&key, &node).await? == NodeState::Exited(0),
                "it did not stop on its stop signal"
            );
        }
        ensure!(fixture.agent.incarnation(&key, &node.name).await?.is_none());
        fixture.ensure(&key, &node, &RUN).await?;
        ensure!(fixture.state(&key, &node).await? == NodeState::Running);
        ensure!(
            fixture.inspect(&key, &node).await?.id == Some(id),
            "it is another container"
        );
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_crash_looping_node_is_observed_as_restarting() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", "exit 3"));
        fixture.start(&key, &node).await?;
        let between = NodeState::Changing("restarting".into());
        eventually("the engine is between two restarts", async || {
            Ok(fixture.state(&key, &node).await? == between)
        })
        .await?;
        fixture.ensure(&key, &node, &RUN).await?; // the engine is already restarting it
        fixture.ensure(&key, &node, &Power::Off).await?;
        // Its own code, or that of the stop signal if the stop was faster than the program.
        eventually("it has exited", async || {
            Ok(matches!(fixture.state(&key, &node).await?, NodeState::Exited(_)))
        })
        .await?;
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

fn is_occupied(error: &Error, wanted: u16) -> bool {
    matches!(error, Error::Occupied { place: Place::Port(port), reason } if *port == wanted && reason.contains(&format!("port {wanted} of the host")))
}

#[test]
fn an_occupied_port_is_named_and_works_once_free() {
    with_fixture(async |fixture| {
        let (key, mut node) = (key(), node("v0", STAY));
        let listener = TcpListener::bind(("127.0.0.1", free_port()))?;
        let port = listener.local_addr()?.port();
        node.ports = vec![Port {
            name: "rpc".into(),
            inside: 80,
            protocol: Protocol::Tcp,
            audience: Audience::User,
            published: Some(port),
        }];
        let error = fixture
            .start(&key, &node)
            .await
            .expect_err("an occupied port")
            .downcast::<Error>()?;
        ensure!(is_occupied(&error, port), "{error}");
        ensure!(fixture.state(&key, &node).await? == NodeState::Created);

        // Another container of ours holds it.
        drop(listener);
        let mut holder = node.clone();
        holder.name = crate::fixture::name("holder");
        fixture.ensure(&key, &holder, &RUN).await?;
        let error = fixture
            .ensure(&key, &node, &RUN)
            .await
            .expect_err("an occupied port");
        ensure!(is_occupied(&error, port), "{error}");

        fixture
            .agent
            .drop_node(&key, &holder.name, chainpool_agent::Volumes::Purge)
            .await?;
        fixture.ensure(&key, &node, &RUN).await?;
        ensure!(fixture.state(&key, &node).await? == NodeState::Running);
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
