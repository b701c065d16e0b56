//! What is ours is listed, and goes as asked.

use super::{Kept, Promise, Stand, program::Step, promise, promised};
use crate::{ClusterKey, Object, ObjectKind, Scope};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "observe",
        observe,
        "an observation lists a cluster's network, nodes and volumes with their labels, by scope"
    ),
    promise!(
        "drop-generation",
        drop_generation,
        "a cluster is dropped up to its generation; later ones and other clusters stay"
    ),
    promise!(
        "drop-cluster",
        drop_cluster,
        "a cluster that is dropped leaves nothing, running or not; absent is success"
    ),
];

async fn observe(stand: &Stand<'_>) -> Kept {
    let pair = [stand.node("v0", &[Step::Stay]), stand.node("v1", &[Step::Stay])];
    let (one, other) = (stand.up(&pair[0]).await?, stand.up(&pair[0]).await?);
    stand.start(&one, &pair[1]).await?;
    let host = stand.objects(Scope::Host).await?;
    let (ours, theirs) = (
        stand.objects(Scope::Cluster(one.cluster)).await?,
        stand.objects(Scope::Cluster(other.cluster)).await?,
    );
    let of = |objects: &[Object], kind| objects.iter().filter(|o| o.kind == kind).count();
    let counts = [ObjectKind::Network, ObjectKind::Node].map(|kind| [of(&ours, kind), of(&theirs, kind)]);
    promised!(
        counts == [[1, 1], [2, 1]],
        "networks and nodes {counts:?} of {host:?}"
    );
    promised!(of(&ours, ObjectKind::Volume) == 2, "volumes of {ours:?}");
    promised!(
        host.len() == ours.len() + theirs.len(),
        "{host:?} is not both {ours:?} and {theirs:?}"
    );
    promised!(
        ours.iter().all(|o| o.cluster == one.cluster && o.generation == 1),
        "{ours:?}"
    );
    for object in &ours {
        let node = pair.iter().find(|node| object.node.as_ref() == Some(&node.name));
        let named = match object.kind {
            ObjectKind::Network => object.node.is_none() && object.state.is_none(),
            ObjectKind::Job => false,
            ObjectKind::Node => {
                node.is_some_and(|node| object.hash.as_ref() == Some(&node.hash)) && object.state.is_some()
            }
            ObjectKind::Volume => node.is_some() && object.state.is_none(),
            ObjectKind::Part => object.state.is_none(),
        };
        promised!(
            named && !object.name.is_empty() && !object.id.is_empty(),
            "{object:?}"
        );
    }
    Ok(())
}

async fn drop_generation(stand: &Stand<'_>) -> Kept {
    let node = stand.node("v0", &[Step::Stay]);
    let (old, beside) = (stand.up(&node).await?, stand.up(&node).await?);
    let new = ClusterKey { generation: 2, ..old };
    stand.network(&new).await?;
    stand.start(&new, &node).await?;
    let before = stand.objects(Scope::Host).await?;
    let kept: Vec<_> = before
        .into_iter()
        .filter(|o| o.cluster == beside.cluster || o.generation == 2)
        .collect();
    for _ in 0..2 {
        stand.agent.drop_cluster(old.cluster, 1).await?;
        let now = stand.objects(Scope::Host).await?;
        promised!(now == kept, "{now:?} is left, not {kept:?}");
    }
    let left = stand.ground.leftovers(stand.instance).await?;
    promised!(left.len() >= kept.len(), "the ground sees only {left:?}");
    Ok(())
}

async fn drop_cluster(stand: &Stand<'_>) -> Kept {
    let [running, resting, ending] = [Step::Stay, Step::Stay, Step::Exit(1)];
    let key = stand.up(&stand.node("v0", &[running])).await?;
    stand
        .ensure(&key, &stand.node("v1", &[resting]), &crate::Power::Off)
        .await?;
    stand
        .ensure(&key, &stand.node("v2", &[ending]), &super::stand::RUN)
        .await?;
    for _ in 0..2 {
        stand
            .insist("drop_cluster", async || {
                stand.agent.drop_cluster(key.cluster, 1).await
            })
            .await?;
        let left = (
            stand.objects(Scope::Host).await?,
            stand.ground.leftovers(stand.instance).await?,
        );
        promised!(left.0.is_empty() && left.1.is_empty(), "{left:?} is left");
    }
    Ok(())
}
