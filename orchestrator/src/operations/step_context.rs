//! The host, the cluster and the spec that a step works on.

use crate::{
    Error,
    operations::{Operations, step_error::StepError},
    runtime::agents::HostAgent,
};
use chainpool_agent::{ClusterId, ClusterKey, ClusterSpec};
use chainpool_api::HostState;
use chainpool_networks::{NetworkType, Nodes};
use chainpool_store::{ClusterRow, OperationRow};
use std::sync::Arc;

/// The context of most steps.
pub(crate) struct StepContext {
    pub(crate) host: HostAgent,
    pub(crate) cluster: ClusterRow,
    pub(crate) key: ClusterKey,
}

impl Operations {
    pub(super) async fn host_agent(&self, operation: &OperationRow) -> Result<HostAgent, StepError> {
        let host = self
            .store()
            .read()
            .host(operation.host_id)
            .await?
            .ok_or(StepError::Superseded)?;
        if host.state.0 == HostState::Paused {
            // Change nothing on a paused host: it may be another engine. The operation waits.
            return Err(chainpool_agent::Error::Unreachable(format!(
                "host {} is paused: {}",
                host.name, host.reason
            ))
            .into());
        }
        Ok(self.runtime.agents.of(&host)?)
    }

    pub(super) async fn context(&self, operation: &OperationRow) -> Result<StepContext, StepError> {
        let host = self.host_agent(operation).await?;
        let id = operation
            .cluster_id
            .ok_or_else(|| Error::internal("a cluster operation has no cluster"))?;
        let cluster = self
            .store()
            .read()
            .cluster(id)
            .await?
            .ok_or(StepError::Superseded)?;
        let generation = operation.generation;
        Ok(StepContext {
            host,
            cluster,
            key: ClusterKey {
                cluster: ClusterId(id),
                generation,
            },
        })
    }

    pub(crate) async fn spec_of(&self, context: &StepContext) -> Result<Arc<ClusterSpec>, StepError> {
        let spec = self
            .runtime
            .spec(context.cluster.id, context.key.generation)
            .await?;
        spec.ok_or_else(|| {
            Error::internal(format!(
                "cluster {} has no spec for generation {}",
                context.cluster.name, context.key.generation
            ))
            .into()
        })
    }

    pub(super) async fn nodes_of(
        &self,
        context: &StepContext,
    ) -> Result<(Arc<dyn NetworkType>, Nodes), StepError> {
        let spec = self.spec_of(context).await?;
        let network = self
            .runtime
            .registry
            .get(&context.cluster.network_type)
            .map_err(Error::internal)?;
        Ok((
            network,
            Nodes {
                agent: Arc::clone(&context.host.agent),
                key: context.key,
                spec,
                policy: Arc::clone(&self.runtime.policy),
            },
        ))
    }
}
