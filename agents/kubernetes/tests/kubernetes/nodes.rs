//! Start failures are reported with the cluster's messages, and foreign objects are not touched.

use crate::fixture::{ANY, Fixture, RUN, STAY, eventually, file, key, node, port, second, user_port};
use anyhow::{Result, ensure};
use chainpool_agent::{Agent, Error, ImageRef, NodeState, Place, Power, Volumes, network_name};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Service};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

pub(crate) async fn a_start_failure_reports_its_reason(fixture: &Fixture<'_>) -> Result<()> {
    let (key, mut wrong) = (key(), node("v0", STAY));
    wrong.command = vec!["/no/such/program".into()];
    fixture.agent.ensure_network(&key, &ANY).await?;
    let error = fixture.ensure(&key, &wrong, &RUN).await.expect_err("no program");
    ensure!(
        matches!(&error, Error::Refused(reason) if reason.contains("/no/such/program")),
        "{error}"
    );
    let absent = ImageRef {
        name: "chainpool-test/gone:1".into(),
        pinned: "127.0.0.1:9/chainpool-test/gone:1".into(),
    };
    let other = node("v1", STAY);
    let error = fixture
        .agent
        .ensure_node(&key, &other, &absent, &RUN)
        .await
        .expect_err("no image");
    ensure!(
        matches!(&error, Error::Refused(reason) if reason.contains("127.0.0.1:9")),
        "{error}"
    );
    // The corrected spec replaces a node that never ran.
    let corrected = second(node("v0", STAY));
    fixture.ensure(&key, &corrected, &RUN).await?;
    ensure!(fixture.state(&key, &corrected).await? == NodeState::Running);
    // A node that exits by itself was started.
    let exiting = node("v2", "exit 7");
    fixture.ensure(&key, &exiting, &RUN).await?;
    fixture
        .wait_for_state(&key, &exiting, NodeState::Exited(7))
        .await?;
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn an_unschedulable_node_reports_its_reason(fixture: &Fixture<'_>) -> Result<()> {
    let (key, mut node) = (key(), node("v0", STAY));
    node.limits.memory_bytes = 1 << 50;
    node.volumes = vec![];
    fixture.agent.ensure_network(&key, &ANY).await?;
    let error = fixture
        .ensure(&key, &node, &RUN)
        .await
        .expect_err("no machine has enough memory");
    ensure!(
        matches!(&error, Error::Busy(reason) if reason.contains("Insufficient memory")),
        "{error}"
    );
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn root_is_replaced_by_an_unprivileged_user(fixture: &Fixture<'_>) -> Result<()> {
    let (key, mut node) = (
        key(),
        node(
            "v0",
            &format!("id; cat /data/app; nc -ll -p 80 -e /bin/busybox cat & echo done; {STAY}"),
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
    fixture.start(&key, &node).await?;
    let log = fixture.wait_for_log(&key, &node, "done").await?;
    ensure!(
        log.contains("uid=10001 gid=10001") && log.contains("app\n"),
        "{log}"
    );
    node.user = Some("nobody".into());
    let error = fixture
        .ensure(&key, &second(node), &RUN)
        .await
        .expect_err("a name");
    ensure!(
        matches!(&error, Error::Refused(reason) if reason.contains("numeric user")),
        "{error}"
    );
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn an_occupied_port_is_reported(fixture: &Fixture<'_>) -> Result<()> {
    let (one, other, occupied) = (key(), key(), port());
    let mut node = node("v0", STAY);
    node.ports = vec![user_port(Some(occupied))];
    fixture.start(&one, &node).await?;
    let error = fixture
        .start(&other, &node)
        .await
        .expect_err("it is occupied")
        .downcast::<Error>()?;
    ensure!(
        matches!(error, Error::Occupied { place: Place::Port(port), .. } if port == occupied),
        "{error}"
    );
    fixture.agent.drop_node(&one, &node.name, Volumes::Purge).await?;
    fixture.ensure(&other, &node, &RUN).await?;
    node.ports = vec![user_port(Some(80))];
    let error = fixture
        .ensure(&one, &node, &RUN)
        .await
        .expect_err("not a node port");
    ensure!(
        matches!(&error, Error::Refused(reason) if reason.contains("range")),
        "{error}"
    );
    fixture.agent.drop_cluster(one.cluster, 1).await?;
    fixture.agent.drop_cluster(other.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_foreign_namespace_is_not_touched(fixture: &Fixture<'_>) -> Result<()> {
    let (key, node) = (key(), node("v0", STAY));
    let name = network_name(&key);
    fixture.foreign_namespace(&name).await?;
    let foreign =
        |result: Result<(), Error>| matches!(&result, Err(Error::Foreign(what)) if what.contains(&name));
    ensure!(foreign(fixture.agent.ensure_network(&key, &ANY).await));
    for power in [RUN, Power::Off] {
        ensure!(foreign(fixture.ensure(&key, &node, &power).await));
    }
    ensure!(foreign(
        fixture.agent.incarnation(&key, &node.name).await.map(drop)
    ));
    ensure!(foreign(
        fixture
            .agent
            .logs(&key, &node.name, chainpool_agent::LogQuery::default())
            .await
            .map(drop)
    ));
    fixture.agent.drop_node(&key, &node.name, Volumes::Purge).await?;
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_foreign_object_blocks_namespace_deletion(fixture: &Fixture<'_>) -> Result<()> {
    let (key, mut node) = (key(), node("v0", STAY));
    node.ports = vec![user_port(None)];
    fixture.agent.ensure_network(&key, &ANY).await?;
    let services = fixture.api::<Service>(&key);
    let service =
        serde_json::from_value(json!({ "metadata": { "name": "v0" }, "spec": { "clusterIP": "None" } }))?;
    let before = services.create(&PostParams::default(), &service).await?.metadata;
    let error = fixture
        .ensure(&key, &node, &RUN)
        .await
        .expect_err("a foreign service");
    ensure!(
        matches!(&error, Error::Foreign(what) if what.contains("v0")),
        "{error}"
    );
    let error = fixture
        .agent
        .drop_cluster(key.cluster, 1)
        .await
        .expect_err("it would be deleted with the namespace");
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
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

pub(crate) async fn a_manually_deleted_namespace_is_recreated(fixture: &Fixture<'_>) -> Result<()> {
    let (key, mut node) = (key(), node("v0", &format!("cat /data/state; echo done; {STAY}")));
    node.files = vec![chainpool_agent::File {
        once: true,
        ..file("/data/state", "fresh\n")
    }];
    fixture.start(&key, &node).await?;
    let namespaces: Api<Namespace> = Api::all(fixture.bed.admin.clone());
    namespaces
        .delete(&network_name(&key), &DeleteParams::default())
        .await?;
    eventually("the node is deleted", async || {
        Ok(fixture.state(&key, &node).await? == NodeState::Absent)
    })
    .await?;
    fixture.agent.ensure_network(&key, &ANY).await?;
    fixture.ensure(&key, &node, &RUN).await?;
    fixture.wait_for_log(&key, &node, "fresh\ndone").await?;
    // A manually deleted claim is recreated with the next pod.
    fixture.ensure(&key, &node, &Power::Off).await?;
    let claims = fixture.api::<PersistentVolumeClaim>(&key);
    let claim = chainpool_agent::volume_name(&key, &node.name, "data");
    claims.delete(&claim, &DeleteParams::default()).await?;
    eventually("the claim is deleted", async || {
        Ok(claims.get_opt(&claim).await?.is_none())
    })
    .await?;
    fixture.ensure(&key, &node, &RUN).await?;
    fixture.wait_for_log(&key, &node, "fresh\ndone").await?;
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}
