//! A generation has one network, with its own addresses.

use crate::yard::{STAY, key, network, node, yard};
use anyhow::{Context, ensure};
use bollard::models::{ContainerCreateBody, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest};
use chainpool_agent::{Agent, Error, NetworkSpec, ObjectKind, Scope, network_name};
use futures::future::join_all;

#[test]
fn a_network_is_made_adopted_and_replaced() {
    yard(async |yard| {
        let (key, first, second) = (key(), network(), network());
        yard.agent.ensure_network(&key, &first).await?;
        let made = yard.ours().await?.1;
        let found = yard.docker.inspect_network(&network_name(&key), None).await?;
        let config = found.ipam.and_then(|i| i.config).context("addresses")?;
        ensure!(config[0].subnet.as_deref().map(str::parse) == first.subnet.map(Ok), "{config:?}");
        yard.agent.ensure_network(&key, &first).await?;
        ensure!(yard.ours().await?.1 == made, "it was not adopted");
        yard.agent.ensure_network(&key, &second).await?;
        let now = yard.ours().await?.1;
        ensure!(now.len() == 1 && now != made, "it was not replaced");
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_network_made_many_times_at_once_is_one() {
    yard(async |yard| {
        for spec in [network(), NetworkSpec { subnet: None }] {
            let key = key();
            for result in join_all((0..4).map(|_| yard.agent.ensure_network(&key, &spec))).await {
                result?;
            }
            let seen = yard.agent.observe(Scope::Cluster(key.cluster)).await?;
            ensure!(seen.objects.len() == 1 && seen.objects[0].kind == ObjectKind::Network, "{seen:?}");
            yard.agent.ensure_network(&key, &spec).await?;
            yard.agent.drop_cluster(key.cluster, 1).await?;
        }
        Ok(())
    });
}

#[test]
fn a_foreign_network_of_that_name_is_refused_and_not_touched() {
    yard(async |yard| {
        let (key, subnet) = (key(), network().subnet.context("a subnet")?);
        let config = IpamConfig { subnet: Some(subnet.to_string()), ..IpamConfig::default() };
        let request = NetworkCreateRequest {
            name: network_name(&key),
            ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
            ..NetworkCreateRequest::default()
        };
        let id = yard.docker.create_network(request).await?.id;
        yard.foreign_network(id.clone());
        for spec in [NetworkSpec { subnet: Some(subnet) }, network(), NetworkSpec { subnet: None }] {
            let error = yard.agent.ensure_network(&key, &spec).await.expect_err("a foreign network");
            ensure!(matches!(&error, Error::Foreign(what) if what.contains(&network_name(&key))), "{error}");
        }
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_subnet_that_is_taken_is_named_with_its_holder() {
    yard(async |yard| {
        let (one, other, spec) = (key(), key(), network());
        yard.agent.ensure_network(&one, &spec).await?;
        let error = yard.agent.ensure_network(&other, &spec).await.expect_err("an overlap");
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
fn nodes_find_each_other_by_name() {
    yard(async |yard| {
        let key = key();
        let server = node("v0", "busybox nc -ll -p 7 -e busybox cat");
        let client = node("v1", &format!("until echo ping | busybox nc -w 1 v0 7; do :; done; {STAY}"));
        yard.start(&key, &server).await?;
        yard.ensure(&key, &client, &crate::yard::RUN).await?;
        yard.eventually_says(&key, &client, "ping").await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_foreign_container_on_our_network_is_named_and_not_touched() {
    yard(async |yard| {
        let key = key();
        yard.start(&key, &node("v0", STAY)).await?;
        let id = yard.foreign_container(&format!("guest-{}", yard.instance.0.simple()), ContainerCreateBody::default()).await?;
        let request = NetworkConnectRequest { container: id.clone(), endpoint_config: None };
        yard.docker.connect_network(&network_name(&key), request).await?;
        yard.docker.start_container(&id, None).await?;
        let error = yard.agent.drop_cluster(key.cluster, 1).await.expect_err("a guest");
        ensure!(matches!(&error, Error::Refused(text) if text.contains("guest-")), "{error}");
        ensure!(yard.docker.inspect_container(&id, None).await?.state.and_then(|s| s.running) == Some(true));
        let request = bollard::models::NetworkDisconnectRequest { container: id, force: None };
        yard.docker.disconnect_network(&network_name(&key), request).await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
