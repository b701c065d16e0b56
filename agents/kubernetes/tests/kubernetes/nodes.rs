//! What goes wrong is told in the cluster's words, and nothing foreign is touched.

use crate::yard::{ANY, RUN, STAY, Yard, eventually, file, key, node, port, second, user_port};
use anyhow::{Result, ensure};
use chainpool_agent::{Agent, Error, ImageRef, NodeState, Place, Power, Volumes, network_name};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Service};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

pub(crate) async fn a_node_that_cannot_start_says_why(yard: &Yard<'_>) -> Result<()> {
    let (key, mut wrong) = (key(), node("v0", STAY));
    wrong.command = vec!["/no/such/program".into()];
    yard.agent.ensure_network(&key, &ANY).await?;
    let error = yard.ensure(&key, &wrong, &RUN).await.expect_err("no program");
    ensure!(
        matches!(&error, Error::Refused(words) if words.contains("/no/such/program")),
        "{error}"
    );
    let absent = ImageRef {
        name: "chainpool-test/gone:1".into(),
        pinned: "127.0.0.1:9/chainpool-test/gone:1".into(),
    };
    let other = node("v1", STAY);
    let error = yard
        .agent
        .ensure_node(&key, &other, &absent, &RUN)
        .await
        .expect_err("no image");
    ensure!(
        matches!(&error, Error::Refused(words) if words.contains("127.0.0.1:9")),
        "{error}"
    );
    // Put right, it replaces the one that never ran.
    let right = second(node("v0", STAY));
    yard.ensure(&key, &right, &RUN).await?;
    ensure!(yard.state(&key, &right).await? == NodeState::Running);
    // A node that ends by itself was started.
    let ending = node("v2", "exit 7");
    yard.ensure(&key, &ending, &RUN).await?;
    yard.eventually_is(&key, &ending, NodeState::Exited(7)).await?;
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_node_that_fits_on_no_machine_says_why(yard: &Yard<'_>) -> Result<()> {
    let (key, mut node) = (key(), node("v0", STAY));
    node.limits.memory_bytes = 1 << 50;
    node.volumes = vec![];
    yard.agent.ensure_network(&key, &ANY).await?;
    let error = yard
        .ensure(&key, &node, &RUN)
        .await
        .expect_err("no machine is so large");
    ensure!(
        matches!(&error, Error::Busy(words) if words.contains("Insufficient memory")),
        "{error}"
    );
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn root_becomes_somebody_else(yard: &Yard<'_>) -> Result<()> {
    let (key, mut node) = (
        key(),
        node(
            "v0",
            &format!("id; cat /data/app; nc -ll -p 80 -e /bin/busybox cat & echo told; {STAY}"),
        ),
    );
    node.user = None;
    node.files = vec![chainpool_agent::File {
        owner: (0, 0),
        mode: 0o600,
        ..file("/data/app", "app\n")
    }];
    node.ports = vec![chainpool_agent::Port {
        inside: 80,
        ..user_port(None)
    }];
    yard.start(&key, &node).await?;
    let said = yard.says(&key, &node, "told").await?;
    ensure!(
        said.contains("uid=10001 gid=10001") && said.contains("app\n"),
        "{said}"
    );
    node.user = Some("nobody".into());
    let error = yard.ensure(&key, &second(node), &RUN).await.expect_err("a name");
    ensure!(
        matches!(&error, Error::Refused(words) if words.contains("as numbers")),
        "{error}"
    );
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_taken_port_is_told_as_such(yard: &Yard<'_>) -> Result<()> {
    let (one, other, taken) = (key(), key(), port());
    let mut node = node("v0", STAY);
    node.ports = vec![user_port(Some(taken))];
    yard.start(&one, &node).await?;
    let error = yard
        .start(&other, &node)
        .await
        .expect_err("it is taken")
        .downcast::<Error>()?;
    ensure!(
        matches!(error, Error::Occupied { place: Place::Port(port), .. } if port == taken),
        "{error}"
    );
    yard.agent.drop_node(&one, &node.name, Volumes::Purge).await?;
    yard.ensure(&other, &node, &RUN).await?;
    node.ports = vec![user_port(Some(80))];
    let error = yard
        .ensure(&one, &node, &RUN)
        .await
        .expect_err("no port for services");
    ensure!(
        matches!(&error, Error::Refused(words) if words.contains("range")),
        "{error}"
    );
    yard.agent.drop_cluster(one.cluster, 1).await?;
    yard.agent.drop_cluster(other.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_foreign_namespace_is_not_touched(yard: &Yard<'_>) -> Result<()> {
    let (key, node) = (key(), node("v0", STAY));
    let name = network_name(&key);
    yard.foreign_namespace(&name).await?;
    let foreign =
        |result: Result<(), Error>| matches!(&result, Err(Error::Foreign(what)) if what.contains(&name));
    ensure!(foreign(yard.agent.ensure_network(&key, &ANY).await));
    for power in [RUN, Power::Off] {
        ensure!(foreign(yard.ensure(&key, &node, &power).await));
    }
    ensure!(foreign(yard.agent.incarnation(&key, &node.name).await.map(drop)));
    ensure!(foreign(
        yard.agent
            .logs(&key, &node.name, chainpool_agent::LogQuery::default())
            .await
            .map(drop)
    ));
    yard.agent.drop_node(&key, &node.name, Volumes::Purge).await?;
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_foreign_object_keeps_its_namespace(yard: &Yard<'_>) -> Result<()> {
    let (key, mut node) = (key(), node("v0", STAY));
    node.ports = vec![user_port(None)];
    yard.agent.ensure_network(&key, &ANY).await?;
    let services = yard.api::<Service>(&key);
    let service =
        serde_json::from_value(json!({ "metadata": { "name": "v0" }, "spec": { "clusterIP": "None" } }))?;
    let before = services.create(&PostParams::default(), &service).await?.metadata;
    let error = yard
        .ensure(&key, &node, &RUN)
        .await
        .expect_err("a foreign service");
    ensure!(
        matches!(&error, Error::Foreign(what) if what.contains("v0")),
        "{error}"
    );
    let error = yard
        .agent
        .drop_cluster(key.cluster, 1)
        .await
        .expect_err("it would go with the namespace");
    ensure!(
        matches!(&error, Error::Foreign(what) if what.contains("services/v0")),
        "{error}"
    );
    let now = services.get("v0").await?.metadata;
    ensure!(
        (now.uid, now.resource_version) == (before.uid, before.resource_version),
        "it was touched"
    );
    services.delete("v0", &DeleteParams::default()).await?;
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_namespace_deleted_by_hand_is_made_again(yard: &Yard<'_>) -> Result<()> {
    let (key, mut node) = (key(), node("v0", &format!("cat /data/state; echo told; {STAY}")));
    node.files = vec![chainpool_agent::File {
        once: true,
        ..file("/data/state", "fresh\n")
    }];
    yard.start(&key, &node).await?;
    let namespaces: Api<Namespace> = Api::all(yard.bed.admin.clone());
    namespaces
        .delete(&network_name(&key), &DeleteParams::default())
        .await?;
    eventually("the node is gone", async || {
        Ok(yard.state(&key, &node).await? == NodeState::Absent)
    })
    .await?;
    yard.agent.ensure_network(&key, &ANY).await?;
    yard.ensure(&key, &node, &RUN).await?;
    yard.says(&key, &node, "fresh\ntold").await?;
    // A claim taken away by hand comes back with the next pod.
    yard.ensure(&key, &node, &Power::Off).await?;
    let claims = yard.api::<PersistentVolumeClaim>(&key);
    let claim = chainpool_agent::volume_name(&key, &node.name, "data");
    claims.delete(&claim, &DeleteParams::default()).await?;
    eventually("the claim is gone", async || {
        Ok(claims.get_opt(&claim).await?.is_none())
    })
    .await?;
    yard.ensure(&key, &node, &RUN).await?;
    yard.says(&key, &node, "fresh\ntold").await?;
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}
