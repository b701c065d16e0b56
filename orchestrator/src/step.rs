//! Performing one step. Each may run twice, and may be dropped at any await.

use crate::{
    Error, Orchestrator, Result,
    agents::HostAgent,
    evidence::{crash_loop_since, crash_loop_text},
    plan::Action,
    wait::{Patience, Wait},
};
use chainpool_agent::{
    ClusterId, ClusterKey, ClusterSpec, ImageRef, Incarnation, NodeName, Observation, Power, Scope,
};
use chainpool_api::{HealthState, HostState, OperationKind, OperationState, Timestamp};
use chainpool_networks::{InitError, NetworkType, Nodes, Past, Stuck};
use chainpool_store::{ClusterRow, OperationRow};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Why a step did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// Another operation took its place: it ends without a word.
    #[error("superseded")]
    Superseded,
    /// Another step of its phase failed for good, whose error is the operation's; or its operation was superseded.
    #[error("another step has failed")]
    Over,
    /// The platform said no.
    #[error(transparent)]
    Agent(#[from] chainpool_agent::Error),
    /// No registry that has an image can be asked now. That is told at once: it may take somebody who makes the image.
    #[error("{0}")]
    NoRegistry(String),
    /// What the nodes kept is gone, and they are not started without.
    #[error("{0}")]
    LedgerLost(String),
    /// The ledger did not get there in time.
    #[error("{0}")]
    Late(String),
    /// The store or our own code failed.
    #[error(transparent)]
    Ours(#[from] Error),
}

impl From<chainpool_store::Error> for StepError {
    fn from(error: chainpool_store::Error) -> Self {
        Self::Ours(error.into())
    }
}

impl StepError {
    /// Whether the server's own disk is full, so that nothing could be written down.
    pub(crate) fn is_storage_full(&self) -> bool {
        matches!(self, Self::Ours(Error::StorageFull(_)))
    }

    /// Whether the executor tries again.
    pub(crate) fn may_pass(&self, kind: OperationKind) -> bool {
        match self {
            Self::Superseded | Self::Over | Self::NoRegistry(_) | Self::LedgerLost(_) | Self::Late(_) => {
                false
            }
            Self::Agent(error) => error.is_transient() || kind == OperationKind::ClusterDelete,
            Self::Ours(error) => matches!(error, Error::Internal(_) | Error::StorageFull(_)),
        }
    }
}

/// Waits for work, but not once another step of the phase has failed or the operation was superseded.
pub(crate) async fn unless_over<T>(
    over: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, StepError> {
    over.run_until_cancelled(work).await.ok_or(StepError::Over)
}

/// A host's leave to work, unless it is not worth having any more.
async fn permit<'s>(
    permits: &'s Semaphore,
    over: &CancellationToken,
) -> Result<SemaphorePermit<'s>, StepError> {
    Ok(unless_over(over, permits.acquire())
        .await?
        .map_err(Error::internal)?)
}

/// Finds the first of these images that can be had.
async fn image_of(ground: &Ground, images: &[String]) -> Result<ImageRef, StepError> {
    ground
        .host
        .agent
        .ensure_image(images)
        .await
        .map_err(|error| match error {
            chainpool_agent::Error::Dependency(words) => StepError::NoRegistry(words),
            error => error.into(),
        })
}

/// What most steps need.
pub(crate) struct Ground {
    pub(crate) host: HostAgent,
    pub(crate) cluster: ClusterRow,
    pub(crate) key: ClusterKey,
}

impl Orchestrator {
    /// A generation's spec with its keys, without the nodes' secret contents.
    pub(crate) async fn spec(
        &self,
        cluster: uuid::Uuid,
        generation: u32,
    ) -> Result<Option<Arc<ClusterSpec>>> {
        if let Some(spec) = self.inner.live.spec(cluster, generation) {
            return Ok(Some(spec));
        }
        let epoch = self.inner.live.spec_epoch();
        let read = self.store().read();
        let Some(stored) = read.revision(cluster, generation).await? else {
            return Ok(None);
        };
        let mut spec = stored.public;
        if !spec.keys.is_empty() {
            let Some((opened, _)) = read
                .revision_opened(self.store().master(), cluster, generation)
                .await?
            else {
                return Ok(None);
            };
            spec.keys = opened.keys;
        }
        let spec = Arc::new(spec);
        self.inner
            .live
            .spec_put(cluster, generation, Arc::clone(&spec), epoch);
        Ok(Some(spec))
    }

