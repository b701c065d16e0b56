//! The nodes of a cluster find each other, at addresses of its own.

use super::{Kept, Promise, Stand, outcome::Stop, program::Step, promise, promised};
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
        "nodes of the same name in two clusters are not mixed up"
    ),
    promise!(
        "network-at-once",
        at_once,
        "a network made by several calls at once is one"
    ),
    promise!(
        "subnet",
        subnet,
        "nodes have addresses in the subnet of our choice; another choice replaces the network"
    ),
    promise!(
        "subnet-occupied",
        occupied,
        "a subnet that is in use is told as Occupied, with its place"
    ),
];

const PORT: u16 = 7000;

async fn names(stand: &Stand<'_>) -> Kept {
    let key = stand.key();
    stand.network(&key).await?;
    let mut pair = Vec::new();
    for (at, (own, other)) in [("v0", "v1"), ("v1", "v0")].into_iter().enumerate() {
        let mut node = stand.node(
            own,
            &[Step::Echo(PORT), Step::Reach(other.into(), PORT), Step::Stay],
        );
        node.machine = stand.machines.get(at % stand.machines.len().max(1)).cloned();
        let node = super::stand::hashed(node);
        stand.start(&key, &node).await?;
        pair.push((node, other));
    }
    for (node, other) in pair {
        stand.says(&key, &node, &format!("reached {other}")).await?;
    }
    Ok(())
}

async fn names_apart(stand: &Stand<'_>) -> Kept {
    // Only one cluster has an echo: in the other the same name must lead to nobody.
    let with = stand.node("v0", &[Step::Echo(PORT), Step::Stay]);
    let without = stand.node("v0", &[Step::Stay]);
    let seeker = stand.node(
        "v1",
        &[
            Step::Say("seeking".into()),
            Step::Reach("v0".into(), PORT),
            Step::Stay,
        ],
    );
    let (one, other) = (stand.up(&with).await?, stand.up(&without).await?);
    stand.start(&other, &seeker).await?;
    stand.start(&one, &seeker).await?;
    stand.says(&other, &seeker, "seeking").await?;
    stand.says(&one, &seeker, "reached v0").await?;
    let said = stand.says(&other, &seeker, "seeking").await?;
    promised!(
        !said.contains("reached"),
        "it reached another cluster's node: {said}"
    );
    Ok(())
}

async fn at_once(stand: &Stand<'_>) -> Kept {
    let (key, network) = (stand.key(), stand.ground.network());
    let ensure = async || stand.agent.ensure_network(&key, &network).await;
    for result in join_all((0..4).map(|_| stand.insist("one of four", ensure))).await {
        result?;
    }
    let seen = stand.objects(Scope::Cluster(key.cluster)).await?;
    let networks = seen
        .iter()
        .filter(|object| object.kind == ObjectKind::Network)
        .count();
    promised!(
        networks == 1
            && seen
                .iter()
                .all(|object| matches!(object.kind, ObjectKind::Network | ObjectKind::Part)),
        "{seen:?}"
    );
    stand.start(&key, &stand.node("v0", &[Step::Stay])).await
}

/// The ground's network, for a platform that takes subnets.
fn chosen(stand: &Stand<'_>) -> Kept<(NetworkSpec, Ipv4Net)> {
    let spec = stand.ground.network();
    let can = stand.agent.capabilities().subnets;
    promised!(
        can == spec.subnet.is_some(),
        "the capabilities say subnets: {can}, the ground's network has {:?}",
        spec.subnet
    );
    let subnet = spec.subnet.ok_or_else(|| {
        Stop::NotEnforced("the platform takes no subnet of our choice (capability subnets)".into())
    })?;
    Ok((spec, subnet))
}

async fn subnet(stand: &Stand<'_>) -> Kept {
    let ((first, a), (second, b)) = (chosen(stand)?, chosen(stand)?);
    let node = stand.node("v0", &[Step::Addresses, Step::Stay]);
    let (key, changed) = (stand.key(), stand.key());
    stand.agent.ensure_network(&key, &first).await?;
    lies_in(stand, &key, &node, a).await?;
    // As the planner does when the first choice was in use.
    for spec in [&chosen(stand)?.0, &second] {
        stand.agent.ensure_network(&changed, spec).await?;
    }
    lies_in(stand, &changed, &node, b).await
}

async fn lies_in(stand: &Stand<'_>, key: &crate::ClusterKey, node: &NodeSpec, subnet: Ipv4Net) -> Kept {
    stand.start(key, node).await?;
    let said = stand.says(key, node, "addresses").await?;
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("addresses"))
        .unwrap_or_default();
    let mut addresses = line
        .split_whitespace()
        .filter_map(|text| text.parse::<Ipv4Addr>().ok());
    promised!(
        addresses.any(|address| subnet.contains(&address)),
        "none of {line} lies in {subnet}"
    );
    Ok(())
}

async fn occupied(stand: &Stand<'_>) -> Kept {
    let (spec, subnet) = chosen(stand)?;
    let (one, other) = (stand.key(), stand.key());
    let node = stand.node("v0", &[Step::Stay]);
    stand.agent.ensure_network(&one, &spec).await?;
    stand.start(&one, &node).await?;
    // Some platforms give addresses out only when a node comes.
    let made = async {
        stand.agent.ensure_network(&other, &spec).await?;
        stand.ensure(&other, &node, &super::stand::RUN).await
    };
    match made.await {
        Err(Error::Occupied {
            place: Place::Subnet(place),
            ..
        }) if place == subnet.trunc() => Ok(()),
        Err(error) => Err(Stop::Failed(format!("the error is {error:?}"))),
        Ok(()) => Err(Stop::Failed("two clusters have the same addresses".into())),
    }
}
