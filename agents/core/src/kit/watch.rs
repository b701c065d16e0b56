//! What happens is told.

use super::{Kept, Promise, Stand, outcome::Stop, program::Step, promise, promised};
use crate::{InstanceId, Power, Wake, WakeStream};
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "watch-changed",
        changed,
        "a watch is connected first, then tells each change of a cluster"
    ),
    promise!(
        "watch-died",
        died,
        "a node's process that ends is told with its exit code"
    ),
    promise!("watch-own", own, "a watch tells of this instance alone"),
];

async fn connected(stand: &Stand<'_>, wakes: &mut WakeStream) -> Kept {
    let first = timeout(stand.ground.patience(), wakes.next()).await;
    promised!(
        matches!(first, Ok(Some(Wake::Connected))),
        "first of all it said {first:?}"
    );
    Ok(())
}

async fn until(stand: &Stand<'_>, wakes: &mut WakeStream, wanted: &Wake) -> Kept {
    let mut heard = Vec::new();
    let listen = async {
        while let Some(wake) = wakes.next().await {
            if wake == *wanted {
                return true;
            }
            heard.push(wake);
        }
        false
    };
    let found = timeout(stand.ground.patience(), listen).await;
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err(Stop::Failed(format!(
            "{wanted:?} was not told before the end: {heard:?}"
        ))),
        Err(_) => Err(Stop::Failed(format!("{wanted:?} was not told, but {heard:?}"))),
    }
}

/// Takes what was told up to now.
fn drain(wakes: &mut WakeStream) {
    while let Some(Some(_)) = wakes.next().now_or_never() {}
}

async fn changed(stand: &Stand<'_>) -> Kept {
    let mut wakes = stand.agent.watch();
    connected(stand, &mut wakes).await?;
    let node = stand.node("v0", &[Step::Stay]);
    let key = stand.up(&node).await?;
    let told = Wake::Changed(key.cluster);
    until(stand, &mut wakes, &told).await?;
    drain(&mut wakes);
    stand.ensure(&key, &node, &Power::Off).await?;
    stand.resting(&key, &node).await?;
    until(stand, &mut wakes, &told).await?;
    drain(&mut wakes);
    stand.agent.drop_cluster(key.cluster, 1).await?;
    until(stand, &mut wakes, &told).await
}

async fn died(stand: &Stand<'_>) -> Kept {
    let mut wakes = stand.agent.watch();
    connected(stand, &mut wakes).await?;
    let (key, node) = (stand.key(), stand.node("v0", &[Step::Exit(3)]));
    stand.network(&key).await?;
    stand.ensure(&key, &node, &super::stand::RUN).await?;
    until(
        stand,
        &mut wakes,
        &Wake::Died {
            cluster: key.cluster,
            node: node.name.clone(),
            code: 3,
        },
    )
    .await
}

async fn own(stand: &Stand<'_>) -> Kept {
    let other = stand.ground.connect(InstanceId::new())?;
    let (mut ours, mut theirs) = (stand.agent.watch(), other.watch());
    connected(stand, &mut ours).await?;
    connected(stand, &mut theirs).await?;
    let key = stand.up(&stand.node("v0", &[Step::Stay])).await?;
    until(stand, &mut ours, &Wake::Changed(key.cluster)).await?;
    stand.agent.drop_cluster(key.cluster, 1).await?;
    until(stand, &mut ours, &Wake::Changed(key.cluster)).await?;
    let woken = theirs.next().now_or_never();
    promised!(woken.is_none(), "another instance heard {woken:?}");
    Ok(())
}
