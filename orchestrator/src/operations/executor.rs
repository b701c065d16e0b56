//! The executor: claims accepted operations, plans them, runs their steps and completes them.
//!
//! An operation is claimed by compare-and-swap on the epoch of this process, so after a restart every
//! unfinished operation is claimed again, once. A new generation is rendered before it is planned; a claimed
//! operation without a spec is rendered again. The plan is journaled before the first step runs. Each step
//! is journaled as started before it runs and as done afterwards. A started step may have happened: it runs
//! again, which is harmless because every agent call converges. There are no undo steps: a failed create
//! stays failed, and delete or reset undoes everything.
//!
//! Only the executor retries. Transient errors are retried with growing, jittered pauses until the
//! operation's deadline. Any other error ends the operation, except a delete, which is retried without limit.

use crate::{
    Error, Result,
    operations::{
        Operations,
        plan::{Action, Arguments, Planned, Subject, plan},
        step_deadline::StepDeadline,
        step_error::{StepError, unless_cancelled},
    },
};
use chainpool_api::{HostState, Noun, OperationKind, StepState, Timestamp};
use chainpool_health::Input;
use chainpool_store::{EnumColumn, Json, OperationRow, Priority, StepRow};
use futures::{StreamExt, stream::FuturesUnordered};
use rand::Rng;
use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

