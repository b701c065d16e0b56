//! Machines that go away.

use crate::bed::change;
use crate::yard::{RUN, SOON, STAY, Yard, eventually, node};
use anyhow::{Result, ensure};
use chainpool_agent::{Agent, ClusterKey, Error, NodeSpec, NodeState, Volumes};
use std::time::Duration;

/// The manager that is spoken to is killed: the next one is used, within the call.
pub(crate) async fn manager_dies(yard: &Yard<'_>) -> Result<()> {
    let machines = yard.machines().await?;
    let key = yard.cluster().await?;
    let stays = node("v0", &machines[1], STAY);
    yard.ensure(&key, &stays, &RUN).await?;
    let before = yard.agent.probe().await?.engine_id;
    change(&["stop", "1"])?;
    let after = async {
        // The others choose a leader first; until then they speak for nobody.
        eventually("another manager answers", SOON, async || {
            Ok(told(yard.agent.probe().await)?.is_some_and(|probe| probe.engine_id == before))
        })
        .await?;
        let made = node("v1", &machines[2], STAY);
        eventually("a node is made", SOON, async || {
            Ok(told(yard.ensure(&key, &made, &RUN).await)?.is_some())
        })
        .await?;
        runs(yard, &key, &made).await?;
        yard.agent.drop_node(&key, &made.name, Volumes::Purge).await?;
        Ok(())
    };
    let after = after.await;
    change(&["start", "1"])?;
    after
}

/// A machine's cable is pulled: its node's state is known to be unknown, nothing is deleted, and all is well when it is back.
pub(crate) async fn machine_cut(yard: &Yard<'_>) -> Result<()> {
    let machines = yard.machines().await?;
    let key = yard.cluster().await?;
    let (near, far) = (node("v0", &machines[0], STAY), node("v1", &machines[2], STAY));
    yard.ensure(&key, &near, &RUN).await?;
    yard.ensure(&key, &far, &RUN).await?;
    change(&["cut", "3"])?;
    let away = async {
        eventually("the swarm knows it", SOON, async || {
            Ok(matches!(told(yard.state(&key, &far).await)?, Some(NodeState::Changing(why)) if why.contains("is down")))
        })
        .await?;
        // Was the lost machine's the leader, the next one gets to know the others again.
        runs(yard, &key, &near).await?;
        let closed: Vec<_> = yard
            .agent
            .probe()
            .await?
            .machines
            .into_iter()
            .filter_map(|m| m.closed)
            .collect();
        ensure!(closed == ["down"], "{closed:?}");
        for told in [
            yard.ensure(&key, &far, &RUN).await,
            yard.agent.drop_node(&key, &far.name, Volumes::Purge).await,
        ] {
            ensure!(
                matches!(&told, Err(Error::Busy(why)) if why.contains("is down")),
                "{told:?}"
            );
        }
        Ok(())
    };
    let away = away.await;
    change(&["heal", "3"])?;
    away?;
    // Its manager comes back with a higher term and an older log, and deposes the leader again and again: a swarm was seen without one for 76 s.
    eventually("the machine is back", Duration::from_mins(3), async || {
        Ok(told(yard.agent.probe().await)?
            .is_some_and(|probe| probe.machines.iter().all(|m| m.closed.is_none())))
    })
    .await?;
    eventually("its node can go", Duration::from_mins(2), async || {
        Ok(told(yard.agent.drop_node(&key, &far.name, Volumes::Purge).await)?.is_some())
    })
    .await?;
    runs(yard, &key, &near).await
}

async fn runs(yard: &Yard<'_>, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
    eventually("the node runs", SOON, async || {
        Ok(told(yard.state(key, node).await)? == Some(NodeState::Running))
    })
    .await
}

/// What a swarm told; `None` while it cannot tell, for it may be choosing a leader.
fn told<T>(answer: chainpool_agent::Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_transient() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
