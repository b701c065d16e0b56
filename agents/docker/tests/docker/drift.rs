//! Manual changes to containers are detected and repaired: engine-specific tests. The kit tests what holds on
//! every platform.

use crate::fixture::{RUN, STAY, eventually, free_port, key, network, node, with_fixture};
use anyhow::{Context, Result, ensure};
use bollard::{
    models::{
        ContainerCreateBody, ContainerUpdateBody, HostConfig, NetworkConnectRequest, NetworkDisconnectRequest,
    },
    query_parameters::{CreateContainerOptionsBuilder, RenameContainerOptionsBuilder},
};
use chainpool_agent::{
    Agent, Audience, ClusterKey, Error, Labels, NodeName, NodeSpec, NodeState, Port, Power, Protocol, Scope,
    Volumes, network_name, node_object_name,
};
use tokio::io::AsyncReadExt;

async fn rename(fixture: &crate::fixture::Fixture, from: &str, to: &str) -> Result<()> {
    let options = RenameContainerOptionsBuilder::default().name(to).build();
    Ok(fixture.docker.rename_container(from, options).await?)
}

fn by_hand(fixture: &crate::fixture::Fixture) -> String {
    format!("by-hand-{}", fixture.instance.0.simple())
}

async fn nodes(fixture: &crate::fixture::Fixture, key: &ClusterKey) -> Result<Vec<String>> {
    let seen = fixture.agent.observe(Scope::Cluster(key.cluster)).await?;
    Ok(seen
        .objects
        .into_iter()
        .filter(|o| o.kind == chainpool_agent::ObjectKind::Node)
        .map(|o| o.id)
        .collect())
}

/// A node that sends hello on a published port.
fn greeter() -> (NodeSpec, Port) {
    let port = Port {
        name: "hello".into(),
        inside: 7000,
        protocol: Protocol::Tcp,
        audience: Audience::User,
        published: Some(free_port()),
    };
    let script =
        "trap 'exit 0' TERM; busybox nc -ll -p 7000 -e /bin/busybox echo hello & while :; do sleep 0.1; done";
    (
        NodeSpec {
            ports: vec![port.clone()],
            ..node("v0", script)
        },
        port,
    )
}

async fn greets(
    fixture: &crate::fixture::Fixture,
    key: &ClusterKey,
    node: &NodeName,
    port: &Port,
) -> Result<bool> {
    let Ok(mut stream) = fixture.agent.dial(key, node, port).await else {
        return Ok(false);
    };
    let mut output = String::new();
    Ok(stream.read_to_string(&mut output).await.is_ok() && output.contains("hello"))
}

