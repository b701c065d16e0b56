//! What goes is gone, and nothing else is.

use crate::yard::{RUN, STAY, connection, key, network, node, yard};
use anyhow::ensure;
use bollard::models::{ContainerCreateBody, HostConfig};
use chainpool_agent::{Agent, ClusterKey, Error, InstanceId, ObjectKind, Scope, Volumes, volume_name};
use chainpool_agent_docker::DockerAgent;

#[test]
fn a_cluster_is_dropped_with_all_it_had_up_to_its_generation() {
    yard(async |yard| {
        let old = key();
        let new = ClusterKey { generation: 2, ..old };
        for key in [&old, &new] {
            yard.agent.ensure_network(key, &network()).await?;
            for name in ["v0", "v1"] {
                yard.ensure(key, &node(name, STAY), &RUN).await?;
            }
        }
        yard.agent.drop_cluster(old.cluster, 1).await?;
        let left = yard.agent.observe(Scope::Host).await?;
        ensure!(left.objects.len() == 5 && left.objects.iter().all(|o| o.generation == 2), "{left:?}");
        yard.agent.drop_cluster(old.cluster, 2).await?;
        ensure!(yard.agent.observe(Scope::Host).await?.objects.is_empty());
        yard.agent.drop_cluster(old.cluster, 2).await?; // absent is success
        Ok(())
    });
}

#[test]
fn a_node_is_dropped_with_or_without_its_volumes() {
    yard(async |yard| {
        let (key, v0, v1) = (key(), node("v0", STAY), node("v1", STAY));
        yard.start(&key, &v0).await?;
        yard.ensure(&key, &v1, &RUN).await?;
        for (volumes, left) in [(Volumes::Keep, 2), (Volumes::Keep, 2), (Volumes::Purge, 1), (Volumes::Purge, 1)] {
            yard.agent.drop_node(&key, &v0.name, volumes).await?;
            let (containers, networks, found) = yard.ours().await?;
            ensure!((containers.len(), networks.len(), found.len()) == (1, 1, left), "{volumes:?}");
        }
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_paused_node_is_dropped() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", STAY));
        yard.start(&key, &node).await?;
        yard.docker.pause_container(&chainpool_agent::node_object_name(&key, &node.name)).await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_foreign_container_on_our_volume_is_named_and_not_touched() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", STAY));
        yard.start(&key, &node).await?;
        let bind = format!("{}:/theirs", volume_name(&key, &node.name, "data"));
        let body = ContainerCreateBody {
            host_config: Some(HostConfig { binds: Some(vec![bind]), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let id = yard.foreign_container(&format!("borrower-{}", yard.instance.0.simple()), body).await?;
        let error = yard.agent.drop_cluster(key.cluster, 1).await.expect_err("a borrower");
        ensure!(matches!(&error, Error::Refused(text) if text.contains(&id)), "{error}");
        let left = yard.agent.observe(Scope::Host).await?;
        ensure!(left.objects.iter().all(|o| o.kind == ObjectKind::Volume), "{left:?}");
        yard.release(&id).await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn two_instances_on_one_engine_do_not_see_each_other() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", STAY));
        yard.start(&key, &node).await?;
        let other = DockerAgent::connect(&connection(InstanceId::new()))?;
        ensure!(other.observe(Scope::Host).await?.objects.is_empty());
        ensure!(other.observe(Scope::Cluster(key.cluster)).await?.objects.is_empty());
        other.drop_cluster(key.cluster, u32::MAX).await?;
        other.drop_node(&key, &node.name, Volumes::Purge).await?;
        ensure!(matches!(other.ensure_network(&key, &network()).await, Err(Error::Foreign(_))));
        ensure!(matches!(other.ensure_node(&key, &node, &yard.image, &RUN).await, Err(Error::Foreign(_))));
        ensure!(yard.agent.observe(Scope::Host).await?.objects.len() == 3);
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
