//! Manual changes on the platform: a node is found again, reported as it is, and repaired.

use super::{
    Interference,
    fixture::{Fixture, RUN, values},
    outcome::{Stop, TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{ClusterKey, NodeSpec, NodeState, Object, ObjectKind, Power, Scope, Volumes};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "renamed",
        renamed,
        "a node whose main object was renamed stays that node for every verb, and is never created twice"
    ),
    promise!(
        "disconnected",
        disconnected,
        "a node disconnected from its network is not reported as running; ensured, it is reachable again"
    ),
    promise!(
        "volume-gone",
        volume_gone,
        "a volume removed by hand is not listed; ensured, it exists again, and is empty"
    ),
];

const PORT: u16 = 7000;

/// Makes a manual change past the agent.
async fn interfere(
    fixture: &Fixture<'_>,
    interference: Interference,
    key: &ClusterKey,
    node: &NodeSpec,
) -> TestResult {
    if fixture.platform.interfere(interference, key, node).await? {
        return Ok(());
    }
    Err(Stop::NotEnforced(match interference {
        Interference::Rename => "its main objects cannot be renamed past the agent here".to_owned(),
        Interference::Disconnect => "the network of a node is part of its main object here".to_owned(),
        Interference::LoseVolume => "a volume cannot be removed past the agent here".to_owned(),
    }))
}

async fn of_node(
    fixture: &Fixture<'_>,
    key: &ClusterKey,
    node: &NodeSpec,
    kind: ObjectKind,
) -> TestResult<Vec<Object>> {
    let objects = fixture.objects(Scope::Cluster(key.cluster)).await?.into_iter();
    Ok(objects
        .filter(|object| object.kind == kind && object.node.as_ref() == Some(&node.name))
        .collect())
}

async fn renamed(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node("v0", &[Step::Count("/data/starts".into()), Step::Stay]);
    let key = fixture.start_cluster(&node).await?;
    fixture.wait_for_output(&key, &node, "life 1").await?;
    let incarnation = fixture.incarnation(&key, &node).await?;
    interfere(fixture, Interference::Rename, &key, &node).await?;
    check!(
        fixture.incarnation(&key, &node).await? == incarnation,
        "the rename changed its incarnation"
    );
    check!(
        fixture
            .output(&key, &node, crate::LogQuery::default())
            .await?
            .contains("life 1"),
        "its log is not found"
    );
    fixture.start(&key, &node).await?;
    check!(
        fixture.incarnation(&key, &node).await? == incarnation,
        "it was restarted because of its name"
    );
    let seen = of_node(fixture, &key, &node, ObjectKind::Node).await?;
    check!(seen.len() == 1, "it was created twice: {seen:?}");
    interfere(fixture, Interference::Rename, &key, &node).await?;
    fixture.ensure(&key, &node, &Power::Off).await?;
    fixture.wait_until_stopped(&key, &node).await?;
    interfere(fixture, Interference::Rename, &key, &node).await?;
    fixture.start(&key, &node).await?;
    fixture.wait_for_output(&key, &node, "life 2").await?;
    interfere(fixture, Interference::Rename, &key, &node).await?;
    fixture.agent.drop_node(&key, &node.name, Volumes::Keep).await?;
    let left = of_node(fixture, &key, &node, ObjectKind::Node).await?;
    check!(left.is_empty(), "it was not dropped: {left:?}");
    Ok(())
}

async fn disconnected(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node("v0", &[Step::Echo(PORT), Step::Stay]);
    let key = fixture.start_cluster(&node).await?;
    let before = fixture.objects(Scope::Cluster(key.cluster)).await?;
    for power in [RUN, Power::Off] {
        interfere(fixture, Interference::Disconnect, &key, &node).await?;
        let state = fixture
            .agent
            .observe(Scope::Cluster(key.cluster))
            .await?
            .node_state(key.generation, &node.name);
        check!(
            matches!(state, NodeState::Changing(_)),
            "it is reported as {state:?}"
        );
        // Repaired in place, both while running and when stopped in between.
        fixture.ensure(&key, &node, &power).await?;
        fixture.start(&key, &node).await?;
    }
    let now = fixture.objects(Scope::Cluster(key.cluster)).await?;
    check!(now == before, "{before:?} became {now:?}");
    let seeker = fixture.node("v1", &[Step::Reach("v0".into(), PORT), Step::Stay]);
    fixture.start(&key, &seeker).await?;
    fixture.wait_for_output(&key, &seeker, "reached v0").await?;
    Ok(())
}

async fn volume_gone(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node(
        "v0",
        &[
            Step::Show("/data/left".into()),
            Step::Write("/data/left".into(), "kept".into()),
            Step::Say("done".into()),
            Step::Stay,
        ],
    );
    let key = fixture.start_cluster(&node).await?;
    fixture.wait_for_output(&key, &node, "done").await?;
    check!(
        of_node(fixture, &key, &node, ObjectKind::Volume).await?.len() == 1,
        "its volume is not listed"
    );
    fixture.agent.drop_node(&key, &node.name, Volumes::Keep).await?;
    interfere(fixture, Interference::LoseVolume, &key, &node).await?;
    let left = of_node(fixture, &key, &node, ObjectKind::Volume).await?;
    check!(left.is_empty(), "a deleted volume is listed: {left:?}");
    fixture.start(&key, &node).await?;
    let output = fixture.wait_for_output(&key, &node, "done").await?;
    check!(
        values(&output, "show /data/left")
            .last()
            .is_some_and(|found| *found != "kept"),
        "it is not empty: {output}"
    );
    check!(
        of_node(fixture, &key, &node, ObjectKind::Volume).await?.len() == 1,
        "its volume is not listed again"
    );
    Ok(())
}