#[test]
fn a_renamed_container_gets_its_name_back_and_is_stopped_under_any_name() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", STAY));
        fixture.start(&key, &node).await?;
        let (own, other) = (node_object_name(&key, &node.name), by_hand(fixture));
        let id = fixture.inspect(&key, &node).await?.id;
        rename(fixture, &own, &other).await?;
        fixture.ensure(&key, &node, &Power::Off).await?;
        ensure!(
            fixture.state(&key, &node).await? == NodeState::Exited(0),
            "it was not stopped"
        );
        ensure!(
            fixture.inspect(&key, &node).await?.id == id,
            "its name is not restored"
        );
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_renamed_container_whose_name_is_in_use_is_found_by_its_labels() {
    with_fixture(async |fixture| {
        let (key, v0, v1) = (key(), node("v0", STAY), node("v1", STAY));
        fixture.start(&key, &v0).await?;
        let (own, other) = (node_object_name(&key, &v0.name), by_hand(fixture));
        rename(fixture, &own, &other).await?;
        let foreign = fixture
            .foreign_container(&own, ContainerCreateBody::default())
            .await?;
        let incarnation = fixture
            .agent
            .incarnation(&key, &v0.name)
            .await?
            .context("it runs")?;
        fixture.ensure(&key, &v0, &RUN).await?;
        ensure!(
            fixture.agent.incarnation(&key, &v0.name).await? == Some(incarnation),
            "it has another incarnation"
        );
        ensure!(nodes(fixture, &key).await?.len() == 1, "it was created twice");
        fixture.ensure(&key, &v0, &Power::Off).await?;
        ensure!(fixture.state(&key, &v0).await? == NodeState::Exited(0));
        fixture.agent.drop_node(&key, &v0.name, Volumes::Keep).await?;
        // Without its own container, the name is foreign.
        let error = fixture.ensure(&key, &v0, &RUN).await.expect_err("a foreign name");
        ensure!(matches!(error, Error::Foreign(_)), "{error}");
        fixture.release(&foreign).await?;

        // Another of our nodes has its name: that node's name is restored.
        fixture.ensure(&key, &v1, &RUN).await?;
        rename(fixture, &node_object_name(&key, &v1.name), &own).await?;
        fixture.ensure(&key, &v0, &RUN).await?;
        ensure!(
            nodes(fixture, &key).await?.len() == 2 && fixture.state(&key, &v0).await? == NodeState::Running
        );
        ensure!(
            fixture.inspect(&key, &v1).await?.name == Some(format!("/{}", node_object_name(&key, &v1.name)))
        );
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn of_two_containers_with_one_volume_the_running_one_stays() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", STAY));
        fixture.start(&key, &node).await?;
        let own = node_object_name(&key, &node.name);
        let found = fixture.inspect(&key, &node).await?;
        rename(fixture, &own, &by_hand(fixture)).await?;
        let body = ContainerCreateBody {
            image: Some(fixture.image.pinned.clone()),
            cmd: Some(vec!["/bin/busybox".into(), "sleep".into(), "100".into()]),
            labels: Some(
                Labels::of_cluster(fixture.instance, &key)
                    .node(&node.name)
                    .hash(&node.hash)
                    .to_map(),
            ),
            host_config: found.host_config,
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&own).build();
        fixture.docker.create_container(Some(options), body).await?;
        fixture.ensure(&key, &node, &RUN).await?;
        ensure!(
            nodes(fixture, &key).await? == found.id.clone().into_iter().collect::<Vec<_>>(),
            "the other one stayed"
        );
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_disconnected_node_is_reconnected_without_a_restart() {
    with_fixture(async |fixture| {
        let (key, (node, port)) = (key(), greeter());
        fixture.start(&key, &node).await?;
        eventually("it greets", async || {
            greets(fixture, &key, &node.name, &port).await
        })
        .await?;
        let incarnation = fixture
            .agent
            .incarnation(&key, &node.name)
            .await?
            .context("it runs")?;
        let (network, container) = (network_name(&key), node_object_name(&key, &node.name));
        let request = NetworkDisconnectRequest {
            container: container.clone(),
            force: Some(true),
        };
        fixture
            .docker
            .disconnect_network(&network, request.clone())
            .await?;
        let state = fixture.state(&key, &node).await?;
        ensure!(
            matches!(&state, NodeState::Changing(why) if why.contains("network")),
            "{state:?}"
        );
        fixture.ensure(&key, &node, &RUN).await?;
        ensure!(fixture.state(&key, &node).await? == NodeState::Running);
        eventually("it greets again", async || {
            greets(fixture, &key, &node.name, &port).await
        })
        .await?;
        ensure!(
            fixture.agent.incarnation(&key, &node.name).await? == Some(incarnation),
            "it was restarted"
        );

        // Reconnected by hand, but not under its name.
        fixture.docker.disconnect_network(&network, request).await?;
        let request = NetworkConnectRequest {
            container,
            endpoint_config: None,
        };
        fixture.docker.connect_network(&network, request).await?;
        fixture.ensure(&key, &node, &RUN).await?;
        let networks = fixture
            .inspect(&key, &node)
            .await?
            .network_settings
            .and_then(|n| n.networks)
            .context("networks")?;
        ensure!(
            networks[&network]
                .aliases
                .as_ref()
                .is_some_and(|a| a.contains(&"v0".to_owned())),
            "{networks:?}"
        );
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_container_with_other_limits_or_mounts_is_replaced_and_its_volume_stays() {
    with_fixture(async |fixture| {
        let (key, mut node) = (
            key(),
            node(
                "v0",
                &format!("busybox touch /data/run$(busybox ls /data | busybox wc -l); {STAY}"),
            ),
        );
        node.limits.processes = 64;
        fixture.start(&key, &node).await?;
        let id = fixture.inspect(&key, &node).await?.id.context("an id")?;
        let update = ContainerUpdateBody {
            memory: Some(16 << 20),
            memory_swap: Some(16 << 20),
            ..ContainerUpdateBody::default()
        };
        fixture.docker.update_container(&id, update).await?;
        // A node to be stopped keeps its container.
        fixture.ensure(&key, &node, &Power::Off).await?;
        ensure!(
            fixture.inspect(&key, &node).await?.id.as_ref() == Some(&id),
            "it was replaced for a stop"
        );
        fixture.ensure(&key, &node, &RUN).await?;
        let found = fixture.inspect(&key, &node).await?;
        ensure!(
            found.host_config.and_then(|h| h.memory) == Some(32 << 20),
            "its limit is wrong"
        );
        ensure!(found.id.as_ref() != Some(&id));

        // Created by hand with the same labels, without the volume.
        fixture.agent.drop_node(&key, &node.name, Volumes::Keep).await?;
        let body = ContainerCreateBody {
            image: Some(fixture.image.pinned.clone()),
            cmd: Some(vec!["/bin/busybox".into(), "sleep".into(), "100".into()]),
            labels: Some(
                Labels::of_cluster(fixture.instance, &key)
                    .node(&node.name)
                    .hash(&node.hash)
                    .to_map(),
            ),
            host_config: Some(HostConfig::default()),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default()
            .name(&node_object_name(&key, &node.name))
            .build();
        fixture.docker.create_container(Some(options), body).await?;
        fixture.ensure(&key, &node, &RUN).await?;
        let mounts = fixture.inspect(&key, &node).await?.mounts.unwrap_or_default();
        ensure!(
            mounts
                .iter()
                .any(|mount| mount.destination.as_deref() == Some("/data")),
            "{mounts:?}"
        );
        let third_run = async || -> Result<bool> {
            let options = bollard::query_parameters::ContainerArchiveInfoOptionsBuilder::default()
                .path("/data/run2")
                .build();
            Ok(fixture
                .docker
                .get_container_archive_info(&node_object_name(&key, &node.name), Some(options))
                .await
                .is_ok())
        };
        eventually("its third run finds the marks of two runs", third_run).await?;
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn an_unreachable_log_server_is_a_transient_dependency_error() {
    with_fixture(async |fixture| {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = server.local_addr()?;
        drop(server);
        let (key, mut node) = (key(), node("v0", STAY));
        node.log.kind = chainpool_agent::LogType::Syslog;
        node.log.server = Some(format!("tcp://{address}"));
        fixture.agent.ensure_network(&key, &network()).await?;
        let error = fixture
            .ensure(&key, &node, &RUN)
            .await
            .expect_err("nobody listens");
        ensure!(
            matches!(&error, Error::Dependency(text) if text.contains("logging driver"))
                && error.is_transient(),
            "{error}"
        );
        let server = tokio::net::TcpListener::bind(address).await?;
        fixture.ensure(&key, &node, &RUN).await?;
        ensure!(fixture.state(&key, &node).await? == NodeState::Running);
        drop(server);
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
