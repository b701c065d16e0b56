//! Restart of unresponsive or stalled nodes by a running operation. The watchdog leaves the cluster to the
//! operation.

use crate::{
    Orchestrator,
    operations::{
        step_context::StepContext,
        step_deadline::{Backoff, StepDeadline},
        step_error::StepError,
        volumes::creates_ledger,
    },
};
use chainpool_agent::{NodeName, Power, Scope};
use chainpool_health::Repair;
use chainpool_networks::{InitError, NetworkType, Nodes, StallTracker};
use chainpool_store::OperationRow;
use std::{future::Future, time::Instant};
use tokio_util::sync::CancellationToken;

/// Polls until nodes have been stalled or unresponsive for too long.
async fn wait_for_stall(
    context: &StepContext,
    network: &dyn NetworkType,
    nodes: &Nodes,
    stalls: &mut StallTracker,
    policy: &Repair,
) -> InitError {
    loop {
        tokio::time::sleep(policy.stall_check_interval).await;
        // An unresponsive platform is polled again.
        let Ok(observed) = context
            .host
            .agent
            .observe(Scope::Cluster(context.key.cluster))
            .await
        else {
            continue;
        };
        let restart = stalls.overdue(&network.probe(nodes, &observed).await, Instant::now());
        if !restart.is_empty() {
            let names: Vec<&str> = restart.iter().map(NodeName::as_str).collect();
            return InitError {
                why: format!("restarted stalled nodes: {}", names.join(", ")),
                restart,
            };
        }
    }
}

impl Orchestrator {
    /// Tracks the nodes that an operation must restart, based on the last observed state of its cluster.
    pub(crate) fn stall_tracker(&self, context: &StepContext) -> StallTracker {
        StallTracker::new(
            &self.inner.policy.repair,
            self.inner
                .runtime_cache
                .cluster(context.cluster.id, context.key.generation)
                .answered,
        )
    }

    /// Retries until success or the deadline. If the platform is unresponsive at the deadline, that is the
    /// reported reason.
    pub(crate) async fn retry_until_deadline<T, F>(
        &self,
        operation: &OperationRow,
        context: &StepContext,
        on: (&dyn NetworkType, &Nodes),
        limits: (&StepDeadline, &CancellationToken),
        attempt: impl Fn() -> F,
    ) -> Result<T, StepError>
    where
        F: Future<Output = Result<T, InitError>>,
    {
        match self
            .retry_repairing(operation, context, on, limits, attempt)
            .await
        {
            Err(StepError::DeadlineExceeded(why)) => match context
                .host
                .agent
                .observe(Scope::Cluster(context.key.cluster))
                .await
            {
                Err(error) if error.is_transient() => Err(error.into()),
                _ => Err(StepError::DeadlineExceeded(why)),
            },
            done => done,
        }
    }

    /// Retries until success. An attempt waits for nodes itself and is cancelled when nodes stall, so it must
    /// be repeatable.
    async fn retry_repairing<T, F>(
        &self,
        operation: &OperationRow,
        context: &StepContext,
        (network, nodes): (&dyn NetworkType, &Nodes),
        (deadline, cancel): (&StepDeadline, &CancellationToken),
        attempt: impl Fn() -> F,
    ) -> Result<T, StepError>
    where
        F: Future<Output = Result<T, InitError>>,
    {
        let mut backoff = Backoff::new(deadline);
        let mut stalls = self.stall_tracker(context);
        loop {
            let attempts = async {
                loop {
                    match attempt().await {
                        Ok(done) => break Ok::<_, StepError>(Ok(done)),
                        Err(error) if error.restart.is_empty() => backoff.wait(error.why).await?,
                        Err(error) => break Ok(Err(error)),
                    }
                }
            };
            let outcome = tokio::select! {
                outcome = attempts => outcome?,
                error = wait_for_stall(context, network, nodes, &mut stalls, &self.inner.policy.repair) => Err(error),
            };
            match outcome {
                Ok(done) => return Ok(done),
                Err(InitError { why, restart }) => {
                    self.restart_stalled(operation, context, restart, cancel).await?;
                    backoff.wait(why).await?;
                }
            }
        }
    }

    /// Restarts nodes, except those stopped on request. A node that cannot be started now is retried when it
    /// has stalled for the full time again.
    pub(crate) async fn restart_stalled(
        &self,
        operation: &OperationRow,
        context: &StepContext,
        nodes: Vec<NodeName>,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let stopped = &context.cluster.stopped_nodes.0;
        for node in nodes.into_iter().filter(|node| !stopped.contains(node.as_str())) {
            tracing::warn!(cluster = context.cluster.name, %node, "restarting a stalled node");
            let started = async {
                let incarnation = context.host.agent.incarnation(&context.key, &node).await?;
                if incarnation.is_none() && !creates_ledger(operation.kind.0) {
                    self.check_ledger_volumes(operation, context).await?;
                }
                self.step_node(operation, &node, &Power::On { after: incarnation }, cancel)
                    .await
            };
            match started.await {
                Err(StepError::Agent(error)) => {
                    tracing::warn!(%node, %error, "a stalled node could not be restarted");
                }
                done => done?,
            }
        }
        Ok(())
    }
}
