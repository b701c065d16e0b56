//! What an operation does for nodes that fall silent or stand still under it: the watchdog leaves them to it.

use crate::{
    Orchestrator,
    step::{Ground, StepError},
    volumes::makes_ledger,
    wait::{Patience, Wait},
};
use chainpool_agent::{NodeName, Power, Scope};
use chainpool_networks::{InitError, NetworkType, Nodes, Stuck};
use chainpool_store::OperationRow;
use std::{
    future::Future,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// The time between two looks for nodes that stand still, while an action waits.
const PAUSE: Duration = Duration::from_secs(2);

/// Looks until nodes have stood still, or been silent, for too long.
async fn standing_still(
    ground: &Ground,
    network: &dyn NetworkType,
    nodes: &Nodes,
    stuck: &mut Stuck,
) -> InitError {
    loop {
        tokio::time::sleep(PAUSE).await;
        // A platform that does not answer is asked again.
        let Ok(observed) = ground
            .host
            .agent
            .observe(Scope::Cluster(ground.key.cluster))
            .await
        else {
            continue;
        };
        let restart = stuck.overdue(&network.probe(nodes, &observed).await, Instant::now());
        if !restart.is_empty() {
            let names: Vec<&str> = restart.iter().map(NodeName::as_str).collect();
            return InitError {
                why: format!("started anew, because they stood still: {}", names.join(", ")),
                restart,
            };
        }
    }
}

impl Orchestrator {
    /// Nodes that an operation is to start anew, by what was seen of its cluster.
    pub(crate) fn stuck(&self, ground: &Ground) -> Stuck {
        Stuck::after(
            self.inner
                .live
                .seen(ground.cluster.id, ground.key.generation)
                .answered,
        )
    }

    /// Tries until it works, or its time is over: where the platform does not answer then, that is the reason.
    pub(crate) async fn until_done<T, F>(
        &self,
        operation: &OperationRow,
        ground: &Ground,
        on: (&dyn NetworkType, &Nodes),
        waiting: (&Wait, &CancellationToken),
        attempt: impl Fn() -> F,
    ) -> Result<T, StepError>
    where
        F: Future<Output = Result<T, InitError>>,
    {
        match self.tried(operation, ground, on, waiting, attempt).await {
            Err(StepError::Late(why)) => match ground
                .host
                .agent
                .observe(Scope::Cluster(ground.key.cluster))
                .await
            {
                Err(error) if error.is_transient() => Err(error.into()),
                _ => Err(StepError::Late(why)),
            },
            done => done,
        }
    }

    /// Tries until it works. It waits for nodes itself, and is broken off for those that stand still: it may be tried any number of times.
    async fn tried<T, F>(
        &self,
        operation: &OperationRow,
        ground: &Ground,
        (network, nodes): (&dyn NetworkType, &Nodes),
        (wait, over): (&Wait, &CancellationToken),
        attempt: impl Fn() -> F,
    ) -> Result<T, StepError>
    where
        F: Future<Output = Result<T, InitError>>,
    {
        let mut patience = Patience::new(wait);
        let mut stuck = self.stuck(ground);
        loop {
            let tried = async {
                loop {
                    match attempt().await {
                        Ok(done) => break Ok::<_, StepError>(Ok(done)),
                        Err(error) if error.restart.is_empty() => patience.wait(error.why).await?,
                        Err(error) => break Ok(Err(error)),
                    }
                }
            };
            let tried = tokio::select! {
                tried = tried => tried?,
                error = standing_still(ground, network, nodes, &mut stuck) => Err(error),
            };
            match tried {
                Ok(done) => return Ok(done),
                Err(InitError { why, restart }) => {
                    self.start_anew(operation, ground, restart, over).await?;
                    patience.wait(why).await?;
                }
            }
        }
    }

    /// Starts nodes anew, but for those that were stopped on purpose. What cannot be started now is tried again when it has stood still for as
    /// long again.
    pub(crate) async fn start_anew(
        &self,
        operation: &OperationRow,
        ground: &Ground,
        nodes: Vec<NodeName>,
        over: &CancellationToken,
    ) -> Result<(), StepError> {
        let stopped = &ground.cluster.stopped_nodes.0;
        for node in nodes.into_iter().filter(|node| !stopped.contains(node.as_str())) {
            tracing::warn!(cluster = ground.cluster.name, %node, "a node that stands still is started anew");
            let started = async {
                let life = ground.host.agent.incarnation(&ground.key, &node).await?;
                if life.is_none() && !makes_ledger(operation.kind.0) {
                    self.ledger_there(operation, ground).await?;
                }
                self.step_node(operation, &node, &Power::On { after: life }, over)
                    .await
            };
            match started.await {
                Err(StepError::Agent(error)) => tracing::warn!(%node, %error, "it could not be started anew"),
                done => done?,
            }
        }
        Ok(())
    }
}
