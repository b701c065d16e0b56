//! Unreachable machines.

use crate::bed::change;
use crate::fixture::{Fixture, RUN, SOON, STAY, eventually, node};
use anyhow::{Result, ensure};
use chainpool_agent::{Agent, ClusterKey, Error, NodeSpec, NodeState, Volumes};
use std::time::Duration;

/// The manager in use is killed: the call fails over to the next one.
pub(crate) async fn manager_dies(fixture: &Fixture<'_>) -> Result<()> {
    let machines = fixture.machines().await?;
    let key = fixture.cluster().await?;
    let stays = node("v0", &machines[1], STAY);
    fixture.ensure(&key, &stays, &RUN).await?;
    let before = fixture.agent.probe().await?.engine_id;
    change(&["stop", "1"])?;
    let after = async {
        // The others elect a leader first; until then they have no swarm.
        eventually("another manager answers", SOON, async || {
            Ok(unless_transient(fixture.agent.probe().await)?.is_some_and(|probe| probe.engine_id == before))
        })
        .await?;
        let created = node("v1", &machines[2], STAY);
        eventually("a node is created", SOON, async || {
            Ok(unless_transient(fixture.ensure(&key, &created, &RUN).await)?.is_some())
        })
        .await?;
        runs(fixture, &key, &created).await?;
        fixture
            .agent
            .drop_node(&key, &created.name, Volumes::Purge)
            .await?;
        Ok(())
    };
    let after = after.await;
    change(&["start", "1"])?;
    after
}

/// A machine is disconnected: its node's state is unknown and nothing is deleted. After reconnecting, all is
/// healthy.
pub(crate) async fn machine_cut(fixture: &Fixture<'_>) -> Result<()> {
    let machines = fixture.machines().await?;
    let key = fixture.cluster().await?;
    let (near, far) = (node("v0", &machines[0], STAY), node("v1", &machines[2], STAY));
    fixture.ensure(&key, &near, &RUN).await?;
    fixture.ensure(&key, &far, &RUN).await?;
    change(&["cut", "3"])?;
    let outage = async {
        eventually("the swarm notices it", SOON, async || {
            Ok(matches!(unless_transient(fixture.state(&key, &far).await)?, Some(NodeState::Changing(why)) if why.contains("is down")))
        })
        .await?;
        // If the lost machine was the leader, the next leader collects the other states again.
        runs(fixture, &key, &near).await?;
        let closed: Vec<_> = fixture
            .agent
            .probe()
            .await?
            .machines
            .into_iter()
            .filter_map(|m| m.closed)
            .collect();
        ensure!(closed == ["down"], "{closed:?}");
        for result in [
            fixture.ensure(&key, &far, &RUN).await,
            fixture.agent.drop_node(&key, &far.name, Volumes::Purge).await,
        ] {
            ensure!(
                matches!(&result, Err(Error::Busy(why)) if why.contains("is down")),
                "{result:?}"
            );
        }
        Ok(())
    };
    let outage = outage.await;
    change(&["heal", "3"])?;
    outage?;
    // Its manager returns with a higher term and an older log, and deposes the leader repeatedly: up to 76 s
    // without a leader were observed.
    eventually("the machine is reconnected", Duration::from_mins(3), async || {
        Ok(unless_transient(fixture.agent.probe().await)?
            .is_some_and(|probe| probe.machines.iter().all(|m| m.closed.is_none())))
    })
    .await?;
    eventually("its node is dropped", Duration::from_mins(2), async || {
        Ok(unless_transient(fixture.agent.drop_node(&key, &far.name, Volumes::Purge).await)?.is_some())
    })
    .await?;
    runs(fixture, &key, &near).await
}

async fn runs(fixture: &Fixture<'_>, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
    eventually("the node runs", SOON, async || {
        Ok(unless_transient(fixture.state(key, node).await)? == Some(NodeState::Running))
    })
    .await
}

/// The answer of a swarm; `None` on a transient error, such as during a leader election.
fn unless_transient<T>(answer: chainpool_agent::Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_transient() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
