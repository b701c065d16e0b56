//! Nodes on several machines.

use crate::bed;
use crate::fixture::{Fixture, RUN, SOON, STAY, eventually, file, network, node, once};
use anyhow::{Context, Result, ensure};
use bollard::{
    models::{NetworkCreateRequest, ServiceSpec, TaskSpec, TaskSpecContainerSpec},
    query_parameters::{InspectServiceOptions, ListSecretsOptions},
};
use chainpool_agent::{
    Agent, ClusterId, ClusterKey, Connection, Error, NodeState, Power, SpecHash, network_name,
    node_object_name,
};
use chainpool_agent_docker::SwarmAgent;

/// Two nodes on two machines: files, names, a restart, a replacement, and no secret left behind.
pub(crate) async fn on_two_machines(fixture: &Fixture<'_>) -> Result<()> {
    let machines = fixture.machines().await?;
    let key = fixture.cluster().await?;
    let list = "b=/bin/busybox; $b stat -c '%n %a %u %g %s' /data /data/config /data/config/app /data/state; $b cat /data/state; echo; ";
    let reach = "until [ \"$($b nc -w 2 v1 7000 < /dev/null)\" = here ]; do sleep 0.2; done; echo reached; ";
    let mut first = node(
        "v0",
        &machines[0],
        &format!("{list}{reach}echo kept > /data/state; echo done; {STAY}"),
    );
    first.files = vec![file("/data/config/app", "12345"), once("/data/state", "0")];
    first.files[0].secret = true;
    let second = node(
        "v1",
        &machines[1],
        "trap 'exit 0' TERM; while :; do echo here | /bin/busybox nc -l -p 7000; done",
    );
    let (a, b) = tokio::join!(
        fixture.ensure(&key, &first, &RUN),
        fixture.ensure(&key, &second, &RUN)
    );
    a?;
    b?;
    let output = fixture.wait_for_output(&key, &first, "done").await?;
    for line in [
        "/data 755 1000 1001",
        "/data/config 755 1000 1001",
        "/data/config/app 640 1000 1001 5",
        "/data/state 640 1000 1001 1",
    ] {
        ensure!(output.contains(line), "{line:?} is not in\n{output}");
    }
    for machine in [0, 1] {
        let filters = std::collections::HashMap::from([(
            "label",
            vec![format!("chainpool.instance={}", fixture.instance)],
        )]);
        let options = bollard::query_parameters::ListContainersOptionsBuilder::default()
            .filters(&filters)
            .build();
        ensure!(
            fixture.bed.machines[machine]
                .list_containers(Some(options))
                .await?
                .len()
                == 1,
            "one node on machine {machine}"
        );
    }
    let secrets = fixture.bed.machines[0]
        .list_secrets(None::<ListSecretsOptions>)
        .await?;
    ensure!(
        !format!("{secrets:?}").contains(&fixture.instance.to_string()),
        "secrets stay in the swarm: {secrets:?}"
    );

    let incarnation = fixture
        .agent
        .incarnation(&key, &first.name)
        .await?
        .context("it runs")?;
    let restart = Power::On {
        after: Some(incarnation.clone()),
    };
    fixture.ensure(&key, &first, &restart).await?;
    let after = fixture
        .agent
        .incarnation(&key, &first.name)
        .await?
        .context("it runs again")?;
    ensure!(after != incarnation);
    fixture.ensure(&key, &first, &restart).await?;
    ensure!(
        fixture.agent.incarnation(&key, &first.name).await?.as_ref() == Some(&after),
        "a restart requested twice happened twice"
    );

    let mut third = first.clone();
    third.hash = SpecHash("second".into());
    third.command[3] = format!("{list}echo again; {STAY}");
    fixture.ensure(&key, &third, &RUN).await?;
    let output = fixture.wait_for_output(&key, &third, "again").await?;
    ensure!(output.contains("kept"), "the node's own state is lost: {output}");
    ensure!(fixture.state(&key, &second).await? == NodeState::Running);
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    let leftovers = fixture.bed.leak_check(fixture.instance).await?;
    ensure!(leftovers.0.is_empty(), "{leftovers:?}");
    Ok(())
}

