//! Two control planes share a platform.

use super::{
    Kept, Promise, Stand,
    program::Step,
    promise, promised,
    stand::{RUN, is_foreign},
};
use crate::{InstanceId, LogQuery, Power, Scope, Volumes};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "instances-apart",
        apart,
        "two control planes on one platform neither see nor reap each other"
    ),
    promise!(
        "instance-again",
        again,
        "an agent made anew finds all that the one before it made"
    ),
];

async fn apart(stand: &Stand<'_>) -> Kept {
    let node = stand.node("v0", &[Step::Stay]);
    let key = stand.up(&node).await?;
    let life = stand.life(&key, &node).await?;
    let before = stand.objects(Scope::Host).await?;
    let instance = InstanceId::new();
    let other = stand.ground.connect(instance)?;
    for scope in [Scope::Host, Scope::Cluster(key.cluster)] {
        let seen = other.observe(scope).await?;
        promised!(seen.objects.is_empty(), "the other sees {seen:?}");
    }
    promised!(
        is_foreign(&other.ensure_network(&key, &stand.ground.network()).await),
        "ensure_network does not say Foreign"
    );
    for power in [
        RUN,
        Power::Off,
        Power::On {
            after: Some(life.clone()),
        },
    ] {
        promised!(
            is_foreign(&other.ensure_node(&key, &node, &stand.image, &power).await),
            "ensure_node does not say Foreign"
        );
    }
    promised!(
        is_foreign(&other.incarnation(&key, &node.name).await),
        "incarnation does not say Foreign"
    );
    promised!(
        is_foreign(&other.logs(&key, &node.name, LogQuery::default()).await),
        "logs does not say Foreign"
    );
    other.drop_node(&key, &node.name, Volumes::Purge).await?;
    other.drop_cluster(key.cluster, u32::MAX).await?;
    let theirs = stand.key_of(instance);
    other.ensure_network(&theirs, &stand.ground.network()).await?;
    other.ensure_node(&theirs, &node, &stand.image, &RUN).await?;
    let now = stand.objects(Scope::Host).await?;
    promised!(
        now == before && stand.life(&key, &node).await? == life,
        "{before:?} became {now:?}"
    );
    other.drop_cluster(theirs.cluster, u32::MAX).await?;
    stand.running(&key, &node).await
}

async fn again(stand: &Stand<'_>) -> Kept {
    let node = stand.node("v0", &[Step::Stay]);
    let key = stand.up(&node).await?;
    let life = stand.life(&key, &node).await?;
    let anew = stand.ground.connect(stand.instance)?;
    let mut seen = anew.observe(Scope::Host).await?.objects;
    seen.sort_by(|a, b| (a.kind, &a.name, &a.id).cmp(&(b.kind, &b.name, &b.id)));
    let before = stand.objects(Scope::Host).await?;
    promised!(seen == before, "{before:?} is seen as {seen:?}");
    anew.ensure_node(&key, &node, &stand.image, &RUN).await?;
    promised!(
        anew.incarnation(&key, &node.name).await? == Some(life),
        "it has another life"
    );
    Ok(())
}
