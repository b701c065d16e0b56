//! Somebody works on the platform by hand: a node is found again, told as it is, and made whole.

use super::{
    Kept, Meddling, Promise, Stand, outcome::Stop, program::Step, promise, promised, stand::RUN,
    stand::values,
};
use crate::{ClusterKey, NodeSpec, NodeState, Object, ObjectKind, Power, Scope, Volumes};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "renamed",
        renamed,
        "a node whose main object was renamed is still that node, for every verb, and is never made twice"
    ),
    promise!(
        "disconnected",
        disconnected,
        "a node that was taken off its network is not told as running; ensured, it is reached again"
    ),
    promise!(
        "volume-gone",
        volume_gone,
        "a volume that somebody removed is not listed; ensured, it is there again, and empty"
    ),
];

const PORT: u16 = 7000;

/// Has somebody do this past the agent.
async fn meddle(stand: &Stand<'_>, meddling: Meddling, key: &ClusterKey, node: &NodeSpec) -> Kept {
    if stand.ground.meddle(meddling, key, node).await? {
        return Ok(());
    }
    Err(Stop::NotEnforced(match meddling {
        Meddling::Rename => "its main objects cannot be renamed past the agent here".to_owned(),
        Meddling::Disconnect => "the network of a node is part of its main object here".to_owned(),
        Meddling::LoseVolume => "a volume cannot be removed past the agent here".to_owned(),
    }))
}

async fn of_node(
    stand: &Stand<'_>,
    key: &ClusterKey,
    node: &NodeSpec,
    kind: ObjectKind,
) -> Kept<Vec<Object>> {
    let objects = stand.objects(Scope::Cluster(key.cluster)).await?.into_iter();
    Ok(objects
        .filter(|object| object.kind == kind && object.node.as_ref() == Some(&node.name))
        .collect())
}

async fn renamed(stand: &Stand<'_>) -> Kept {
    let node = stand.node("v0", &[Step::Count("/data/lives".into()), Step::Stay]);
    let key = stand.up(&node).await?;
    stand.says(&key, &node, "life 1").await?;
    let life = stand.life(&key, &node).await?;
    meddle(stand, Meddling::Rename, &key, &node).await?;
    promised!(
        stand.life(&key, &node).await? == life,
        "it has another life by another name"
    );
    promised!(
        stand
            .said(&key, &node, crate::LogQuery::default())
            .await?
            .contains("life 1"),
        "its log is not found"
    );
    stand.start(&key, &node).await?;
    promised!(
        stand.life(&key, &node).await? == life,
        "it was started anew for its name"
    );
    let seen = of_node(stand, &key, &node, ObjectKind::Node).await?;
    promised!(seen.len() == 1, "it was made twice: {seen:?}");
    meddle(stand, Meddling::Rename, &key, &node).await?;
    stand.ensure(&key, &node, &Power::Off).await?;
    stand.resting(&key, &node).await?;
    meddle(stand, Meddling::Rename, &key, &node).await?;
    stand.start(&key, &node).await?;
    stand.says(&key, &node, "life 2").await?;
    meddle(stand, Meddling::Rename, &key, &node).await?;
    stand.agent.drop_node(&key, &node.name, Volumes::Keep).await?;
    let left = of_node(stand, &key, &node, ObjectKind::Node).await?;
    promised!(left.is_empty(), "it was not dropped: {left:?}");
    Ok(())
}

async fn disconnected(stand: &Stand<'_>) -> Kept {
    let node = stand.node("v0", &[Step::Echo(PORT), Step::Stay]);
    let key = stand.up(&node).await?;
    let before = stand.objects(Scope::Cluster(key.cluster)).await?;
    for power in [RUN, Power::Off] {
        meddle(stand, Meddling::Disconnect, &key, &node).await?;
        let state = stand
            .agent
            .observe(Scope::Cluster(key.cluster))
            .await?
            .node_state(key.generation, &node.name);
        promised!(matches!(state, NodeState::Changing(_)), "it is told as {state:?}");
        // In place where it runs, and where it was stopped in between.
        stand.ensure(&key, &node, &power).await?;
        stand.start(&key, &node).await?;
    }
    let now = stand.objects(Scope::Cluster(key.cluster)).await?;
    promised!(now == before, "{before:?} became {now:?}");
    let seeker = stand.node("v1", &[Step::Reach("v0".into(), PORT), Step::Stay]);
    stand.start(&key, &seeker).await?;
    stand.says(&key, &seeker, "reached v0").await?;
    Ok(())
}

async fn volume_gone(stand: &Stand<'_>) -> Kept {
    let node = stand.node(
        "v0",
        &[
            Step::Show("/data/left".into()),
            Step::Write("/data/left".into(), "kept".into()),
            Step::Say("told".into()),
            Step::Stay,
        ],
    );
    let key = stand.up(&node).await?;
    stand.says(&key, &node, "told").await?;
    promised!(
        of_node(stand, &key, &node, ObjectKind::Volume).await?.len() == 1,
        "its volume is not listed"
    );
    stand.agent.drop_node(&key, &node.name, Volumes::Keep).await?;
    meddle(stand, Meddling::LoseVolume, &key, &node).await?;
    let left = of_node(stand, &key, &node, ObjectKind::Volume).await?;
    promised!(left.is_empty(), "a volume is listed that is not there: {left:?}");
    stand.start(&key, &node).await?;
    let said = stand.says(&key, &node, "told").await?;
    promised!(
        values(&said, "show /data/left")
            .last()
            .is_some_and(|found| *found != "kept"),
        "it is not empty: {said}"
    );
    promised!(
        of_node(stand, &key, &node, ObjectKind::Volume).await?.len() == 1,
        "its volume is not listed again"
    );
    Ok(())
}
