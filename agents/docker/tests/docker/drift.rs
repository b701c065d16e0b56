//! What somebody did to a container by hand is found and put right, in an engine's own way; what holds on every platform is in the kit.

use crate::yard::{RUN, STAY, eventually, free_port, key, network, node, yard};
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

async fn rename(yard: &crate::yard::Yard, from: &str, to: &str) -> Result<()> {
    let options = RenameContainerOptionsBuilder::default().name(to).build();
    Ok(yard.docker.rename_container(from, options).await?)
}

fn by_hand(yard: &crate::yard::Yard) -> String {
    format!("by-hand-{}", yard.instance.0.simple())
}

async fn nodes(yard: &crate::yard::Yard, key: &ClusterKey) -> Result<Vec<String>> {
    let seen = yard.agent.observe(Scope::Cluster(key.cluster)).await?;
    Ok(seen
        .objects
        .into_iter()
        .filter(|o| o.kind == chainpool_agent::ObjectKind::Node)
        .map(|o| o.id)
        .collect())
}

/// A node that says hello on a published port.
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

async fn greets(yard: &crate::yard::Yard, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<bool> {
    let Ok(mut stream) = yard.agent.dial(key, node, port).await else {
        return Ok(false);
    };
    let mut said = String::new();
    Ok(stream.read_to_string(&mut said).await.is_ok() && said.contains("hello"))
}

#[test]
fn a_renamed_container_gets_its_name_back_and_is_stopped_by_any_name() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", STAY));
        yard.start(&key, &node).await?;
        let (own, other) = (node_object_name(&key, &node.name), by_hand(yard));
        let id = yard.inspect(&key, &node).await?.id;
        rename(yard, &own, &other).await?;
        yard.ensure(&key, &node, &Power::Off).await?;
        ensure!(
            yard.state(&key, &node).await? == NodeState::Exited(0),
            "it was not stopped"
        );
        ensure!(
            yard.inspect(&key, &node).await?.id == id,
            "it has not its name back"
        );
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_renamed_container_whose_name_is_anothers_goes_on_by_its_labels() {
    yard(async |yard| {
        let (key, v0, v1) = (key(), node("v0", STAY), node("v1", STAY));
        yard.start(&key, &v0).await?;
        let (own, other) = (node_object_name(&key, &v0.name), by_hand(yard));
        rename(yard, &own, &other).await?;
        let foreign = yard
            .foreign_container(&own, ContainerCreateBody::default())
            .await?;
        let life = yard
            .agent
            .incarnation(&key, &v0.name)
            .await?
            .context("it lives")?;
        yard.ensure(&key, &v0, &RUN).await?;
        ensure!(
            yard.agent.incarnation(&key, &v0.name).await? == Some(life),
            "it has another life"
        );
        ensure!(nodes(yard, &key).await?.len() == 1, "it was made twice");
        yard.ensure(&key, &v0, &Power::Off).await?;
        ensure!(yard.state(&key, &v0).await? == NodeState::Exited(0));
        yard.agent.drop_node(&key, &v0.name, Volumes::Keep).await?;
        // Without a container of its own its name is foreign, as ever.
        let error = yard.ensure(&key, &v0, &RUN).await.expect_err("a foreign name");
        ensure!(matches!(error, Error::Foreign(_)), "{error}");
        yard.release(&foreign).await?;

        // Another node of ours has its name: it is given its own back.
        yard.ensure(&key, &v1, &RUN).await?;
        rename(yard, &node_object_name(&key, &v1.name), &own).await?;
        yard.ensure(&key, &v0, &RUN).await?;
        ensure!(nodes(yard, &key).await?.len() == 2 && yard.state(&key, &v0).await? == NodeState::Running);
        ensure!(
            yard.inspect(&key, &v1).await?.name == Some(format!("/{}", node_object_name(&key, &v1.name)))
        );
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn of_two_containers_with_one_volume_the_one_that_runs_stays() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", STAY));
        yard.start(&key, &node).await?;
        let own = node_object_name(&key, &node.name);
        let found = yard.inspect(&key, &node).await?;
        rename(yard, &own, &by_hand(yard)).await?;
        let body = ContainerCreateBody {
            image: Some(yard.image.pinned.clone()),
            cmd: Some(vec!["/bin/busybox".into(), "sleep".into(), "100".into()]),
            labels: Some(
                Labels::of_cluster(yard.instance, &key)
                    .node(&node.name)
                    .hash(&node.hash)
                    .to_map(),
            ),
            host_config: found.host_config,
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&own).build();
        yard.docker.create_container(Some(options), body).await?;
        yard.ensure(&key, &node, &RUN).await?;
        ensure!(
            nodes(yard, &key).await? == found.id.clone().into_iter().collect::<Vec<_>>(),
            "the other one stayed"
        );
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_node_that_was_disconnected_is_reached_again_in_the_same_life() {
    yard(async |yard| {
        let (key, (node, port)) = (key(), greeter());
        yard.start(&key, &node).await?;
        eventually("it greets", async || greets(yard, &key, &node.name, &port).await).await?;
        let life = yard
            .agent
            .incarnation(&key, &node.name)
            .await?
            .context("it lives")?;
        let (network, container) = (network_name(&key), node_object_name(&key, &node.name));
        let request = NetworkDisconnectRequest {
            container: container.clone(),
            force: Some(true),
        };
        yard.docker.disconnect_network(&network, request.clone()).await?;
        let state = yard.state(&key, &node).await?;
        ensure!(
            matches!(&state, NodeState::Changing(words) if words.contains("network")),
            "{state:?}"
        );
        yard.ensure(&key, &node, &RUN).await?;
        ensure!(yard.state(&key, &node).await? == NodeState::Running);
        eventually("it greets again", async || {
            greets(yard, &key, &node.name, &port).await
        })
        .await?;
        ensure!(
            yard.agent.incarnation(&key, &node.name).await? == Some(life),
            "it was started anew"
        );

        // Connected again by hand, but not under its name.
        yard.docker.disconnect_network(&network, request).await?;
        let request = NetworkConnectRequest {
            container,
            endpoint_config: None,
        };
        yard.docker.connect_network(&network, request).await?;
        yard.ensure(&key, &node, &RUN).await?;
        let networks = yard
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
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_container_with_other_limits_or_mounts_is_replaced_and_its_volume_stays() {
    yard(async |yard| {
        let (key, mut node) = (
            key(),
            node(
                "v0",
                &format!("busybox touch /data/life$(busybox ls /data | busybox wc -l); {STAY}"),
            ),
        );
        node.limits.processes = 64;
        yard.start(&key, &node).await?;
        let id = yard.inspect(&key, &node).await?.id.context("an id")?;
        let update = ContainerUpdateBody {
            memory: Some(16 << 20),
            memory_swap: Some(16 << 20),
            ..ContainerUpdateBody::default()
        };
        yard.docker.update_container(&id, update).await?;
        // What is only to rest is left as it is.
        yard.ensure(&key, &node, &Power::Off).await?;
        ensure!(
            yard.inspect(&key, &node).await?.id.as_ref() == Some(&id),
            "it was replaced to rest"
        );
        yard.ensure(&key, &node, &RUN).await?;
        let found = yard.inspect(&key, &node).await?;
        ensure!(
            found.host_config.and_then(|h| h.memory) == Some(32 << 20),
            "its limit is not the wanted one"
        );
        ensure!(found.id.as_ref() != Some(&id));

        // Made by hand from the same labels, without the volume.
        yard.agent.drop_node(&key, &node.name, Volumes::Keep).await?;
        let body = ContainerCreateBody {
            image: Some(yard.image.pinned.clone()),
            cmd: Some(vec!["/bin/busybox".into(), "sleep".into(), "100".into()]),
            labels: Some(
                Labels::of_cluster(yard.instance, &key)
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
        yard.docker.create_container(Some(options), body).await?;
        yard.ensure(&key, &node, &RUN).await?;
        let mounts = yard.inspect(&key, &node).await?.mounts.unwrap_or_default();
        ensure!(
            mounts
                .iter()
                .any(|mount| mount.destination.as_deref() == Some("/data")),
            "{mounts:?}"
        );
        let said = async || -> Result<bool> {
            let options = bollard::query_parameters::ContainerArchiveInfoOptionsBuilder::default()
                .path("/data/life2")
                .build();
            Ok(yard
                .docker
                .get_container_archive_info(&node_object_name(&key, &node.name), Some(options))
                .await
                .is_ok())
        };
        eventually("its third life finds what two left", said).await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_log_server_that_is_away_is_a_dependency_and_no_refusal() {
    yard(async |yard| {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = server.local_addr()?;
        drop(server);
        let (key, mut node) = (key(), node("v0", STAY));
        node.log.kind = chainpool_agent::LogType::Syslog;
        node.log.server = Some(format!("tcp://{address}"));
        yard.agent.ensure_network(&key, &network()).await?;
        let error = yard.ensure(&key, &node, &RUN).await.expect_err("nobody listens");
        ensure!(
            matches!(&error, Error::Dependency(text) if text.contains("logging driver"))
                && error.is_transient(),
            "{error}"
        );
        let server = tokio::net::TcpListener::bind(address).await?;
        yard.ensure(&key, &node, &RUN).await?;
        ensure!(yard.state(&key, &node).await? == NodeState::Running);
        drop(server);
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
