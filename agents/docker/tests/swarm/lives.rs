//! A cluster's life over machines.

use crate::yard::{RUN, SOON, STAY, Yard, eventually, file, network, node, once};
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

/// Two nodes on two machines: files, names, a restart, a replacement, and nothing left of the secrets.
pub(crate) async fn on_two_machines(yard: &Yard<'_>) -> Result<()> {
    let machines = yard.machines().await?;
    let key = yard.cluster().await?;
    let tell = "b=/bin/busybox; $b stat -c '%n %a %u %g %s' /data /data/config /data/config/app /data/state; $b cat /data/state; echo; ";
    let reach = "until [ \"$($b nc -w 2 v1 7000 < /dev/null)\" = here ]; do sleep 0.2; done; echo reached; ";
    let mut first = node(
        "v0",
        &machines[0],
        &format!("{tell}{reach}echo kept > /data/state; echo told; {STAY}"),
    );
    first.files = vec![file("/data/config/app", "12345"), once("/data/state", "0")];
    first.files[0].secret = true;
    let second = node(
        "v1",
        &machines[1],
        "trap 'exit 0' TERM; while :; do echo here | /bin/busybox nc -l -p 7000; done",
    );
    let (a, b) = tokio::join!(yard.ensure(&key, &first, &RUN), yard.ensure(&key, &second, &RUN));
    a?;
    b?;
    let said = yard.says(&key, &first, "told").await?;
    for line in [
        "/data 755 1000 1001",
        "/data/config 755 1000 1001",
        "/data/config/app 640 1000 1001 5",
        "/data/state 640 1000 1001 1",
    ] {
        ensure!(said.contains(line), "{line:?} is not in\n{said}");
    }
    for machine in [0, 1] {
        let filters = std::collections::HashMap::from([(
            "label",
            vec![format!("chainpool.instance={}", yard.instance)],
        )]);
        let options = bollard::query_parameters::ListContainersOptionsBuilder::default()
            .filters(&filters)
            .build();
        ensure!(
            yard.bed.machines[machine]
                .list_containers(Some(options))
                .await?
                .len()
                == 1,
            "one node on machine {machine}"
        );
    }
    let secrets = yard.bed.machines[0]
        .list_secrets(None::<ListSecretsOptions>)
        .await?;
    ensure!(
        !format!("{secrets:?}").contains(&yard.instance.to_string()),
        "secrets stay in the swarm: {secrets:?}"
    );

    let life = yard
        .agent
        .incarnation(&key, &first.name)
        .await?
        .context("it lives")?;
    let restart = Power::On {
        after: Some(life.clone()),
    };
    yard.ensure(&key, &first, &restart).await?;
    let after = yard
        .agent
        .incarnation(&key, &first.name)
        .await?
        .context("it lives again")?;
    ensure!(after != life);
    yard.ensure(&key, &first, &restart).await?;
    ensure!(
        yard.agent.incarnation(&key, &first.name).await?.as_ref() == Some(&after),
        "a restart asked for twice happened twice"
    );

    let mut third = first.clone();
    third.hash = SpecHash("second".into());
    third.command[3] = format!("{tell}echo again; {STAY}");
    yard.ensure(&key, &third, &RUN).await?;
    let said = yard.says(&key, &third, "again").await?;
    ensure!(said.contains("kept"), "the node's own state is gone: {said}");
    ensure!(yard.state(&key, &second).await? == NodeState::Running);
    yard.agent.drop_cluster(key.cluster, 1).await?;
    let census = yard.bed.census(yard.instance).await?;
    ensure!(census.0.is_empty(), "{census:?}");
    Ok(())
}

/// Only the first manager is known: the node's machine is another, and its volumes are emptied by a job.
pub(crate) async fn beyond_reach(yard: &Yard<'_>) -> Result<()> {
    let machines = yard.machines().await?;
    let address = yard
        .bed
        .address
        .split(',')
        .next()
        .context("an address")?
        .to_owned();
    let agent = SwarmAgent::connect(&Connection {
        address,
        ..yard.bed.connection(yard.instance)
    })?;
    let key = yard.cluster().await?;
    let mut far = node(
        "v0",
        &machines[2],
        &format!("/bin/busybox cat /data/deep/file; echo more > /data/more; echo told; {STAY}"),
    );
    far.files = vec![file("/data/deep/file", "content\n")];
    agent.ensure_node(&key, &far, &yard.bed.image, &RUN).await?;
    ensure!(yard.says(&key, &far, "told").await?.contains("content"));
    agent.drop_cluster(key.cluster, 1).await?;
    // The swarm removes the container there in its own time, where nobody but it can see that.
    eventually("one volume is left, on the third machine", SOON, async || {
        let census = yard.bed.census(yard.instance).await?.0;
        Ok(matches!(&census[..], [volume] if volume.starts_with("volume ") && volume.ends_with(" on 3")))
    })
    .await?;
    // The volume is there, and empty: the same node made again by an agent that places nothing finds nothing.
    let look = node(
        "v0",
        &machines[2],
        &format!("echo \"left: $(/bin/busybox ls -A /data)\"; {STAY}"),
    );
    yard.agent.ensure_network(&key, &network()).await?;
    yard.ensure(&key, &look, &RUN).await?;
    let said = yard.says(&key, &look, "left:").await?;
    ensure!(said.lines().any(|line| line.trim() == "left:"), "{said}");
    Ok(())
}

/// Things of others under our names are told and stay.
pub(crate) async fn beside_others(yard: &Yard<'_>) -> Result<()> {
    let machines = yard.machines().await?;
    let manager = &yard.bed.machines[0];
    let key = yard.cluster().await?;
    let wanted = node("v0", &machines[0], STAY);
    let container = TaskSpecContainerSpec {
        image: Some(yard.bed.image.pinned.clone()),
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
    let told = async {
        ensure!(matches!(
            yard.ensure(&key, &wanted, &RUN).await,
            Err(Error::Foreign(_))
        ));
        ensure!(matches!(
            yard.agent.ensure_network(&other, &network()).await,
            Err(Error::Foreign(_))
        ));
        yard.agent.drop_cluster(key.cluster, 1).await?;
        yard.agent.drop_cluster(other.cluster, 1).await?;
        eventually("both are still there", SOON, async || {
            manager.inspect_network(&foreign, None).await?;
            Ok(manager
                .inspect_service(&service, None::<InspectServiceOptions>)
                .await
                .is_ok())
        })
        .await
    };
    let told = told.await;
    manager.delete_service(&service).await?;
    manager.remove_network(&foreign).await?;
    told
}
