//! The manifest says what happens.

use super::{
    Kept, Promise, Stand,
    outcome::Stop,
    program::Step,
    promise, promised,
    stand::{RUN, hashed},
};
use crate::{Audience, Error, NodeSpec, Port, Protocol, Scope};
use futures::future::join_all;

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "probe",
        probe,
        "a probe tells the platform as it is, and changes nothing"
    ),
    promise!(
        "capability-machines",
        machines,
        "nodes go to the machine that is named, when the manifest says so; an unknown one is refused"
    ),
    promise!(
        "capability-ports",
        ports,
        "the range of ports is one that can be published"
    ),
    promise!(
        "capability-concurrency",
        concurrency,
        "as many calls at once as the manifest says go through"
    ),
];

async fn probe(stand: &Stand<'_>) -> Kept {
    let before = stand.objects(Scope::Host).await?;
    let (one, other) = (
        stand.agent.probe().await?,
        stand.ground.connect(crate::InstanceId::new())?.probe().await?,
    );
    promised!(
        !one.engine_id.is_empty() && one.engine_id == other.engine_id && one.kind == other.kind,
        "{one:?}, then {other:?}"
    );
    promised!(
        !one.version.is_empty() && one.cpus > 0 && one.memory_bytes > 0,
        "{one:?}"
    );
    let machines: Vec<_> = one.machines.iter().map(|machine| machine.id.as_str()).collect();
    promised!(
        stand
            .machines
            .iter()
            .all(|machine| machines.contains(&machine.as_str())),
        "{machines:?} lacks one of {:?}",
        stand.machines
    );
    promised!(
        stand.objects(Scope::Host).await? == before,
        "it changed something"
    );
    Ok(())
}

async fn machines(stand: &Stand<'_>) -> Kept {
    if !stand.agent.capabilities().machines {
        promised!(stand.machines.is_empty(), "the ground names {:?}", stand.machines);
        return Err(Stop::NotEnforced(
            "the platform places nodes itself, or has one machine (capability machines)".into(),
        ));
    }
    promised!(!stand.machines.is_empty(), "no machine is open");
    let key = stand.key();
    stand.network(&key).await?;
    for (at, machine) in stand.machines.iter().enumerate() {
        let node = stand.node(&format!("v{at}"), &[Step::Say("here".into()), Step::Stay]);
        let node = hashed(NodeSpec {
            machine: Some(machine.clone()),
            ..node
        });
        stand.start(&key, &node).await?;
        stand.says(&key, &node, "here").await?;
    }
    let lost = hashed(NodeSpec {
        machine: Some("no-such-machine".into()),
        ..stand.node("lost", &[Step::Stay])
    });
    match stand.ensure(&key, &lost, &RUN).await {
        Err(Error::Refused(words)) if words.contains("no-such-machine") => Ok(()),
        other => Err(Stop::Failed(format!("an unknown machine: {other:?}"))),
    }
}

async fn ports(stand: &Stand<'_>) -> Kept {
    let (first, last) = stand.agent.capabilities().ports;
    promised!(0 < first && first < last, "{first} to {last}");
    let port = stand.ground.port();
    promised!(
        (first..=last).contains(&port),
        "the ground's port {port} is not of {first} to {last}"
    );
    let mut node = stand.node("v0", &[Step::Stay]);
    node.ports = vec![Port {
        name: "rpc".into(),
        inside: 7000,
        protocol: Protocol::Tcp,
        audience: Audience::User,
        published: Some(port),
    }];
    stand.up(&hashed(node)).await.map(drop)
}

async fn concurrency(stand: &Stand<'_>) -> Kept {
    let calls = stand.agent.capabilities().concurrency;
    promised!(calls > 0, "no call at all");
    let key = stand.key();
    stand.network(&key).await?;
    let nodes: Vec<_> = (0..calls)
        .map(|at| stand.node(&format!("v{at}"), &[Step::Stay]))
        .collect();
    for result in join_all(nodes.iter().map(|node| stand.ensure(&key, node, &RUN))).await {
        result?;
    }
    for node in &nodes {
        stand.running(&key, node).await?;
    }
    Ok(())
}
