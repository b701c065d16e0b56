//! Execution of one step. Every step may run twice, and may be dropped at any await.

use crate::{
    Error,
    operations::{
        Operations,
        outcome::Outcome,
        plan::Action,
        step_context::StepContext,
        step_deadline::{Backoff, StepDeadline},
        step_error::{StepError, unless_cancelled},
    },
    runtime::crash_loop::crash_loop_text,
};
use chainpool_agent::{
    ClusterId, ClusterSpec, ImageRef, ImageRequest, Incarnation, NodeName, NodeSpec, Observation, Power,
    Scope,
};
use chainpool_api::{Event, HealthState, Noun, OperationKind, OperationState, Timestamp};
use chainpool_networks::{History, InitError};
use chainpool_store::{OperationRow, SequencedEvent};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::sync::{Semaphore, SemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;

/// Acquires a permit of the host, unless the step is cancelled.
async fn permit<'s>(
    permits: &'s Semaphore,
    cancel: &CancellationToken,
) -> Result<SemaphorePermit<'s>, StepError> {
    Ok(unless_cancelled(cancel, permits.acquire())
        .await?
        .map_err(Error::internal)?)
}

impl Operations {
    /// Resolves the first available image.
    async fn image_of(&self, context: &StepContext, images: &[String]) -> Result<ImageRef, StepError> {
        let network = self.runtime.registry.get(&context.cluster.network_type);
        let request = ImageRequest {
            candidates: images.to_vec(),
            advice: network.ok().and_then(|network| network.image_advice(images)),
        };
        let found = context.host.agent.ensure_image(&request).await;
        found.map_err(|error| match error {
            chainpool_agent::Error::Dependency(reason) => StepError::NoRegistry(reason),
            error => error.into(),
        })
    }

    /// Determines what must be recorded before a step runs: a restart records the incarnation that it ends.
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
            let context = self.context(operation).await?;
            match context.host.agent.incarnation(&context.key, node).await {
                Ok(incarnation) => {
                    return Ok(Some(serde_json::to_value(incarnation).map_err(Error::internal)?));
                }
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
        deadline: &StepDeadline,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        match action {
            Action::Drop { cluster, through } => self.step_drop(operation, *cluster, *through, cancel).await,
            Action::Image => self.step_image(operation).await,
            Action::Network => {
                let context = self.context(operation).await?;
                let spec = self.spec_of(&context).await?;
                let _permit = permit(&context.host.networks, cancel).await?;
                Ok(context
                    .host
                    .agent
                    .ensure_network(&context.key, &spec.network)
                    .await?)
            }
            Action::Node { node, on } => {
                let power = if *on {
                    Power::On { after: None }
                } else {
                    Power::Off
                };
                self.step_node(operation, node, &power, cancel).await
            }
            Action::Restart { node } => {
                let incarnation: Option<Incarnation> = memo
                    .map(|m| serde_json::from_value(m.clone()))
                    .transpose()
                    .map_err(Error::internal)?
                    .flatten();
                if incarnation.is_none() {
                    // The node does not run, so this is a start.
                    self.check_ledger_volumes(operation, &self.context(operation).await?)
                        .await?;
                }
                self.step_node(operation, node, &Power::On { after: incarnation }, cancel)
                    .await
            }
            Action::Volumes => {
                self.check_ledger_volumes(operation, &self.context(operation).await?)
                    .await
            }
            Action::Job { job } => self.step_job(operation, job, cancel).await,
            Action::Answer { nodes } => self.step_answer(operation, nodes, deadline, cancel).await,
            Action::Init { action } => self.step_init(operation, action, deadline, cancel).await,
            Action::Settle => self.step_settle(operation, deadline, cancel).await,
            Action::Prove => self.step_prove(operation, deadline, cancel).await,
            Action::Children => self.step_children(operation).await,
            Action::Sweep => self.step_sweep(operation).await,
        }
    }

    async fn step_drop(
        &self,
        operation: &OperationRow,
        cluster: Option<uuid::Uuid>,
        through: u32,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let host = self.host_agent(operation).await?;
        let id = cluster
            .or(operation.cluster_id)
            .ok_or_else(|| Error::internal("a drop has no cluster"))?;
        let _permit = permit(&host.permits, cancel).await?;
        Ok(host.agent.drop_cluster(ClusterId(id), through).await?)
    }

