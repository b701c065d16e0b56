//! Removals are complete, and touch nothing else.

use crate::fixture::{STAY, key, node, with_fixture};
use anyhow::ensure;
use bollard::models::{ContainerCreateBody, HostConfig};
use chainpool_agent::{Agent, Error, ObjectKind, Scope, volume_name};

#[test]
fn a_paused_node_is_dropped() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", STAY));
        fixture.start(&key, &node).await?;
        fixture
            .docker
            .pause_container(&chainpool_agent::node_object_name(&key, &node.name))
            .await?;
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}

#[test]
fn a_foreign_container_on_our_volume_is_named_and_not_touched() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", STAY));
        fixture.start(&key, &node).await?;
        let bind = format!("{}:/theirs", volume_name(&key, &node.name, "data"));
        let body = ContainerCreateBody {
            host_config: Some(HostConfig {
                binds: Some(vec![bind]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let id = fixture
            .foreign_container(&format!("borrower-{}", fixture.instance.0.simple()), body)
            .await?;
        let error = fixture
            .agent
            .drop_cluster(key.cluster, 1)
            .await
            .expect_err("a borrower");
        ensure!(
            matches!(&error, Error::Refused(text) if text.contains(&id)),
            "{error}"
        );
        let left = fixture.agent.observe(Scope::Host).await?;
        ensure!(
            left.objects.iter().all(|o| o.kind == ObjectKind::Volume),
            "{left:?}"
        );
        fixture.release(&id).await?;
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
