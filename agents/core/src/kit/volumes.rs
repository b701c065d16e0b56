//! Keeping and purging a node's volumes.

use super::{
    fixture::{Fixture, hashed, values},
    outcome::{TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{NodeSpec, NodeState, ObjectKind, Scope, Volume, Volumes};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "volumes-kept",
        kept,
        "a node dropped with Keep finds its volumes again"
    ),
    promise!(
        "volumes-purged",
        purged,
        "a node dropped with Purge starts with empty volumes; other nodes' volumes stay"
    ),
    promise!(
        "volume-shared",
        shared,
        "nodes share a volume of their cluster, which outlives each of them"
    ),
];

/// A node that shows what its predecessor left, then leaves its own mark.
fn marked_node(fixture: &Fixture<'_>, own: &str) -> NodeSpec {
    fixture.node(
        "v0",
        &[
            Step::Show("/data/left".into()),
            Step::Write("/data/left".into(), own.into()),
            Step::Say(own.into()),
            Step::Stay,
        ],
    )
}

async fn kept(fixture: &Fixture<'_>) -> TestResult {
    let (first, second) = (marked_node(fixture, "first"), marked_node(fixture, "second"));
    let key = fixture.start_cluster(&first).await?;
    fixture.wait_for_output(&key, &first, "first").await?;
    for _ in 0..2 {
        fixture.agent.drop_node(&key, &first.name, Volumes::Keep).await?;
        let state = fixture
            .agent
            .observe(Scope::Host)
            .await?
            .node_state(1, &first.name);
        check!(state == NodeState::Absent, "it is {state:?}");
    }
    fixture.start(&key, &second).await?;
    let output = fixture.wait_for_output(&key, &second, "second").await?;
    check!(
        values(&output, "show /data/left").last() == Some(&"first"),
        "{output}"
    );
    Ok(())
}

async fn purged(fixture: &Fixture<'_>) -> TestResult {
    let (first, second) = (marked_node(fixture, "first"), marked_node(fixture, "second"));
    let beside = fixture.node("v1", &[Step::Stay]);
    let key = fixture.start_cluster(&first).await?;
    fixture.start(&key, &beside).await?;
    let incarnation = fixture.incarnation(&key, &beside).await?;
    fixture.wait_for_output(&key, &first, "first").await?;
    for _ in 0..2 {
        fixture.agent.drop_node(&key, &first.name, Volumes::Purge).await?;
        let left: Vec<_> = fixture
            .objects(Scope::Host)
            .await?
            .into_iter()
            .filter(|o| o.node.as_ref() == Some(&first.name))
            .collect();
        check!(left.is_empty(), "{left:?} is left");
    }
    let volumes = fixture
        .objects(Scope::Host)
        .await?
        .into_iter()
        .filter(|o| o.kind == ObjectKind::Volume)
        .count();
    check!(
        volumes == 1 && fixture.incarnation(&key, &beside).await? == incarnation,
        "its neighbour was touched: {volumes} volumes"
    );
    fixture.start(&key, &second).await?;
    let output = fixture.wait_for_output(&key, &second, "second").await?;
    check!(
        values(&output, "show /data/left")
            .last()
            .is_some_and(|found| *found != "first"),
        "{output}"
    );
    Ok(())
}

/// A node with a volume that it shares, beside its own.
fn sharing_node(fixture: &Fixture<'_>, name: &str, steps: &[Step]) -> NodeSpec {
    let mut node = fixture.node(name, &[steps, &[Step::Say("done".into()), Step::Stay]].concat());
    node.volumes.push(Volume {
        name: "common".into(),
        path: "/common".into(),
        shared: true,
    });
    hashed(node)
}

async fn shared(fixture: &Fixture<'_>) -> TestResult {
    let file = "/common/left".to_owned();
    let show = Step::Show(file.clone());
    let writer = sharing_node(fixture, "v0", &[Step::Write(file, "by v0".into())]);
    let key = fixture.start_cluster(&writer).await?;
    fixture.wait_for_output(&key, &writer, "done").await?;
    let reader = sharing_node(fixture, "v1", std::slice::from_ref(&show));
    fixture.start(&key, &reader).await?;
    let output = fixture.wait_for_output(&key, &reader, "done").await?;
    check!(
        values(&output, "show /common/left").last() == Some(&"by v0"),
        "another node does not see the file: {output}"
    );
    fixture
        .agent
        .drop_node(&key, &writer.name, Volumes::Purge)
        .await?;
    let volumes = fixture.objects(Scope::Cluster(key.cluster)).await?;
    let owners: Vec<_> = volumes
        .iter()
        .filter(|object| object.kind == ObjectKind::Volume)
        .map(|object| object.node.as_ref())
        .collect();
    check!(
        owners.len() == 2 && owners.contains(&None) && owners.contains(&Some(&reader.name)),
        "the volumes belong to {owners:?}"
    );
    let successor = sharing_node(fixture, "v0", &[show]);
    fixture.start(&key, &successor).await?;
    let output = fixture.wait_for_output(&key, &successor, "done").await?;
    check!(
        values(&output, "show /common/left").last() == Some(&"by v0"),
        "its file is gone: {output}"
    );
    Ok(())
}
