//! The nodes of a cluster resolve each other, in their own network.

use super::{
    fixture::Fixture,
    outcome::{Stop, TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{Error, NetworkSpec, NodeSpec, ObjectKind, Place, Scope};
use futures::future::join_all;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "names",
        names,
        "two nodes of a cluster, on two machines where there are two, find each other by name"
    ),
    promise!(
        "names-apart",
        names_apart,
        "nodes of the same name in two clusters are kept apart"
    ),
    promise!(
        "concurrent-network",
        concurrent_create,
        "several concurrent calls create one network"
    ),
    promise!(
        "subnet",
        subnet,
        "nodes have addresses in the chosen subnet; another choice replaces the network"
    ),
    promise!(
        "subnet-occupied",
        occupied,
        "a subnet in use is reported as Occupied, with its place"
    ),
];

const PORT: u16 = 7000;

async fn names(fixture: &Fixture<'_>) -> TestResult {
    let key = fixture.key();
    fixture.network(&key).await?;
    let mut pair = Vec::new();
    for (at, (own, other)) in [("v0", "v1"), ("v1", "v0")].into_iter().enumerate() {
        let mut node = fixture.node(
            own,
            &[Step::Echo(PORT), Step::Reach(other.into(), PORT), Step::Stay],
        );
        node.machine = fixture.machines.get(at % fixture.machines.len().max(1)).cloned();
        let node = super::fixture::hashed(node);
        fixture.start(&key, &node).await?;
        pair.push((node, other));
    }
    for (node, other) in pair {
        fixture
            .wait_for_output(&key, &node, &format!("reached {other}"))
            .await?;
    }
    Ok(())
}

async fn names_apart(fixture: &Fixture<'_>) -> TestResult {
    // Only one cluster has an echo server: in the other, the same name must lead nowhere.
    let with = fixture.node("v0", &[Step::Echo(PORT), Step::Stay]);
    let without = fixture.node("v0", &[Step::Stay]);
    let seeker = fixture.node(
        "v1",
        &[
            Step::Say("seeking".into()),
            Step::Reach("v0".into(), PORT),
            Step::Stay,
        ],
    );
    let (one, other) = (
        fixture.start_cluster(&with).await?,
        fixture.start_cluster(&without).await?,
    );
    fixture.start(&other, &seeker).await?;
    fixture.start(&one, &seeker).await?;
    fixture.wait_for_output(&other, &seeker, "seeking").await?;
    fixture.wait_for_output(&one, &seeker, "reached v0").await?;
    let output = fixture.wait_for_output(&other, &seeker, "seeking").await?;
    check!(
        !output.contains("reached"),
        "it reached another cluster's node: {output}"
    );
    Ok(())
}

async fn concurrent_create(fixture: &Fixture<'_>) -> TestResult {
    let (key, network) = (fixture.key(), fixture.platform.network());
    let ensure = async || fixture.agent.ensure_network(&key, &network).await;
    for result in join_all((0..4).map(|_| fixture.retry("one of four calls", ensure))).await {
        result?;
    }
    let seen = fixture.objects(Scope::Cluster(key.cluster)).await?;
    let networks = seen
        .iter()
        .filter(|object| object.kind == ObjectKind::Network)
        .count();
    check!(
        networks == 1
            && seen
                .iter()
                .all(|object| matches!(object.kind, ObjectKind::Network | ObjectKind::Part)),
        "{seen:?}"
    );
    fixture.start(&key, &fixture.node("v0", &[Step::Stay])).await
}

/// A network of the platform, if it takes subnets.
fn chosen(fixture: &Fixture<'_>) -> TestResult<(NetworkSpec, Ipv4Net)> {
    let spec = fixture.platform.network();
    let can = fixture.agent.capabilities().subnets;
    check!(
        can == spec.subnet.is_some(),
        "capability subnets is {can}, the platform's network has {:?}",
        spec.subnet
    );
    let subnet = spec.subnet.ok_or_else(|| {
        Stop::NotEnforced("the platform chooses subnets itself (capability subnets)".into())
    })?;
    Ok((spec, subnet))
}

async fn subnet(fixture: &Fixture<'_>) -> TestResult {
    let ((first, a), (second, b)) = (chosen(fixture)?, chosen(fixture)?);
    let node = fixture.node("v0", &[Step::Addresses, Step::Stay]);
    let (key, changed) = (fixture.key(), fixture.key());
    fixture.agent.ensure_network(&key, &first).await?;
    lies_in(fixture, &key, &node, a).await?;
    // As the planner does when its first choice is in use.
    for spec in [&chosen(fixture)?.0, &second] {
        fixture.agent.ensure_network(&changed, spec).await?;
    }
    lies_in(fixture, &changed, &node, b).await
}

async fn lies_in(
    fixture: &Fixture<'_>,
    key: &crate::ClusterKey,
    node: &NodeSpec,
    subnet: Ipv4Net,
) -> TestResult {
    fixture.start(key, node).await?;
    let output = fixture.wait_for_output(key, node, "addresses").await?;
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("addresses"))
        .unwrap_or_default();
    let mut addresses = line
        .split_whitespace()
        .filter_map(|text| text.parse::<Ipv4Addr>().ok());
    check!(
        addresses.any(|address| subnet.contains(&address)),
        "none of {line} lies in {subnet}"
    );
    Ok(())
}

async fn occupied(fixture: &Fixture<'_>) -> TestResult {
    let (spec, subnet) = chosen(fixture)?;
    let (one, other) = (fixture.key(), fixture.key());
    let node = fixture.node("v0", &[Step::Stay]);
    fixture.agent.ensure_network(&one, &spec).await?;
    fixture.start(&one, &node).await?;
    // Some platforms assign addresses only when a node starts.
    let created = async {
        fixture.agent.ensure_network(&other, &spec).await?;
        fixture.ensure(&other, &node, &super::fixture::RUN).await
    };
    match created.await {
        Err(Error::Occupied {
            place: Place::Subnet(place),
            ..
        }) if place == subnet.trunc() => Ok(()),
        Err(error) => Err(Stop::Failed(format!("the error is {error:?}"))),
        Ok(()) => Err(Stop::Failed("two clusters have the same addresses".into())),
    }
}
