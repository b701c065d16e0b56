//! Foreign objects are not touched, whatever their name.

use super::{
    fixture::{Fixture, RUN, is_foreign},
    outcome::{Stop, TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{Error, LogQuery, ObjectKind, Power, Volumes};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "foreign-network",
        network,
        "a foreign network of that name is reported as Foreign and not touched"
    ),
    promise!(
        "foreign-node",
        node,
        "a foreign node of that name is reported as Foreign and not touched"
    ),
    promise!(
        "foreign-job",
        job,
        "a foreign job of that name is reported as Foreign and not touched"
    ),
    promise!(
        "foreign-volume",
        volume,
        "a foreign volume of that name is reported as Foreign and not touched"
    ),
    promise!(
        "foreign-part",
        part,
        "a foreign part of that name is reported as Foreign and not touched"
    ),
];

async fn network(fixture: &Fixture<'_>) -> TestResult {
    let (key, node) = (fixture.key(), fixture.node("v0", &[Step::Stay]));
    let foreign = fixture
        .platform
        .foreign_create(ObjectKind::Network, &key, &node)
        .await?;
    fixture.guard_foreign(foreign.ok_or_else(no_such_object)?).await?;
    for _ in 0..2 {
        let created = fixture
            .agent
            .ensure_network(&key, &fixture.platform.network())
            .await;
        check!(
            matches!(created, Err(Error::Foreign(_))),
            "ensure_network returned {created:?}"
        );
    }
    drop_ours(fixture, &key, &node).await
}

async fn node(fixture: &Fixture<'_>) -> TestResult {
    let (key, node) = conflict(fixture, ObjectKind::Node).await?;
    check!(
        is_foreign(&fixture.agent.incarnation(&key, &node.name).await),
        "incarnation does not return Foreign"
    );
    check!(
        is_foreign(&fixture.agent.logs(&key, &node.name, LogQuery::default()).await),
        "logs does not return Foreign"
    );
    Ok(())
}

async fn job(fixture: &Fixture<'_>) -> TestResult {
    let (key, job) = (fixture.key(), fixture.node("setup", &[Step::Exit(0)]));
    fixture.network(&key).await?;
    let foreign = fixture
        .platform
        .foreign_create(ObjectKind::Job, &key, &job)
        .await?;
    fixture.guard_foreign(foreign.ok_or_else(no_such_object)?).await?;
    for _ in 0..2 {
        let created = fixture.agent.ensure_job(&key, &job, &fixture.image).await;
        check!(
            matches!(created, Err(Error::Foreign(_))),
            "ensure_job returned {created:?}"
        );
    }
    drop_ours(fixture, &key, &job).await
}

async fn volume(fixture: &Fixture<'_>) -> TestResult {
    conflict(fixture, ObjectKind::Volume).await.map(drop)
}

async fn part(fixture: &Fixture<'_>) -> TestResult {
    conflict(fixture, ObjectKind::Part).await.map(drop)
}

/// Creates a foreign object in the way of a node that has every kind of part, and checks that the node is
/// refused.
async fn conflict(
    fixture: &Fixture<'_>,
    kind: ObjectKind,
) -> TestResult<(crate::ClusterKey, crate::NodeSpec)> {
    let mut node = fixture.node("v0", &[Step::Echo(7000), Step::Stay]);
    let file = |path: &str, secret| crate::File {
        path: path.into(),
        content: crate::Secret::new(b"content".to_vec()),
        mode: 0o600,
        owner: (1000, 1001),
        secret,
        once: false,
    };
    node.files = vec![file("/data/open", false), file("/data/secret", true)];
    let (key, node) = (fixture.key(), super::fixture::hashed(node));
    fixture.network(&key).await?;
    let foreign = fixture.platform.foreign_create(kind, &key, &node).await?;
    fixture.guard_foreign(foreign.ok_or_else(no_such_object)?).await?;
    for power in [RUN, Power::Off] {
        let created = fixture.ensure(&key, &node, &power).await;
        check!(
            matches!(created, Err(Error::Foreign(_))),
            "ensure_node returned {created:?}"
        );
    }
    drop_ours(fixture, &key, &node).await?;
    Ok((key, node))
}

/// Drops our objects. Those that depend on the foreign object may be refused with a reason.
async fn drop_ours(fixture: &Fixture<'_>, key: &crate::ClusterKey, node: &crate::NodeSpec) -> TestResult {
    let dropped = [
        fixture.agent.drop_node(key, &node.name, Volumes::Purge).await,
        fixture.agent.drop_cluster(key.cluster, 1).await,
    ];
    for result in dropped {
        check!(
            matches!(
                result,
                Ok(()) | Err(Error::Foreign(_) | Error::Refused(_) | Error::Busy(_))
            ),
            "a removal returned {result:?}"
        );
    }
    Ok(())
}

fn no_such_object() -> Stop {
    Stop::NotEnforced("the platform has no object of this kind that could conflict".into())
}