/// Only the first manager is known. The node runs on another machine, and a helper task empties its volumes.
pub(crate) async fn beyond_reach(fixture: &Fixture<'_>) -> Result<()> {
    let machines = fixture.machines().await?;
    let address = fixture
        .bed
        .address
        .split(',')
        .next()
        .context("an address")?
        .to_owned();
    let agent = SwarmAgent::connect(
        &Connection {
            address,
            ..fixture.bed.connection(fixture.instance)
        },
        &bed::tools(),
    )?;
    let key = fixture.cluster().await?;
    let mut far = node(
        "v0",
        &machines[2],
        &format!("/bin/busybox cat /data/deep/file; echo more > /data/more; echo done; {STAY}"),
    );
    far.files = vec![file("/data/deep/file", "content\n")];
    agent.ensure_node(&key, &far, &fixture.bed.image, &RUN).await?;
    ensure!(
        fixture
            .wait_for_output(&key, &far, "done")
            .await?
            .contains("content")
    );
    agent.drop_cluster(key.cluster, 1).await?;
    // The swarm removes the container there later, without direct access for us.
    eventually("one volume is left, on the third machine", SOON, async || {
        let leftovers = fixture.bed.leak_check(fixture.instance).await?.0;
        Ok(matches!(&leftovers[..], [volume] if volume.starts_with("volume ") && volume.ends_with(" on 3")))
    })
    .await?;
    // The volume exists and is empty: the same node, recreated without files, finds nothing.
    let lister = node(
        "v0",
        &machines[2],
        &format!("echo \"left: $(/bin/busybox ls -A /data)\"; {STAY}"),
    );
    fixture.agent.ensure_network(&key, &network()).await?;
    fixture.ensure(&key, &lister, &RUN).await?;
    let output = fixture.wait_for_output(&key, &lister, "left:").await?;
    ensure!(output.lines().any(|line| line.trim() == "left:"), "{output}");
    Ok(())
}

/// Foreign objects under our names are reported and stay.
pub(crate) async fn beside_others(fixture: &Fixture<'_>) -> Result<()> {
    let machines = fixture.machines().await?;
    let manager = &fixture.bed.machines[0];
    let key = fixture.cluster().await?;
    let wanted = node("v0", &machines[0], STAY);
    let container = TaskSpecContainerSpec {
        image: Some(fixture.bed.image.pinned.clone()),
        command: Some(["/bin/busybox", "sleep", "1000"].map(str::to_owned).to_vec()),
        ..TaskSpecContainerSpec::default()
    };
    let spec = ServiceSpec {
        name: Some(node_object_name(&key, &wanted.name)),
        task_template: Some(TaskSpec {
            container_spec: Some(container),
            ..TaskSpec::default()
        }),
        ..ServiceSpec::default()
    };
    let service = manager.create_service(spec, None).await?.id.context("an id")?;
    let other = ClusterKey {
        cluster: ClusterId::new(),
        generation: 1,
    };
    let request = NetworkCreateRequest {
        name: network_name(&other),
        driver: Some("overlay".into()),
        ..NetworkCreateRequest::default()
    };
    let foreign = manager.create_network(request).await?.id;
    let result = async {
        ensure!(matches!(
            fixture.ensure(&key, &wanted, &RUN).await,
            Err(Error::Foreign(_))
        ));
        ensure!(matches!(
            fixture.agent.ensure_network(&other, &network()).await,
            Err(Error::Foreign(_))
        ));
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        fixture.agent.drop_cluster(other.cluster, 1).await?;
        eventually("both are still there", SOON, async || {
            manager.inspect_network(&foreign, None).await?;
            Ok(manager
                .inspect_service(&service, None::<InspectServiceOptions>)
                .await
                .is_ok())
        })
        .await
    };
    let result = result.await;
    manager.delete_service(&service).await?;
    manager.remove_network(&foreign).await?;
    result
}