    /// What must be written down before a step runs: a restart names the life that it ends.
    pub(crate) async fn step_memo(
        &self,
        operation: &OperationRow,
        action: &Action,
    ) -> Result<Option<serde_json::Value>, StepError> {
        let Action::Restart { node } = action else {
            return Ok(None);
        };
        let mut pause = Duration::from_millis(200);
        loop {
            let ground = self.ground(operation).await?;
            match ground.host.agent.incarnation(&ground.key, node).await {
                Ok(life) => return Ok(Some(serde_json::to_value(life).map_err(Error::internal)?)),
                Err(error)
                    if error.is_transient()
                        && operation.deadline_at.is_none_or(|at| Timestamp::now() < at.0) =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Performs an action once.
    pub(crate) async fn step_perform(
        &self,
        operation: &OperationRow,
        action: &Action,
        memo: Option<&serde_json::Value>,
        wait: &Wait,
        over: &CancellationToken,
    ) -> Result<(), StepError> {
        match action {
            Action::Drop { cluster, through } => self.step_drop(operation, *cluster, *through, over).await,
            Action::Image => self.step_image(operation).await,
            Action::Network => {
                let ground = self.ground(operation).await?;
                let spec = self.spec_of(&ground).await?;
                let _permit = permit(&ground.host.networks, over).await?;
                Ok(ground
                    .host
                    .agent
                    .ensure_network(&ground.key, &spec.network)
                    .await?)
            }
            Action::Node { node, on } => {
                let power = if *on {
                    Power::On { after: None }
                } else {
                    Power::Off
                };
                self.step_node(operation, node, &power, over).await
            }
            Action::Restart { node } => {
                let life: Option<Incarnation> = memo
                    .map(|m| serde_json::from_value(m.clone()))
                    .transpose()
                    .map_err(Error::internal)?
                    .flatten();
                if life.is_none() {
                    // Nothing of it runs: it is a start.
                    self.ledger_there(operation, &self.ground(operation).await?)
                        .await?;
                }
                self.step_node(operation, node, &Power::On { after: life }, over)
                    .await
            }
            Action::Volumes => self.ledger_there(operation, &self.ground(operation).await?).await,
            Action::Job { job } => self.step_job(operation, job, over).await,
            Action::Answer { nodes } => self.step_answer(operation, nodes, wait, over).await,
            Action::Init { action } => self.step_init(operation, action, wait, over).await,
            Action::Settle => self.step_settle(operation, wait, over).await,
            Action::Prove => self.step_prove(operation, wait, over).await,
            Action::Children => self.step_children(operation).await,
            Action::Sweep => self.step_sweep(operation).await,
        }
    }

    async fn host_agent(&self, operation: &OperationRow) -> Result<HostAgent, StepError> {
        let host = self
            .store()
            .read()
            .host(operation.host_id)
            .await?
            .ok_or(StepError::Superseded)?;
        if host.state.0 == HostState::Paused {
            // Nothing is done on a paused host: it may be another engine. The operation waits.
            return Err(chainpool_agent::Error::Unreachable(format!(
                "host {} is paused: {}",
                host.name, host.reason
            ))
            .into());
        }
        Ok(self.inner.agents.of(&host)?)
    }

    async fn ground(&self, operation: &OperationRow) -> Result<Ground, StepError> {
        let host = self.host_agent(operation).await?;
        let id = operation
            .cluster_id
            .ok_or_else(|| Error::internal("an operation on a cluster names none"))?;
        let cluster = self
            .store()
            .read()
            .cluster(id)
            .await?
            .ok_or(StepError::Superseded)?;
        let generation = u32::try_from(operation.generation).map_err(Error::internal)?;
        Ok(Ground {
            host,
            cluster,
            key: ClusterKey {
                cluster: ClusterId(id),
                generation,
            },
        })
    }

    pub(crate) async fn spec_of(&self, ground: &Ground) -> Result<Arc<ClusterSpec>, StepError> {
        let spec = self.spec(ground.cluster.id, ground.key.generation).await?;
        spec.ok_or_else(|| {
            Error::internal(format!(
                "cluster {} has no spec of generation {}",
                ground.cluster.name, ground.key.generation
            ))
            .into()
        })
    }

    async fn nodes_of(&self, ground: &Ground) -> Result<(Arc<dyn NetworkType>, Nodes), StepError> {
        let spec = self.spec_of(ground).await?;
        let network = self
            .inner
            .registry
            .get(&ground.cluster.network_type)
            .map_err(Error::internal)?;
        Ok((
            network,
            Nodes {
                agent: Arc::clone(&ground.host.agent),
                key: ground.key,
                spec,
            },
        ))
    }

    async fn step_drop(
        &self,
        operation: &OperationRow,
        cluster: Option<uuid::Uuid>,
        through: u32,
        over: &CancellationToken,
    ) -> Result<(), StepError> {
        let host = self.host_agent(operation).await?;
        let id = cluster
            .or(operation.cluster_id)
            .ok_or_else(|| Error::internal("a drop names no cluster"))?;
        let _permit = permit(&host.permits, over).await?;
        Ok(host.agent.drop_cluster(ClusterId(id), through).await?)
    }

    /// Finds images for the nodes and jobs that have none: a node never changes its image while its spec stays.
    async fn step_image(&self, operation: &OperationRow) -> Result<(), StepError> {
        let ground = self.ground(operation).await?;
        let spec = self.spec_of(&ground).await?;
        let mut images = self
            .store()
            .read()
            .revision(ground.cluster.id, ground.key.generation)
            .await?
            .map(|r| r.images)
            .unwrap_or_default();
        let mut found = BTreeMap::new();
        let missing: Vec<_> = spec
            .processes()
            .filter(|node| !images.contains_key(node.name.as_str()))
            .collect();
        for node in missing {
            if !found.contains_key(&node.images) {
                found.insert(node.images.clone(), image_of(&ground, &node.images).await?);
            }
            images.insert(node.name.to_string(), found[&node.images].clone());
        }
        let mut tx = self.store().begin().await?;
        tx.revision_images(ground.cluster.id, ground.key.generation, images)
            .await?;
        tx.commit("images pinned").await?;
        Ok(())
    }

    pub(crate) async fn step_node(
        &self,
        operation: &OperationRow,
        name: &NodeName,
        power: &Power,
        over: &CancellationToken,
    ) -> Result<(), StepError> {
        let ground = self.ground(operation).await?;
        let opened = self
            .store()
            .read()
            .revision_opened(self.store().master(), ground.cluster.id, ground.key.generation)
            .await?;
        let missing = || {
            Error::internal(format!(
                "the spec of cluster {} has no node {name}",
                ground.cluster.name
            ))
        };
        let (spec, images) = opened.ok_or_else(missing)?;
        let node = spec.node(name).ok_or_else(missing)?;
        let _permit = permit(&ground.host.permits, over).await?;
        let image = match images.get(name.as_str()) {
            Some(image) => image.clone(),
            // Never made, because its image is nowhere: there is nothing to stop.
            None if matches!(power, Power::Off) => return Ok(()),
            None => image_of(&ground, &node.images).await?,
        };
        Ok(ground
            .host
            .agent
            .ensure_node(&ground.key, node, &image, power)
            .await?)
    }

    /// Runs a job to its end. One that takes longer than its agent waits is asked for again, like all that may pass.
    async fn step_job(
        &self,
        operation: &OperationRow,
        name: &NodeName,
        over: &CancellationToken,
    ) -> Result<(), StepError> {
        let ground = self.ground(operation).await?;
        let opened = self
            .store()
            .read()
            .revision_opened(self.store().master(), ground.cluster.id, ground.key.generation)
            .await?;
        let missing = || {
            Error::internal(format!(
                "the spec of cluster {} has no job {name}",
                ground.cluster.name
            ))
        };
        let (spec, images) = opened.ok_or_else(missing)?;
        let job = spec.job(name).ok_or_else(missing)?;
        let _permit = permit(&ground.host.permits, over).await?;
        let image = match images.get(name.as_str()) {
            Some(image) => image.clone(),
            None => image_of(&ground, &job.images).await?,
        };
        Ok(ground.host.agent.ensure_job(&ground.key, job, &image).await?)
    }

    async fn step_answer(
        &self,
        operation: &OperationRow,
        wanted: &[NodeName],
        wait: &Wait,
        over: &CancellationToken,
    ) -> Result<(), StepError> {
        let ground = self.ground(operation).await?;
        let (network, nodes) = self.nodes_of(&ground).await?;
        let mut patience = Patience::new(wait);
        let mut stuck = Stuck::default();
        loop {
            let observed = patience
                .unless_transient(
                    ground
                        .host
                        .agent
                        .observe(Scope::Cluster(ground.key.cluster))
                        .await,
                )
                .await?;
            let Some(observed) = observed else { continue };
            let evidence = network.probe(&nodes, &observed).await;
            let answers =
                |name: &NodeName| evidence.nodes.get(name.as_str()).is_some_and(|node| node.answers);
            let silent: Vec<&str> = wanted
                .iter()
                .filter(|name| !answers(name))
                .map(NodeName::as_str)
                .collect();
            if silent.is_empty() {
                return Ok(());
            }
            self.unless_in_crash_loop(operation, &ground, wanted).await?;
            self.start_anew(operation, &ground, stuck.overdue(&evidence, Instant::now()), over)
                .await?;
            patience
                .wait(format!("no answer yet from {}", silent.join(", ")))
                .await?;
        }
    }

    /// Ends a start or a restart of nodes one of which has ended again and again since then: it has a ledger that it cannot go on with, and
    /// its last lines tell why. Nodes of a new ledger may wait for each other so.
    async fn unless_in_crash_loop(
        &self,
        operation: &OperationRow,
        ground: &Ground,
        wanted: &[NodeName],
    ) -> Result<(), StepError> {
        if !matches!(
            operation.kind.0,
            OperationKind::ClusterStart | OperationKind::ClusterRestart
        ) {
            return Ok(());
        }
        let began = operation.started_at.unwrap_or(operation.created_at).0;
        let seen = self.inner.live.seen(ground.cluster.id, ground.key.generation);
        match crash_loop_since(&seen, began).filter(|(node, _)| wanted.contains(node)) {
            None => Ok(()),
            Some((node, exits)) => Err(StepError::Late(
                crash_loop_text(&ground.host, &ground.key, &node, exits).await,
            )),
        }
    }

    async fn step_init(
        &self,
        operation: &OperationRow,
        action: &str,
        wait: &Wait,
        over: &CancellationToken,
    ) -> Result<(), StepError> {
        let ground = self.ground(operation).await?;
        let (network, nodes) = self.nodes_of(&ground).await?;
        self.until_done(operation, &ground, (&*network, &nodes), (wait, over), || {
            network.init(&nodes, action)
        })
        .await
    }

    async fn step_settle(
        &self,
        operation: &OperationRow,
        wait: &Wait,
        over: &CancellationToken,
    ) -> Result<(), StepError> {
        let ground = self.ground(operation).await?;
        let (network, nodes) = self.nodes_of(&ground).await?;
        let mut patience = Patience::new(wait);
        let past = Past {
            started_at: Some(Timestamp::now()),
            ..Past::default()
        };
        let mut observed: Option<Observation> = None;
        let mut stuck = self.stuck(&ground);
        for look in 0u32.. {
            if look.is_multiple_of(10) || observed.is_none() {
                let listed = ground
                    .host
                    .agent
                    .observe(Scope::Cluster(ground.key.cluster))
                    .await;
                observed = patience.unless_transient(listed).await?;
            }
            let Some(listed) = &observed else { continue };
            let evidence = network.probe(&nodes, listed).await;
            let verdict = network.verdict(&ground.cluster.parameters.0, &evidence, &past, Timestamp::now());
            // A ledger without a block has shown nothing yet.
            let settled = verdict.state == HealthState::Healthy && evidence.height.is_some_and(|h| h > 0);
            self.note_evidence(
                &ground.cluster,
                ground.key.generation,
                Some(listed),
                &evidence,
                Timestamp::now(),
            );
            if settled {
                break;
            }
            self.start_anew(operation, &ground, stuck.overdue(&evidence, Instant::now()), over)
                .await?;
            patience.wait(verdict.reason).await?;
        }
        Ok(())
    }

    async fn step_prove(
        &self,
        operation: &OperationRow,
        wait: &Wait,
        over: &CancellationToken,
    ) -> Result<(), StepError> {
        let ground = self.ground(operation).await?;
        let (network, nodes) = self.nodes_of(&ground).await?;
        let prove = || async {
            network
                .prove(&nodes)
                .await
                .map_err(|e| InitError::new(e.to_string()))
        };
        let proof = self
            .until_done(operation, &ground, (&*network, &nodes), (wait, over), prove)
            .await?;
        let mut tx = self.store().begin().await?;
        if let Some(mut row) = tx.operation(operation.id).await? {
            let mut result = row
                .result
                .take()
                .map_or_else(|| serde_json::json!({}), |result| result.0);
            result["proof"] = serde_json::to_value(&proof).map_err(Error::internal)?;
            row.result = Some(chainpool_store::Json(result));
            tx.operation_save(row).await?;
        }
        tx.commit("proof noted").await?;
        Ok(())
    }

    async fn step_children(&self, operation: &OperationRow) -> Result<(), StepError> {
        let mut events = self.store().events();
        loop {
            let children = self.store().read().operation_children(operation.id).await?;
            if children.iter().all(|child| child.state.0.is_over()) {
                return Ok(());
            }
            // A lost event only costs the pause.
            tokio::select! {
                _ = events.recv() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    async fn step_sweep(&self, operation: &OperationRow) -> Result<(), StepError> {
        let host = self.host_agent(operation).await?;
        let children = self.store().read().operation_children(operation.id).await?;
        if let Some(failed) = children.iter().find(|c| c.state.0 == OperationState::Failed) {
            return Err(StepError::Late(
                failed
                    .error
                    .clone()
                    .unwrap_or_else(|| "a delete failed".to_owned()),
            ));
        }
        let observed = host.agent.observe(Scope::Host).await?;
        let clusters: std::collections::BTreeSet<ClusterId> =
            observed.objects.iter().map(|o| o.cluster).collect();
        for cluster in clusters {
            host.agent.drop_cluster(cluster, u32::MAX).await?;
        }
        Ok(())
    }
}
