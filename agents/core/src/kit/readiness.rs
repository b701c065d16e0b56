//! A node with a readiness check is observed as running only while it is ready.

use super::{
    fixture::{Fixture, RUN, hashed},
    outcome::{Stop, TestResult, check},
    program::{self, Step},
    promise::{Promise, promise},
};
use crate::{ClusterKey, NodeSpec, NodeState, Readiness};
use futures::StreamExt;
use tokio::time::timeout;

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "readiness",
        readiness,
        "a node with a readiness check is observed as unready, then as running after the first success, without a restart"
    ),
    promise!(
        "readiness-lost",
        lost,
        "a node whose readiness check fails repeatedly is no longer observed as running"
    ),
    promise!(
        "readiness-watched",
        watched,
        "a watch reports a change when a node becomes ready"
    ),
];

/// The port of the nodes that another node waits for.
const PORT: u16 = 7000;
const READY: &str = "/data/ready";

/// A node that is ready from the moment that it reaches `v1`.
fn waiting(fixture: &Fixture<'_>, more: &[Step]) -> NodeSpec {
    let steps = [
        &[
            Step::Say("alive".into()),
            Step::Reach("v1".into(), PORT),
            Step::Write(READY.into(), "yes".into()),
        ],
        more,
        &[Step::Stay],
    ];
    let check = Readiness {
        command: program::command(&[Step::Expect(READY.into(), "yes".into())]),
        interval: 1,
        timeout: 10,
    };
    hashed(NodeSpec {
        readiness: Some(check),
        ..fixture.node("v0", &steps.concat())
    })
}

/// Starts the node and waits until it runs and is unready.
async fn start_unready(fixture: &Fixture<'_>, node: &NodeSpec) -> TestResult<ClusterKey> {
    let key = fixture.key();
    fixture.network(&key).await?;
    fixture.ensure(&key, node, &RUN).await?;
    fixture.wait_for_output(&key, node, "alive").await?;
    fixture
        .state(&key, node, "is unready", |state| *state == NodeState::Unready)
        .await?;
    Ok(key)
}

async fn readiness(fixture: &Fixture<'_>) -> TestResult {
    let node = waiting(fixture, &[]);
    let key = start_unready(fixture, &node).await?;
    let incarnation = fixture.incarnation(&key, &node).await?;
    // An unready node runs: it is adopted.
    fixture.ensure(&key, &node, &RUN).await?;
    fixture
        .start(&key, &fixture.node("v1", &[Step::Echo(PORT), Step::Stay]))
        .await?;
    fixture.wait_until_running(&key, &node).await?;
    let now = fixture.incarnation(&key, &node).await?;
    check!(
        now == incarnation,
        "it was restarted: {incarnation:?} became {now:?}"
    );
    Ok(())
}

async fn lost(fixture: &Fixture<'_>) -> TestResult {
    let end = [Step::Reach("v2".into(), PORT), Step::Remove(READY.into())];
    let node = waiting(fixture, &end);
    let key = start_unready(fixture, &node).await?;
    for (name, what, wanted) in [
        (
            "v1",
            "is running",
            (|state| *state == NodeState::Running) as fn(&NodeState) -> bool,
        ),
        ("v2", "is not running", |state| *state != NodeState::Running),
    ] {
        let other = fixture.node(name, &[Step::Echo(PORT), Step::Stay]);
        fixture.start(&key, &other).await?;
        fixture.state(&key, &node, what, wanted).await?;
    }
    Ok(())
}

async fn watched(fixture: &Fixture<'_>) -> TestResult {
    let node = waiting(fixture, &[]);
    let key = start_unready(fixture, &node).await?;
    fixture
        .start(&key, &fixture.node("v1", &[Step::Echo(PORT), Step::Stay]))
        .await?;
    let mut wakes = fixture.agent.watch();
    let listen = async {
        // After the first wake, `Connected`, earlier changes are observed.
        while wakes.next().await.is_some() {
            let state = fixture
                .retry("observe", async || fixture.node_state(&key, &node).await)
                .await?;
            if state == NodeState::Running {
                return Ok(());
            }
        }
        Err(Stop::Failed(
            "the watch ended before the node was ready".to_owned(),
        ))
    };
    let no_wake = |_| {
        Err(Stop::Failed(
            "no change was reported when the node became ready".to_owned(),
        ))
    };
    timeout(fixture.platform.step_timeout(), listen)
        .await
        .unwrap_or_else(no_wake)
}
