//! The capabilities hold.

use super::{
    fixture::{Fixture, RUN, hashed},
    outcome::{Stop, TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{Audience, Error, NodeSpec, Port, Protocol, Scope};
use futures::future::join_all;

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "probe",
        probe,
        "a probe reports the platform as it is, and changes nothing"
    ),
    promise!(
        "capability-machines",
        machines,
        "nodes run on the named machine, where the capabilities have machines; an unknown machine is refused"
    ),
    promise!("capability-ports", ports, "ports of the range can be published"),
    promise!(
        "capability-concurrency",
        concurrency,
        "as many concurrent calls as the capabilities promise succeed"
    ),
];

async fn probe(fixture: &Fixture<'_>) -> TestResult {
    let before = fixture.objects(Scope::Host).await?;
    let (one, other) = (
        fixture.agent.probe().await?,
        fixture
            .platform
            .connect(crate::InstanceId::new())?
            .probe()
            .await?,
    );
    check!(
        !one.engine_id.is_empty() && one.engine_id == other.engine_id && one.kind == other.kind,
        "{one:?}, then {other:?}"
    );
    check!(
        !one.version.is_empty() && one.cpus > 0 && one.memory_bytes > 0,
        "{one:?}"
    );
    let machines: Vec<_> = one.machines.iter().map(|machine| machine.id.as_str()).collect();
    check!(
        fixture
            .machines
            .iter()
            .all(|machine| machines.contains(&machine.as_str())),
        "{machines:?} lacks one of {:?}",
        fixture.machines
    );
    check!(
        fixture.objects(Scope::Host).await? == before,
        "it changed something"
    );
    Ok(())
}

async fn machines(fixture: &Fixture<'_>) -> TestResult {
    if !fixture.agent.capabilities().machines {
        check!(
            fixture.machines.is_empty(),
            "the platform names {:?}",
            fixture.machines
        );
        return Err(Stop::NotEnforced(
            "the platform places nodes itself, or has one machine (capability machines)".into(),
        ));
    }
    check!(!fixture.machines.is_empty(), "no machine is schedulable");
    let key = fixture.key();
    fixture.network(&key).await?;
    for (at, machine) in fixture.machines.iter().enumerate() {
        let node = fixture.node(&format!("v{at}"), &[Step::Say("here".into()), Step::Stay]);
        let node = hashed(NodeSpec {
            machine: Some(machine.clone()),
            ..node
        });
        fixture.start(&key, &node).await?;
        fixture.wait_for_output(&key, &node, "here").await?;
    }
    let lost = hashed(NodeSpec {
        machine: Some("no-such-machine".into()),
        ..fixture.node("lost", &[Step::Stay])
    });
    match fixture.ensure(&key, &lost, &RUN).await {
        Err(Error::Refused(reason)) if reason.contains("no-such-machine") => Ok(()),
        other => Err(Stop::Failed(format!("an unknown machine: {other:?}"))),
    }
}

async fn ports(fixture: &Fixture<'_>) -> TestResult {
    let (first, last) = fixture.agent.capabilities().ports;
    check!(0 < first && first < last, "{first} to {last}");
    let port = fixture.platform.port();
    check!(
        (first..=last).contains(&port),
        "port {port} of the platform is outside {first} to {last}"
    );
    let mut node = fixture.node("v0", &[Step::Stay]);
    node.ports = vec![Port {
        name: "rpc".into(),
        inside: 7000,
        protocol: Protocol::Tcp,
        audience: Audience::User,
        published: Some(port),
    }];
    fixture.start_cluster(&hashed(node)).await.map(drop)
}

async fn concurrency(fixture: &Fixture<'_>) -> TestResult {
    let calls = fixture.agent.capabilities().concurrency;
    check!(calls > 0, "concurrency is 0");
    let key = fixture.key();
    fixture.network(&key).await?;
    let nodes: Vec<_> = (0..calls)
        .map(|at| fixture.node(&format!("v{at}"), &[Step::Stay]))
        .collect();
    for result in join_all(nodes.iter().map(|node| fixture.ensure(&key, node, &RUN))).await {
        result?;
    }
    for node in &nodes {
        fixture.wait_until_running(&key, node).await?;
    }
    Ok(())
}