    /// Resolves images for nodes and jobs without one: a node never changes its image while its spec is
    /// unchanged.
    async fn step_image(&self, operation: &OperationRow) -> Result<(), StepError> {
        let context = self.context(operation).await?;
        let spec = self.spec_of(&context).await?;
        let mut images = self
            .store()
            .read()
            .images(context.cluster.id, context.key.generation)
            .await?
            .unwrap_or_default();
        let mut found = BTreeMap::new();
        let missing: Vec<_> = spec
            .processes()
            .filter(|node| !images.contains_key(node.name.as_str()))
            .collect();
        for node in missing {
            if !found.contains_key(&node.images) {
                found.insert(node.images.clone(), self.image_of(&context, &node.images).await?);
            }
            images.insert(node.name.to_string(), found[&node.images].clone());
        }
        let mut tx = self.store().begin_background().await?;
        tx.revision_images(context.cluster.id, context.key.generation, images)
            .await?;
        tx.commit("images pinned").await?;
        Ok(())
    }

    pub(crate) async fn step_node(
        &self,
        operation: &OperationRow,
        name: &NodeName,
        power: &Power,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let context = self.context(operation).await?;
        let (node, image) = self.process_of(&context, name, ClusterSpec::node).await?;
        let _permit = permit(&context.host.permits, cancel).await?;
        let image = match image {
            Some(image) => image,
            // Never created, because its image is missing: there is nothing to stop.
            None if matches!(power, Power::Off) => return Ok(()),
            None => self.image_of(&context, &node.images).await?,
        };
        Ok(context
            .host
            .agent
            .ensure_node(&context.key, &node, &image, power)
            .await?)
    }

    /// Runs a job to completion. A job that outlasts the agent's timeout is retried like any transient
    /// failure.
    async fn step_job(
        &self,
        operation: &OperationRow,
        name: &NodeName,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let context = self.context(operation).await?;
        let (job, image) = self.process_of(&context, name, ClusterSpec::job).await?;
        let _permit = permit(&context.host.permits, cancel).await?;
        let image = match image {
            Some(image) => image,
            None => self.image_of(&context, &job.images).await?,
        };
        Ok(context.host.agent.ensure_job(&context.key, &job, &image).await?)
    }

