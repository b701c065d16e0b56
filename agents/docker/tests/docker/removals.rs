//! What goes is gone, and nothing else is.

use crate::yard::{STAY, key, node, yard};
use anyhow::ensure;
use bollard::models::{ContainerCreateBody, HostConfig};
use chainpool_agent::{Agent, Error, ObjectKind, Scope, volume_name};

#[test]
fn a_paused_node_is_dropped() {
    yard(async |yard| {
        let (key, node) = (key(), node("v0", STAY));
        yard.start(&key, &node).await?;
        yard.docker
            .pause_container(&chainpool_agent::node_object_name(&key, &node.name))
            .await?;
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
            host_config: Some(HostConfig {
                binds: Some(vec![bind]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let id = yard
            .foreign_container(&format!("borrower-{}", yard.instance.0.simple()), body)
            .await?;
        let error = yard
            .agent
            .drop_cluster(key.cluster, 1)
            .await
            .expect_err("a borrower");
        ensure!(
            matches!(&error, Error::Refused(text) if text.contains(&id)),
            "{error}"
        );
        let left = yard.agent.observe(Scope::Host).await?;
        ensure!(
            left.objects.iter().all(|o| o.kind == ObjectKind::Volume),
            "{left:?}"
        );
        yard.release(&id).await?;
        yard.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
