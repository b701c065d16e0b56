//! Two control planes on one platform.

use super::{
    fixture::{Fixture, RUN, is_foreign},
    outcome::{TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{InstanceId, LogQuery, Power, Scope, Volumes};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "instances-apart",
        apart,
        "two control planes on one platform neither see nor delete each other's objects"
    ),
    promise!(
        "agent-reconnected",
        reconnected,
        "a new agent finds all objects that its predecessor created"
    ),
];

async fn apart(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node("v0", &[Step::Stay]);
    let key = fixture.start_cluster(&node).await?;
    let incarnation = fixture.incarnation(&key, &node).await?;
    let before = fixture.objects(Scope::Host).await?;
    let instance = InstanceId::new();
    let other = fixture.platform.connect(instance)?;
    for scope in [Scope::Host, Scope::Cluster(key.cluster)] {
        let seen = other.observe(scope).await?;
        check!(seen.objects.is_empty(), "the other instance sees {seen:?}");
    }
    check!(
        is_foreign(&other.ensure_network(&key, &fixture.platform.network()).await),
        "ensure_network does not return Foreign"
    );
    for power in [
        RUN,
        Power::Off,
        Power::On {
            after: Some(incarnation.clone()),
        },
    ] {
        check!(
            is_foreign(&other.ensure_node(&key, &node, &fixture.image, &power).await),
            "ensure_node does not return Foreign"
        );
    }
    check!(
        is_foreign(&other.incarnation(&key, &node.name).await),
        "incarnation does not return Foreign"
    );
    check!(
        is_foreign(&other.logs(&key, &node.name, LogQuery::default()).await),
        "logs does not return Foreign"
    );
    other.drop_node(&key, &node.name, Volumes::Purge).await?;
    other.drop_cluster(key.cluster, u32::MAX).await?;
    let theirs = fixture.key_of(instance);
    other.ensure_network(&theirs, &fixture.platform.network()).await?;
    other.ensure_node(&theirs, &node, &fixture.image, &RUN).await?;
    let now = fixture.objects(Scope::Host).await?;
    check!(
        now == before && fixture.incarnation(&key, &node).await? == incarnation,
        "{before:?} became {now:?}"
    );
    other.drop_cluster(theirs.cluster, u32::MAX).await?;
    fixture.wait_until_running(&key, &node).await
}

async fn reconnected(fixture: &Fixture<'_>) -> TestResult {
    let node = fixture.node("v0", &[Step::Stay]);
    let key = fixture.start_cluster(&node).await?;
    let incarnation = fixture.incarnation(&key, &node).await?;
    let new_agent = fixture.platform.connect(fixture.instance)?;
    let mut seen = new_agent.observe(Scope::Host).await?.objects;
    seen.sort_by(|a, b| (a.kind, &a.name, &a.id).cmp(&(b.kind, &b.name, &b.id)));
    let before = fixture.objects(Scope::Host).await?;
    check!(seen == before, "{before:?} is observed as {seen:?}");
    new_agent.ensure_node(&key, &node, &fixture.image, &RUN).await?;
    check!(
        new_agent.incarnation(&key, &node.name).await? == Some(incarnation),
        "it has another incarnation"
    );
    Ok(())
}
