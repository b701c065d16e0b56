//! A generation has one network, with its own addresses.

use crate::yard::{STAY, key, network, node, yard};
use anyhow::{Context, ensure};
use bollard::models::{ContainerCreateBody, NetworkConnectRequest};
use chainpool_agent::{Agent, Error, NetworkSpec, ObjectKind, Scope, network_name};
use futures::future::join_all;

#[test]
fn a_network_without_addresses_of_our_choice_made_many_times_at_once_is_one() {
    yard(async |yard| {
        let (key, spec) = (key(), NetworkSpec { subnet: None });
        for result in join_all((0..4).map(|_| yard.agent.ensure_network(&key, &spec))).await {
            result?;
        }
        let seen = yard.agent.observe(Scope::Cluster(key.cluster)).await?;
        ensure!(
            seen.objects.len() == 1 && seen.objects[0].kind == ObjectKind::Network,
            "{seen:?}"
        );
        yard.agent.ensure_network(&key, &spec).await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_subnet_that_is_taken_is_named_with_its_holder() {
    yard(async |yard| {
        let (one, other, spec) = (key(), key(), network());
        yard.agent.ensure_network(&one, &spec).await?;
        let error = yard
            .agent
            .ensure_network(&other, &spec)
            .await
            .expect_err("an overlap");
        let subnet = spec.subnet.context("a subnet")?.to_string();
        ensure!(
            matches!(&error, Error::Occupied { words, .. } if words.contains(&subnet) && words.contains(&network_name(&one))),
            "{error}"
        );
        yard.agent.drop_cluster(one.cluster, 1).await?;
        yard.agent.drop_cluster(other.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_foreign_container_on_our_network_is_named_and_not_touched() {
    yard(async |yard| {
        let key = key();
        yard.start(&key, &node("v0", STAY)).await?;
        let id = yard
            .foreign_container(
                &format!("guest-{}", yard.instance.0.simple()),
                ContainerCreateBody::default(),
            )
            .await?;
        let request = NetworkConnectRequest {
            container: id.clone(),
            endpoint_config: None,
        };
        yard.docker.connect_network(&network_name(&key), request).await?;
        yard.docker.start_container(&id, None).await?;
        let error = yard
            .agent
            .drop_cluster(key.cluster, 1)
            .await
            .expect_err("a guest");
        ensure!(
            matches!(&error, Error::Refused(text) if text.contains("guest-")),
            "{error}"
        );
        ensure!(
            yard.docker
                .inspect_container(&id, None)
                .await?
                .state
                .and_then(|s| s.running)
                == Some(true)
        );
        let request = bollard::models::NetworkDisconnectRequest {
            container: id,
            force: None,
        };
        yard.docker
            .disconnect_network(&network_name(&key), request)
            .await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
