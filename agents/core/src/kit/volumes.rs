//! A node's volumes stay or go as asked.

use super::{Kept, Promise, Stand, program::Step, promise, promised, stand::values};
use crate::{NodeSpec, NodeState, ObjectKind, Scope, Volumes};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "volumes-kept",
        kept,
        "a node that is dropped with its volumes kept finds them again"
    ),
    promise!(
        "volumes-purged",
        purged,
        "a node that is dropped with its volumes purged starts afresh, and no other one's go"
    ),
];

/// Shows what the one before left, each under a name of its own.
fn heir(stand: &Stand<'_>, own: &str) -> NodeSpec {
    stand.node(
        "v0",
        &[
            Step::Show("/data/left".into()),
            Step::Write("/data/left".into(), own.into()),
            Step::Say(own.into()),
            Step::Stay,
        ],
    )
}

async fn kept(stand: &Stand<'_>) -> Kept {
    let (first, second) = (heir(stand, "first"), heir(stand, "second"));
    let key = stand.up(&first).await?;
    stand.says(&key, &first, "first").await?;
    for _ in 0..2 {
        stand.agent.drop_node(&key, &first.name, Volumes::Keep).await?;
        let state = stand.agent.observe(Scope::Host).await?.node_state(1, &first.name);
        promised!(state == NodeState::Absent, "it is {state:?}");
    }
    stand.start(&key, &second).await?;
    let said = stand.says(&key, &second, "second").await?;
    promised!(
        values(&said, "show /data/left").last() == Some(&"first"),
        "{said}"
    );
    Ok(())
}

async fn purged(stand: &Stand<'_>) -> Kept {
    let (first, second) = (heir(stand, "first"), heir(stand, "second"));
    let beside = stand.node("v1", &[Step::Stay]);
    let key = stand.up(&first).await?;
    stand.start(&key, &beside).await?;
    let life = stand.life(&key, &beside).await?;
    stand.says(&key, &first, "first").await?;
    for _ in 0..2 {
        stand.agent.drop_node(&key, &first.name, Volumes::Purge).await?;
        let left: Vec<_> = stand
            .objects(Scope::Host)
            .await?
            .into_iter()
            .filter(|o| o.node.as_ref() == Some(&first.name))
            .collect();
        promised!(left.is_empty(), "{left:?} is left");
    }
    let volumes = stand
        .objects(Scope::Host)
        .await?
        .into_iter()
        .filter(|o| o.kind == ObjectKind::Volume)
        .count();
    promised!(
        volumes == 1 && stand.life(&key, &beside).await? == life,
        "its neighbour was touched: {volumes} volumes"
    );
    stand.start(&key, &second).await?;
    let said = stand.says(&key, &second, "second").await?;
    promised!(
        values(&said, "show /data/left")
            .last()
            .is_some_and(|found| *found != "first"),
        "{said}"
    );
    Ok(())
}
