//! A generation has one network, with its own subnet.

use crate::fixture::{STAY, key, network, node, with_fixture};
use anyhow::{Context, ensure};
use bollard::models::{ContainerCreateBody, NetworkConnectRequest};
use chainpool_agent::{Agent, Error, NetworkSpec, ObjectKind, Scope, network_name};
use futures::future::join_all;

#[test]
fn concurrent_calls_create_one_network_without_a_subnet() {
    with_fixture(async |fixture| {
        let (key, spec) = (key(), NetworkSpec { subnet: None });
        for result in join_all((0..4).map(|_| fixture.agent.ensure_network(&key, &spec))).await {
            result?;
        }
        let seen = fixture.agent.observe(Scope::Cluster(key.cluster)).await?;
        ensure!(
            seen.objects.len() == 1 && seen.objects[0].kind == ObjectKind::Network,
            "{seen:?}"
        );
        fixture.agent.ensure_network(&key, &spec).await?;
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn an_occupied_subnet_is_named_with_its_holder() {
    with_fixture(async |fixture| {
        let (one, other, spec) = (key(), key(), network());
        fixture.agent.ensure_network(&one, &spec).await?;
        let error = fixture
            .agent
            .ensure_network(&other, &spec)
            .await
            .expect_err("an overlap");
        let subnet = spec.subnet.context("a subnet")?.to_string();
        ensure!(
            matches!(&error, Error::Occupied { reason, .. } if reason.contains(&subnet) && reason.contains(&network_name(&one))),
            "{error}"
        );
        fixture.agent.drop_cluster(one.cluster, 1).await?;
        fixture.agent.drop_cluster(other.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_foreign_container_on_our_network_is_named_and_not_touched() {
    with_fixture(async |fixture| {
        let key = key();
        fixture.start(&key, &node("v0", STAY)).await?;
        let id = fixture
            .foreign_container(
                &format!("guest-{}", fixture.instance.0.simple()),
                ContainerCreateBody::default(),
            )
            .await?;
        let request = NetworkConnectRequest {
            container: id.clone(),
            endpoint_config: None,
        };
        fixture
            .docker
            .connect_network(&network_name(&key), request)
            .await?;
        fixture.docker.start_container(&id, None).await?;
        let error = fixture
            .agent
            .drop_cluster(key.cluster, 1)
            .await
            .expect_err("a guest");
        ensure!(
            matches!(&error, Error::Refused(text) if text.contains("guest-")),
            "{error}"
        );
        ensure!(
            fixture
                .docker
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
        fixture
            .docker
            .disconnect_network(&network_name(&key), request)
            .await?;
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
