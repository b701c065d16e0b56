//! Listing and dropping of our objects.

use super::{
    fixture::Fixture,
    outcome::{TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
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
        "a cluster is dropped up to a generation; later generations and other clusters stay"
    ),
    promise!(
        "drop-cluster",
        drop_cluster,
        "a dropped cluster leaves nothing, running or not; absent is success"
    ),
];

async fn observe(fixture: &Fixture<'_>) -> TestResult {
    let pair = [
        fixture.node("v0", &[Step::Stay]),
        fixture.node("v1", &[Step::Stay]),
    ];
    let (one, other) = (
        fixture.start_cluster(&pair[0]).await?,
        fixture.start_cluster(&pair[0]).await?,
    );
    fixture.start(&one, &pair[1]).await?;
    let host = fixture.objects(Scope::Host).await?;
    let (ours, theirs) = (
        fixture.objects(Scope::Cluster(one.cluster)).await?,
        fixture.objects(Scope::Cluster(other.cluster)).await?,
    );
    let of = |objects: &[Object], kind| objects.iter().filter(|o| o.kind == kind).count();
    let counts = [ObjectKind::Network, ObjectKind::Node].map(|kind| [of(&ours, kind), of(&theirs, kind)]);
    check!(
        counts == [[1, 1], [2, 1]],
        "networks and nodes {counts:?} of {host:?}"
    );
    check!(of(&ours, ObjectKind::Volume) == 2, "volumes of {ours:?}");
    check!(
        host.len() == ours.len() + theirs.len(),
        "{host:?} is not the sum of {ours:?} and {theirs:?}"
    );
    check!(
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
        check!(
            named && !object.name.is_empty() && !object.id.is_empty(),
            "{object:?}"
        );
    }
    Ok(())
}

async fn drop_generation(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node("v0", &[Step::Stay]);
    let (old, beside) = (
        fixture.start_cluster(&node).await?,
        fixture.start_cluster(&node).await?,
    );
    let new = ClusterKey { generation: 2, ..old };
    fixture.network(&new).await?;
    fixture.start(&new, &node).await?;
    let before = fixture.objects(Scope::Host).await?;
    let kept: Vec<_> = before
        .into_iter()
        .filter(|o| o.cluster == beside.cluster || o.generation == 2)
        .collect();
    for _ in 0..2 {
        fixture.agent.drop_cluster(old.cluster, 1).await?;
        let now = fixture.objects(Scope::Host).await?;
        check!(now == kept, "{now:?} is left, not {kept:?}");
    }
    let left = fixture.platform.leftovers(fixture.instance).await?;
    check!(left.len() >= kept.len(), "the platform sees only {left:?}");
    Ok(())
}

async fn drop_cluster(fixture: &Fixture<'_>) -> TestResult {
    let [running, resting, ending] = [Step::Stay, Step::Stay, Step::Exit(1)];
    let key = fixture.start_cluster(&fixture.node("v0", &[running])).await?;
    fixture
        .ensure(&key, &fixture.node("v1", &[resting]), &crate::Power::Off)
        .await?;
    fixture
        .ensure(&key, &fixture.node("v2", &[ending]), &super::fixture::RUN)
        .await?;
    for _ in 0..2 {
        fixture
            .retry("drop_cluster", async || {
                fixture.agent.drop_cluster(key.cluster, 1).await
            })
            .await?;
        let left = (
            fixture.objects(Scope::Host).await?,
            fixture.platform.leftovers(fixture.instance).await?,
        );
        check!(left.0.is_empty() && left.1.is_empty(), "{left:?} is left");
    }
    Ok(())
}
