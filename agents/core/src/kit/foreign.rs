//! What is not ours is not touched, whatever its name.

use super::{
    Kept, Promise, Stand,
    outcome::Stop,
    program::Step,
    promise, promised,
    stand::{RUN, is_foreign},
};
use crate::{Error, LogQuery, ObjectKind, Power, Volumes};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "foreign-network",
        network,
        "a foreign network of that name is told as Foreign and not touched"
    ),
    promise!(
        "foreign-node",
        node,
        "a foreign node of that name is told as Foreign and not touched"
    ),
    promise!(
        "foreign-job",
        job,
        "a foreign job of that name is told as Foreign and not touched"
    ),
    promise!(
        "foreign-volume",
        volume,
        "a foreign volume of that name is told as Foreign and not touched"
    ),
    promise!(
        "foreign-part",
        part,
        "a foreign part of that name is told as Foreign and not touched"
    ),
];

async fn network(stand: &Stand<'_>) -> Kept {
    let (key, node) = (stand.key(), stand.node("v0", &[Step::Stay]));
    let foreign = stand
        .ground
        .foreign_make(ObjectKind::Network, &key, &node)
        .await?;
    stand.guard(foreign.ok_or_else(nothing)?).await?;
    for _ in 0..2 {
        let made = stand.agent.ensure_network(&key, &stand.ground.network()).await;
        promised!(
            matches!(made, Err(Error::Foreign(_))),
            "ensure_network said {made:?}"
        );
    }
    go(stand, &key, &node).await
}

async fn node(stand: &Stand<'_>) -> Kept {
    let (key, node) = beside(stand, ObjectKind::Node).await?;
    promised!(
        is_foreign(&stand.agent.incarnation(&key, &node.name).await),
        "incarnation does not say Foreign"
    );
    promised!(
        is_foreign(&stand.agent.logs(&key, &node.name, LogQuery::default()).await),
        "logs does not say Foreign"
    );
    Ok(())
}

async fn job(stand: &Stand<'_>) -> Kept {
    let (key, job) = (stand.key(), stand.node("setup", &[Step::Exit(0)]));
    stand.network(&key).await?;
    let foreign = stand.ground.foreign_make(ObjectKind::Job, &key, &job).await?;
    stand.guard(foreign.ok_or_else(nothing)?).await?;
    for _ in 0..2 {
        let made = stand.agent.ensure_job(&key, &job, &stand.image).await;
        promised!(matches!(made, Err(Error::Foreign(_))), "ensure_job said {made:?}");
    }
    go(stand, &key, &job).await
}

async fn volume(stand: &Stand<'_>) -> Kept {
    beside(stand, ObjectKind::Volume).await.map(drop)
}

async fn part(stand: &Stand<'_>) -> Kept {
    beside(stand, ObjectKind::Part).await.map(drop)
}

/// Makes a foreign object in the way of a node with all that a node may have, and sees the node refused.
async fn beside(stand: &Stand<'_>, kind: ObjectKind) -> Kept<(crate::ClusterKey, crate::NodeSpec)> {
    let mut node = stand.node("v0", &[Step::Echo(7000), Step::Stay]);
    let file = |path: &str, secret| crate::File {
        path: path.into(),
        content: crate::Secret::new(b"content".to_vec()),
        mode: 0o600,
        owner: (1000, 1001),
        secret,
        once: false,
    };
    node.files = vec![file("/data/open", false), file("/data/secret", true)];
    let (key, node) = (stand.key(), super::stand::hashed(node));
    stand.network(&key).await?;
    let foreign = stand.ground.foreign_make(kind, &key, &node).await?;
    stand.guard(foreign.ok_or_else(nothing)?).await?;
    for power in [RUN, Power::Off] {
        let made = stand.ensure(&key, &node, &power).await;
        promised!(
            matches!(made, Err(Error::Foreign(_))),
            "ensure_node said {made:?}"
        );
    }
    go(stand, &key, &node).await?;
    Ok((key, node))
}

/// Drops what there is of ours; what hangs on the foreign object may be refused, with words.
async fn go(stand: &Stand<'_>, key: &crate::ClusterKey, node: &crate::NodeSpec) -> Kept {
    let dropped = [
        stand.agent.drop_node(key, &node.name, Volumes::Purge).await,
        stand.agent.drop_cluster(key.cluster, 1).await,
    ];
    for result in dropped {
        promised!(
            matches!(
                result,
                Ok(()) | Err(Error::Foreign(_) | Error::Refused(_) | Error::Busy(_))
            ),
            "a removal said {result:?}"
        );
    }
    Ok(())
}

fn nothing() -> Stop {
    Stop::NotEnforced("the platform has no object of this kind that could be in the way".into())
}