impl Operations {
    /// Starts the loop that claims accepted operations.
    pub(crate) fn executor_start(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.running.tasks.spawn(async move {
            loop {
                if let Err(error) = this.executor_claim().await {
                    tracing::error!(%error, cause = ?error, "accepted operations could not be claimed; retrying");
                }
                tokio::select! {
                    () = this.runtime.stop.cancelled() => return,
                    () = this.running.wake.notified() => {}
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        });
    }

    /// Waits until all tasks have ended.
    pub(crate) async fn executor_drained(&self) {
        self.running.tasks.close();
        self.running.tasks.wait().await;
    }

    async fn executor_claim(self: &Arc<Self>) -> Result<()> {
        let epoch = self.store().epoch();
        for id in self.store().read().operations_unclaimed(epoch).await? {
            if self.runtime.stop.is_cancelled() {
                return Ok(());
            }
            let mut tx = self.store().begin_background().await?;
            let Some(operation) = tx.operation_claim(id, Timestamp::now()).await? else {
                continue;
            };
            let token = self.running.begin(operation.id);
            tx.commit("operation claimed").await?;
            let this = Arc::clone(self);
            self.running
                .tasks
                .spawn(async move { this.operation_run(operation, token).await });
        }
        Ok(())
    }

    async fn operation_run(&self, operation: OperationRow, token: CancellationToken) {
        let id = operation.id;
        let lock = operation.cluster_id.map(|cluster| self.running.cluster(cluster));
        let work = async {
            let _one_at_a_time = match &lock {
                Some(lock) => Some(unless_cancelled(&token, lock.lock()).await?),
                None => None,
            };
            self.report_start(&operation);
            self.operation_relocating(&operation, &token).await
        };
        // When this process stops, the work is dropped at its next await; every agent call tolerates that.
        let outcome = self.runtime.stop.run_until_cancelled(work).await;
        if let Some(outcome) = outcome {
            self.operation_end(&operation, outcome).await;
        }
        self.running.end(id);
        self.running.wake();
    }

    /// Reports to the health machine of a cluster that an operation begins. A repair is reported with its nodes
    /// when it is accepted.
    fn report_start(&self, operation: &OperationRow) {
        let kind = operation.kind.0;
        if let Some(cluster) = operation
            .cluster_id
            .filter(|_| kind != OperationKind::ClusterRepair)
        {
            let started = Input::OperationStarted {
                kind,
                repairs: BTreeSet::new(),
                restarts: false,
            };
            self.runtime.cache.advance(cluster, operation.generation, started);
        }
    }

    /// Runs an operation, and relocates its cluster each time its address or port is in use.
    async fn operation_relocating(
        &self,
        operation: &OperationRow,
        token: &CancellationToken,
    ) -> Result<(), StepError> {
        let mut operation = operation.clone();
        loop {
            let outcome = self.operation_work(&operation, token).await;
            let Err(StepError::Agent(chainpool_agent::Error::Occupied { place, reason })) = &outcome else {
                return outcome;
            };
            match Box::pin(self.relocate(&operation, *place, reason)).await {
                Ok(Some(moved)) => operation = moved,
                Ok(None) => return outcome,
                // Retry until the relocation can be written; the steps report the conflict again.
                Err(Error::StorageFull(_)) => tokio::time::sleep(STORAGE_FULL_PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn operation_work(
        &self,
        operation: &OperationRow,
        token: &CancellationToken,
    ) -> Result<(), StepError> {
        let mut steps = self.store().read().steps(operation.id).await?;
        if steps.is_empty() {
            steps = loop {
                match unless_cancelled(token, Box::pin(self.operation_plan(operation))).await? {
                    Err(error) if error.is_storage_full() => tokio::time::sleep(STORAGE_FULL_PAUSE).await,
                    outcome => break outcome?,
                }
            };
        }
        let last = steps.iter().map(|s| s.phase).max().unwrap_or(0);
        for phase in 0..=last {
            let cancel = token.child_token();
            let mut work: FuturesUnordered<_> = steps
                .iter()
                .filter(|s| s.phase == phase && s.state.0 != StepState::Done)
                .map(|step| self.step_run(operation, step, &cancel))
                .collect();
            let mut outcome = Ok(());
            while let Some(done) = work.next().await {
                if done.is_err() && outcome.is_ok() {
                    outcome = done;
                    cancel.cancel();
                }
            }
            outcome?;
        }
        Ok(())
    }

    async fn operation_plan(&self, operation: &OperationRow) -> Result<Vec<StepRow>, StepError> {
        let generation = operation.generation;
        if let (OperationKind::ClusterCreate | OperationKind::ClusterReset, Some(cluster)) =
            (operation.kind.0, operation.cluster_id)
        {
            self.render_accepted(cluster, generation, Priority::Background)
                .await?;
        }
        let spec = match operation.cluster_id {
            Some(cluster) => self.runtime.spec(cluster, generation).await?,
            None => None,
        };
        let nodes = spec
            .iter()
            .flat_map(|spec| &spec.nodes)
            .map(|node| node.name.clone())
            .collect();
        let boot = spec.map(|spec| spec.boot.clone()).unwrap_or_default();
        let arguments = Arguments::read(&operation.arguments.0).map_err(Error::internal)?;
        let subject = Subject {
            kind: operation.kind.0,
            generation,
            nodes,
            boot,
            arguments,
        };
        let rows: Vec<StepRow> = (0i64..)
            .zip(plan(&subject))
            .map(|(seq, planned)| step_row(operation.id, seq, planned))
            .collect();
        let mut tx = self.store().begin_background().await?;
        if !tx.operation_is_owned(operation.id).await? {
            return Err(StepError::Superseded);
        }
        tx.steps_insert(rows.clone()).await?;
        tx.commit("operation planned").await?;
        Ok(rows)
    }

    /// Runs one step to completion. If another step of the phase fails or the operation is superseded, the
    /// step is not retried, and only pending changes on the platform are awaited: objects created later would
    /// be orphans.
    async fn step_run(
        &self,
        operation: &OperationRow,
        step: &StepRow,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let mut step = step.clone();
        let action: Action = serde_json::from_value(step.action.0.clone()).map_err(Error::internal)?;
        if step.state.0 != StepState::Started {
            step.memo = unless_cancelled(cancel, self.step_memo(operation, &action))
                .await??
                .map(Json);
            step.state = EnumColumn(StepState::Started);
            step.started_at = Some(Timestamp::now().into());
            self.step_save(operation, &step, "step started").await?;
        }
        let mut pause = Duration::from_millis(200);
        // A step that started late, because its host or this process was down, still gets its full time.
        let mut started = step
            .started_at
            .map_or_else(Timestamp::now, |at| at.0)
            .max(self.runtime.started_at);
        loop {
            let deadline = operation
                .deadline_at
                .map(|at| at.0.max(started.plus_seconds(MIN_STEP_SECONDS)));
            let (wait, memo) = (StepDeadline::until(deadline), step.memo.clone());
            let mut perform =
                pin!(self.step_perform(operation, &action, memo.as_ref().map(|m| &m.0), &wait, cancel));
            let progress = self.step_progress(operation, &mut step, wait.messages());
            let performed = tokio::select! {
                performed = cancel.run_until_cancelled(perform.as_mut()) => performed,
                failed = progress => return Err(failed),
            };
            let performed = match performed {
                Some(performed) => performed,
                None if action.changes_platform() => tokio::time::timeout(CANCEL_TIMEOUT, perform)
                    .await
                    .map_err(|_| StepError::Cancelled)?,
                None => return Err(StepError::Cancelled),
            };
            let waits_for_host = match &performed {
                Ok(()) => false,
                Err(error) => self.waits_for_host(operation, error).await?,
            };
            if waits_for_host {
                started = Timestamp::now();
            }
            self.note_blocker(operation, &performed);
            match performed {
                Ok(()) => break,
                Err(StepError::Cancelled) => return Err(StepError::Cancelled),
                Err(error)
                    if !cancel.is_cancelled()
                        && error.is_retryable(operation.kind.0)
                        && (waits_for_host || deadline.is_none_or(|at| Timestamp::now() < at)) =>
                {
                    let note = Some(error.to_string());
                    if step.note != note {
                        tracing::warn!(operation = %operation.id, step = %step.title, %error, "a step failed; retrying");
                        step.note = note;
                        self.step_save(operation, &step, "step note recorded").await?;
                    }
                    let jitter = rand::rng().random_range(0.5..1.5);
                    unless_cancelled(cancel, tokio::time::sleep(pause.mul_f64(jitter))).await?;
                    pause = (pause * 2).min(Duration::from_secs(10));
                }
                Err(error) => {
                    step.state = EnumColumn(StepState::Failed);
                    step.note = Some(error.to_string());
                    step.ended_at = Some(Timestamp::now().into());
                    self.step_save(operation, &step, "step failed").await?;
                    return Err(error);
                }
            }
        }
        step.state = EnumColumn(StepState::Done);
        step.note = None;
        step.ended_at = Some(Timestamp::now().into());
        self.step_save(operation, &step, "step done").await
    }

    /// Records why a cluster's nodes cannot be started now, until an operation ends: such a cluster is not
    /// reset.
    fn note_blocker(&self, operation: &OperationRow, performed: &Result<(), StepError>) {
        if let (Some(cluster), Err(StepError::Agent(chainpool_agent::Error::Dependency(reason)))) =
            (operation.cluster_id, performed)
        {
            let blocked = Input::OperationBlocked(Some(reason.clone()));
            self.runtime.cache.advance_known(cluster, blocked);
        }
    }

    /// Journals what a step waits for. Returns only if the journal cannot be written.
    async fn step_progress(
        &self,
        operation: &OperationRow,
        step: &mut StepRow,
        mut messages: watch::Receiver<Option<String>>,
    ) -> StepError {
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            // The sender outlives this loop.
            if messages.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let note = messages.borrow_and_update().clone();
            if step.note != note {
                step.note = note;
                if let Err(error) = self.step_save(operation, step, "step note recorded").await {
                    return error;
                }
            }
        }
    }

    /// Returns `true` if an operation waits for its host. A release ends the lease and requests a reset even
    /// while the host is unreachable: the reset waits for the host without a limit.
    async fn waits_for_host(&self, operation: &OperationRow, error: &StepError) -> Result<bool, StepError> {
        if operation.kind.0 != OperationKind::ClusterReset {
            return Ok(false);
        }
        Ok(match error {
            StepError::Agent(chainpool_agent::Error::Unreachable(_)) => true,
            // A swarm without a leader for a long time.
            StepError::Agent(chainpool_agent::Error::Busy(_)) => self
                .store()
                .read()
                .host(operation.host_id)
                .await?
                .is_some_and(|host| host.state.0 == HostState::Unreachable),
            _ => false,
        })
    }

    /// Journals a step. While the server's own disk is full it waits for space: a full disk does not fail an
    /// operation.
    async fn step_save(
        &self,
        operation: &OperationRow,
        step: &StepRow,
        point: &'static str,
    ) -> Result<(), StepError> {
        loop {
            match self.step_write(operation, step, point).await {
                Err(error) if error.is_storage_full() => tokio::time::sleep(STORAGE_FULL_PAUSE).await,
                outcome => return outcome,
            }
        }
    }

    async fn step_write(
        &self,
        operation: &OperationRow,
        step: &StepRow,
        point: &'static str,
    ) -> Result<(), StepError> {
        let mut tx = self.store().begin_background().await?;
        match tx.step_save(step.clone()).await {
            Err(chainpool_store::Error::Overtaken(_)) => return Err(StepError::Superseded),
            saved => saved?,
        }
        if let Some(parent) = operation.parent_id {
            tx.changed(Noun::Operation, parent);
        }
        tx.commit(point).await?;
        Ok(())
    }

    /// Records the outcome of an operation, retrying until it is written.
    async fn operation_end(&self, operation: &OperationRow, outcome: Result<(), StepError>) {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.finish(operation, &outcome).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(operation = %operation.id, %error, cause = ?error, "the outcome of an operation could not be written; retrying");
                }
            }
            tokio::select! {
                () = self.runtime.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }
}

fn step_row(operation_id: Uuid, seq: i64, planned: Planned) -> StepRow {
    let Planned { phase, title, action } = planned;
    StepRow {
        operation_id,
        seq,
        phase: i64::from(phase),
        title,
        action: Json(serde_json::to_value(action).expect("an action has string keys")),
        state: EnumColumn(StepState::Pending),
        memo: None,
        note: None,
        started_at: None,
        ended_at: None,
    }
}

/// The delay before a waiting step reports progress, and the minimum interval between two reports.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// How long a cancelled step waits for the platform's answer.
const CANCEL_TIMEOUT: Duration = Duration::from_mins(1);
/// The retry interval of the journal while the disk is full.
const STORAGE_FULL_PAUSE: Duration = Duration::from_secs(2);
/// The minimum time of a step, in seconds.
const MIN_STEP_SECONDS: i64 = 60;
