//! Keeping and purging a node's volumes.

use super::{
    fixture::{Fixture, values},
    outcome::{TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{NodeSpec, NodeState, ObjectKind, Scope, Volumes};

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
