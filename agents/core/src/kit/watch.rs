//! Watches report changes.

use super::{
    fixture::Fixture,
    outcome::{Stop, TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{InstanceId, Power, Wake, WakeStream};
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "watch-changed",
        changed,
        "a watch first reports Connected, then each change of a cluster"
    ),
    promise!(
        "watch-died",
        died,
        "the exit of a node's process is reported with its code"
    ),
    promise!("watch-own", own, "a watch reports this instance's changes only"),
];

async fn connected(fixture: &Fixture<'_>, wakes: &mut WakeStream) -> TestResult {
    let first = timeout(fixture.platform.step_timeout(), wakes.next()).await;
    check!(
        matches!(first, Ok(Some(Wake::Connected))),
        "the first wake is {first:?}"
    );
    Ok(())
}

async fn until(fixture: &Fixture<'_>, wakes: &mut WakeStream, wanted: &Wake) -> TestResult {
    let mut received = Vec::new();
    let listen = async {
        while let Some(wake) = wakes.next().await {
            if wake == *wanted {
                return true;
            }
            received.push(wake);
        }
        false
    };
    let found = timeout(fixture.platform.step_timeout(), listen).await;
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err(Stop::Failed(format!(
            "the stream ended before {wanted:?}: {received:?}"
        ))),
        Err(_) => Err(Stop::Failed(format!("no {wanted:?}, but {received:?}"))),
    }
}

/// Discards the wakes so far.
fn drain(wakes: &mut WakeStream) {
    while let Some(Some(_)) = wakes.next().now_or_never() {}
}

async fn changed(fixture: &Fixture<'_>) -> TestResult {
    let mut wakes = fixture.agent.watch();
    connected(fixture, &mut wakes).await?;
    let node = fixture.node("v0", &[Step::Stay]);
    let key = fixture.start_cluster(&node).await?;
    let changed = Wake::Changed(key.cluster);
    until(fixture, &mut wakes, &changed).await?;
    drain(&mut wakes);
    fixture.ensure(&key, &node, &Power::Off).await?;
    fixture.wait_until_stopped(&key, &node).await?;
    until(fixture, &mut wakes, &changed).await?;
    drain(&mut wakes);
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    until(fixture, &mut wakes, &changed).await
}

async fn died(fixture: &Fixture<'_>) -> TestResult {
    let mut wakes = fixture.agent.watch();
    connected(fixture, &mut wakes).await?;
    let (key, node) = (fixture.key(), fixture.node("v0", &[Step::Exit(3)]));
    fixture.network(&key).await?;
    fixture.ensure(&key, &node, &super::fixture::RUN).await?;
    until(
        fixture,
        &mut wakes,
        &Wake::Died {
            cluster: key.cluster,
            node: node.name.clone(),
            code: 3,
        },
    )
    .await
}

async fn own(fixture: &Fixture<'_>) -> TestResult {
    let other = fixture.platform.connect(InstanceId::new())?;
    let (mut ours, mut theirs) = (fixture.agent.watch(), other.watch());
    connected(fixture, &mut ours).await?;
    connected(fixture, &mut theirs).await?;
    let key = fixture.start_cluster(&fixture.node("v0", &[Step::Stay])).await?;
    until(fixture, &mut ours, &Wake::Changed(key.cluster)).await?;
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    until(fixture, &mut ours, &Wake::Changed(key.cluster)).await?;
    let woken = theirs.next().now_or_never();
    check!(woken.is_none(), "another instance received {woken:?}");
    Ok(())
}