    /// The spec of a node or job with its secrets, and its pinned image, if any.
    async fn process_of(
        &self,
        context: &StepContext,
        name: &NodeName,
        find: for<'a> fn(&'a ClusterSpec, &NodeName) -> Option<&'a NodeSpec>,
    ) -> Result<(NodeSpec, Option<ImageRef>), StepError> {
        let (cluster, generation) = (&context.cluster, context.key.generation);
        let read = self.store().read();
        let opened = read
            .revision_opened(self.store().master(), cluster.id, generation)
            .await?;
        let missing = || Error::internal(format!("the spec of cluster {} has no {name}", cluster.name));
        let (spec, mut images) = opened.ok_or_else(missing)?;
        let process = find(&spec, name).ok_or_else(missing)?.clone();
        Ok((process, images.remove(name.as_str())))
    }

    async fn step_answer(
        &self,
        operation: &OperationRow,
        wanted: &[NodeName],
        deadline: &StepDeadline,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let context = self.context(operation).await?;
        let (network, nodes) = self.nodes_of(&context).await?;
        let mut backoff = Backoff::new(deadline);
        loop {
            let observed = backoff
                .unless_transient(
                    context
                        .host
                        .agent
                        .observe(Scope::Cluster(context.key.cluster))
                        .await,
                )
                .await?;
            let Some(observed) = observed else { continue };
            let evidence = network.probe(&nodes, &observed).await;
            let answers =
                |name: &NodeName| evidence.nodes.get(name.as_str()).is_some_and(|node| node.answers);
            let unresponsive: Vec<&str> = wanted
                .iter()
                .filter(|name| !answers(name))
                .map(NodeName::as_str)
                .collect();
            if unresponsive.is_empty() {
                return Ok(());
            }
            self.unless_in_crash_loop(operation, &context, wanted).await?;
            let overdue = self.observe(&context, &*network, &evidence);
            self.restart_stalled(operation, &context, overdue, cancel).await?;
            backoff
                .wait(format!("no response yet from {}", unresponsive.join(", ")))
                .await?;
        }
    }

    /// Fails a start or restart if a node has exited repeatedly since it began: the node cannot continue with
    /// its ledger, and its last log lines show why. Nodes of a new ledger may exit while waiting for each
    /// other.
    async fn unless_in_crash_loop(
        &self,
        operation: &OperationRow,
        context: &StepContext,
        wanted: &[NodeName],
    ) -> Result<(), StepError> {
        if !matches!(
            operation.kind.0,
            OperationKind::ClusterStart | OperationKind::ClusterRestart
        ) {
            return Ok(());
        }
        let started_at = operation.started_at.unwrap_or(operation.created_at).0;
        let policy = &self.runtime.policy.crash_loop;
        let cache = &self.runtime.cache;
        let node = cache.read(context.cluster.id, context.key.generation, |runtime| {
            let (node, exits) = runtime.health.exits().crash_loop(started_at, policy)?;
            let node = wanted.iter().find(|wanted| wanted.as_str() == node)?;
            Some((node, exits))
        });
        let node = node.flatten();
        match node {
            None => Ok(()),
            Some(found) => Err(StepError::DeadlineExceeded(
                crash_loop_text(&context.host, &context.key, found, policy).await,
            )),
        }
    }

    async fn step_init(
        &self,
        operation: &OperationRow,
        action: &str,
        deadline: &StepDeadline,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let context = self.context(operation).await?;
        let (network, nodes) = self.nodes_of(&context).await?;
        self.retry_until_deadline(
            operation,
            &context,
            (&*network, &nodes),
            (deadline, cancel),
            || network.init(&nodes, action),
        )
        .await
    }

    async fn step_settle(
        &self,
        operation: &OperationRow,
        deadline: &StepDeadline,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let context = self.context(operation).await?;
        let (network, nodes) = self.nodes_of(&context).await?;
        let mut backoff = Backoff::new(deadline);
        let history = History {
            started_at: Some(Timestamp::now()),
            ..History::default()
        };
        let mut observed: Option<Observation> = None;
        for poll in 0u32.. {
            if poll.is_multiple_of(10) || observed.is_none() {
                let listed = context
                    .host
                    .agent
                    .observe(Scope::Cluster(context.key.cluster))
                    .await;
                observed = backoff.unless_transient(listed).await?;
                if let Some(observed) = &observed {
                    let observed = observed.clone();
                    self.runtime
                        .cache
                        .update(context.cluster.id, context.key.generation, |runtime| {
                            runtime.observe(observed);
                        });
                }
            }
            let Some(listed) = &observed else { continue };
            let evidence = network.probe(&nodes, listed).await;
            let verdict = network.verdict(
                &context.cluster.parameters.0,
                &evidence,
                &history,
                &self.runtime.policy,
                Timestamp::now(),
            );
            let overdue = self.observe(&context, &*network, &evidence);
            // A ledger without a sign of progress is not ready yet.
            if verdict.state == HealthState::Healthy && network.progress(&evidence).is_some() {
                break;
            }
            self.restart_stalled(operation, &context, overdue, cancel).await?;
            backoff.wait(verdict.reason).await?;
        }
        Ok(())
    }

    async fn step_prove(
        &self,
        operation: &OperationRow,
        deadline: &StepDeadline,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let context = self.context(operation).await?;
        let (network, nodes) = self.nodes_of(&context).await?;
        let prove = || async {
            network
                .prove(&nodes)
                .await
                .map_err(|e| InitError::new(e.to_string()))
        };
        let proof = self
            .retry_until_deadline(
                operation,
                &context,
                (&*network, &nodes),
                (deadline, cancel),
                prove,
            )
            .await?;
        let mut tx = self.store().begin_background().await?;
        if let Some(mut row) = tx.operation(operation.id).await? {
            let outcome = Outcome {
                proof: Some(proof),
                ..Outcome::of(&row).map_err(Error::internal)?
            };
            row.result = Some(outcome.stored());
            tx.operation_save(row).await?;
        }
        tx.commit("proof recorded").await?;
        Ok(())
    }

    async fn step_children(&self, operation: &OperationRow) -> Result<(), StepError> {
        while Box::pin(self.accept_children(operation)).await? {}
        loop {
            // Subscribed before the read: changes since then are events, all earlier ones are in the read.
            let mut events = self.store().events();
            if !self.store().read().has_live_children(operation.id).await? {
                return Ok(());
            }
            // A lost event costs only the pause.
            tokio::select! {
                () = operation_changed(&mut events, operation.id) => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    async fn step_sweep(&self, operation: &OperationRow) -> Result<(), StepError> {
        let host = self.host_agent(operation).await?;
        let children = self.store().read().operation_children(operation.id).await?;
        if let Some(failed) = children.iter().find(|c| c.state.0 == OperationState::Failed) {
            return Err(StepError::DeadlineExceeded(
                failed
                    .error
                    .clone()
                    .unwrap_or_else(|| "a delete failed".to_owned()),
            ));
        }
        let observed = host.agent.observe(Scope::Host).await?;
        let clusters: BTreeSet<ClusterId> = observed.objects.iter().map(|o| o.cluster).collect();
        for cluster in clusters {
            host.agent.drop_cluster(cluster, u32::MAX).await?;
        }
        Ok(())
    }
}

/// Waits for a change of an operation, or of a child of it: other changes are frequent while clusters are leased.
async fn operation_changed(events: &mut broadcast::Receiver<SequencedEvent>, operation: uuid::Uuid) {
    let (noun, id) = (Noun::Operation, operation);
    let changed = Event { noun, id };
    // After an error some events were missed.
    while events.recv().await.is_ok_and(|next| next.event != changed) {}
}
