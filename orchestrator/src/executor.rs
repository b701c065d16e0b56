//! The executor: takes accepted operations, plans them, runs their steps, ends them.
//!
//! An operation is claimed by compare-and-swap on the epoch of this process, so after a restart every live operation
//! is claimed again, once. Its plan is journaled before the first step runs; each step is journaled as started before
//! it runs and as done after. A step that was started may have happened: it runs again, and because every agent verb
//! converges, running again is harmless. There are no undo steps: a failed create stays failed, and delete or reset is
//! the undo of everything.
//!
//! Retries live here alone. A transient error is tried again with growing, jittered pauses until the operation's
//! deadline; any other ends the operation, except a delete, which is never given up.

use crate::{
    Error, Orchestrator, Result,
    plan::{Action, Arguments, Planned, Subject, plan},
    step::{StepError, unless_over},
    wait::Wait,
};
use chainpool_api::{HostState, Noun, OperationKind, OperationState, StepState, Timestamp};
use chainpool_store::{Json, OperationRow, StepRow, Word};
use futures::{StreamExt, stream::FuturesUnordered};
use rand::Rng;
use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// What is under way in this process.
#[derive(Default)]
pub(crate) struct Executor {
    wake: Notify,
    running: Mutex<HashMap<Uuid, CancellationToken>>,
    clusters: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>,
    tasks: TaskTracker,
}

impl Executor {
    /// Says that something was accepted.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Stops an operation that was superseded.
    pub(crate) fn cancel(&self, operation: Uuid) {
        if let Some(token) = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&operation)
        {
            token.cancel();
        }
    }

    /// Runs a task that ends before the database closes.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    fn begin(&self, operation: Uuid) -> CancellationToken {
        let token = CancellationToken::new();
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(operation, token.clone());
        token
    }

    fn end(&self, operation: Uuid) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&operation);
    }

    /// One operation at a time works on a cluster, even while the one before it is still being stopped.
    fn cluster(&self, cluster: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(clusters.entry(cluster).or_default())
    }
}

impl Orchestrator {
    /// Starts the loop that takes accepted operations.
    pub(crate) fn executor_start(&self) {
        let this = self.clone();
        self.inner.executor.tasks.spawn(async move {
            loop {
                if let Err(error) = this.executor_take().await {
                    tracing::error!(%error, cause = ?error, "accepted operations could not be taken; trying again");
                }
                tokio::select! {
                    () = this.inner.stop.cancelled() => return,
                    () = this.inner.executor.wake.notified() => {}
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        });
    }

    /// Waits until nothing runs here any more.
    pub(crate) async fn executor_drained(&self) {
        self.inner.executor.tasks.close();
        self.inner.executor.tasks.wait().await;
    }

    async fn executor_take(&self) -> Result<()> {
        for row in self.store().read().operations_live().await? {
            if row.epoch >= self.store().epoch() || self.inner.stop.is_cancelled() {
                continue;
            }
            let mut tx = self.store().begin().await?;
            let Some(operation) = tx.operation_claim(row.id, Timestamp::now()).await? else {
                continue;
            };
            let token = self.inner.executor.begin(operation.id);
            tx.commit("operation claimed").await?;
            let this = self.clone();
            self.inner
                .executor
                .tasks
                .spawn(async move { this.operation_run(operation, token).await });
        }
        Ok(())
    }

    async fn operation_run(&self, operation: OperationRow, token: CancellationToken) {
        let id = operation.id;
        let lock = operation
            .cluster_id
            .map(|cluster| self.inner.executor.cluster(cluster));
        let work = async {
            let _one_at_a_time = match &lock {
                Some(lock) => Some(unless_over(&token, lock.lock()).await?),
                None => None,
            };
            self.operation_placed(&operation, &token).await
        };
        // When this process stops, the work is dropped at its next await: every verb survives that.
        let outcome = self.inner.stop.run_until_cancelled(work).await;
        if let Some(outcome) = outcome {
            self.operation_end(&operation, outcome).await;
        }
        self.inner.executor.end(id);
        self.inner.executor.wake();
    }

    /// Works on an operation, at another place as often as its cluster's place is in use.
    async fn operation_placed(
        &self,
        operation: &OperationRow,
        token: &CancellationToken,
    ) -> Result<(), StepError> {
        let mut operation = operation.clone();
        loop {
            let outcome = self.operation_work(&operation, token).await;
            let Err(StepError::Agent(chainpool_agent::Error::Occupied { place, words })) = &outcome else {
                return outcome;
            };
            match Box::pin(self.relocate(&operation, *place, words)).await {
                Ok(Some(moved)) => operation = moved,
                Ok(None) => return outcome,
                // Its steps find the place in use again, until there is room to write down another.
                Err(Error::StorageFull(_)) => tokio::time::sleep(ROOM_PAUSE).await,
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
                match self.operation_plan(operation).await {
                    Err(error) if error.is_storage_full() => tokio::time::sleep(ROOM_PAUSE).await,
                    outcome => break outcome?,
                }
            };
        }
        let last = steps.iter().map(|s| s.phase).max().unwrap_or(0);
        for phase in 0..=last {
            let over = token.child_token();
            let mut work: FuturesUnordered<_> = steps
                .iter()
                .filter(|s| s.phase == phase && s.state.0 != StepState::Done)
                .map(|step| self.step_run(operation, step, &over))
                .collect();
            let mut outcome = Ok(());
            while let Some(done) = work.next().await {
                if done.is_err() && outcome.is_ok() {
                    outcome = done;
                    over.cancel();
                }
            }
            outcome?;
        }
        Ok(())
    }

    async fn operation_plan(&self, operation: &OperationRow) -> Result<Vec<StepRow>, StepError> {
        let generation = u32::try_from(operation.generation).map_err(Error::internal)?;
        let spec = match operation.cluster_id {
            Some(cluster) => self.spec(cluster, generation).await?,
            None => None,
        };
        let nodes = spec
            .iter()
            .flat_map(|spec| &spec.nodes)
            .map(|node| node.name.clone())
            .collect();
        let boot = spec.map(|spec| spec.boot.clone()).unwrap_or_default();
        let arguments: Arguments = serde_json::from_value(operation.arguments.0.clone()).unwrap_or_default();
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
        let mut tx = self.store().begin().await?;
        if !tx.operation_mine(operation.id).await? {
            return Err(StepError::Superseded);
        }
        tx.steps_insert(rows.clone()).await?;
        tx.commit("operation planned").await?;
        Ok(rows)
    }

    /// Runs one step to its end. When another step of its phase has failed, or another operation takes the cluster, it is not
    /// tried again, and only what the platform was asked to make is waited for: made afterwards, it would be an orphan.
    async fn step_run(
        &self,
        operation: &OperationRow,
        step: &StepRow,
        over: &CancellationToken,
    ) -> Result<(), StepError> {
        let mut step = step.clone();
        let action: Action = serde_json::from_value(step.action.0.clone()).map_err(Error::internal)?;
        if step.state.0 != StepState::Started {
            step.memo = unless_over(over, self.step_memo(operation, &action))
                .await??
                .map(Json);
            step.state = Word(StepState::Started);
            step.started_at = Some(Timestamp::now().into());
            self.step_save(operation, &step, "step started").await?;
        }
        let mut pause = Duration::from_millis(200);
        // A step that could begin late, because its host or this process was away, still gets its time.
        let mut begun = step
            .started_at
            .map_or_else(Timestamp::now, |at| at.0)
            .max(self.inner.started_at);
        loop {
            let deadline = operation
                .deadline_at
                .map(|at| at.0.max(begun.plus_seconds(LEAST_STEP_SECONDS)));
            let (wait, memo) = (Wait::until(deadline), step.memo.clone());
            let mut perform =
                pin!(self.step_perform(operation, &action, memo.as_ref().map(|m| &m.0), &wait, over));
            let noting = self.step_noted(operation, &mut step, wait.words());
            let performed = tokio::select! {
                performed = over.run_until_cancelled(perform.as_mut()) => performed,
                failed = noting => return Err(failed),
            };
            let performed = match performed {
                Some(performed) => performed,
                None if action.changes_platform() => tokio::time::timeout(LAST_ANSWER, perform)
                    .await
                    .map_err(|_| StepError::Over)?,
                None => return Err(StepError::Over),
            };
            let waits_for_host = match &performed {
                Ok(()) => false,
                Err(error) => self.waits_for_host(operation, error).await?,
            };
            if waits_for_host {
                begun = Timestamp::now();
            }
            self.note_hindrance(operation, &performed);
            match performed {
                Ok(()) => break,
                Err(StepError::Over) => return Err(StepError::Over),
                Err(error)
                    if !over.is_cancelled()
                        && error.may_pass(operation.kind.0)
                        && (waits_for_host || deadline.is_none_or(|at| Timestamp::now() < at)) =>
                {
                    let note = Some(error.to_string());
                    if step.note != note {
                        tracing::warn!(operation = %operation.id, step = %step.title, %error, "a step failed and is tried again");
                        step.note = note;
                        self.step_save(operation, &step, "step noted").await?;
                    }
                    let jitter = rand::rng().random_range(0.5..1.5);
                    unless_over(over, tokio::time::sleep(pause.mul_f64(jitter))).await?;
                    pause = (pause * 2).min(Duration::from_secs(10));
                }
                Err(error) => {
                    step.state = Word(StepState::Failed);
                    step.note = Some(error.to_string());
                    step.ended_at = Some(Timestamp::now().into());
                    self.step_save(operation, &step, "step failed").await?;
                    return Err(error);
                }
            }
        }
        step.state = Word(StepState::Done);
        step.note = None;
        step.ended_at = Some(Timestamp::now().into());
        self.step_save(operation, &step, "step done").await
    }

    /// Keeps why a cluster's nodes cannot be started now, until an operation comes to its end: nobody makes its ledger anew for that.
    fn note_hindrance(&self, operation: &OperationRow, performed: &Result<(), StepError>) {
        if let (Some(cluster), Err(StepError::Agent(chainpool_agent::Error::Dependency(words)))) =
            (operation.cluster_id, performed)
        {
            self.inner
                .live
                .note_known(cluster, |seen| seen.hindered = Some(words.clone()));
        }
    }

    /// Notes what a step waits for, so that people see it. Ends only when the journal cannot be written.
    async fn step_noted(
        &self,
        operation: &OperationRow,
        step: &mut StepRow,
        mut words: watch::Receiver<Option<String>>,
    ) -> StepError {
        loop {
            tokio::time::sleep(NOTE_PAUSE).await;
            // Its sender outlives this.
            if words.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let note = words.borrow_and_update().clone();
            if step.note != note {
                step.note = note;
                if let Err(error) = self.step_save(operation, step, "step noted").await {
                    return error;
                }
            }
        }
    }

    /// A reset is asked for by a release, which ends the lease even when the host is away: it waits for the host, however long
    /// that takes.
    async fn waits_for_host(&self, operation: &OperationRow, error: &StepError) -> Result<bool, StepError> {
        if operation.kind.0 != OperationKind::ClusterReset {
            return Ok(false);
        }
        Ok(match error {
            StepError::Agent(chainpool_agent::Error::Unreachable(_)) => true,
            // A swarm whose managers have lost one another for long.
            StepError::Agent(chainpool_agent::Error::Busy(_)) => self
                .store()
                .read()
                .host(operation.host_id)
                .await?
                .is_some_and(|host| host.state.0 == HostState::Unreachable),
            _ => false,
        })
    }

    /// Writes a step down. While the server's own disk is full it waits for room: that is no reason to give an operation up.
    async fn step_save(
        &self,
        operation: &OperationRow,
        step: &StepRow,
        point: &'static str,
    ) -> Result<(), StepError> {
        loop {
            match self.step_write(operation, step, point).await {
                Err(error) if error.is_storage_full() => tokio::time::sleep(ROOM_PAUSE).await,
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
        let mut tx = self.store().begin().await?;
        if !tx.operation_mine(operation.id).await? {
            return Err(StepError::Superseded);
        }
        tx.step_save(step.clone()).await?;
        if let Some(parent) = operation.parent_id {
            tx.changed(Noun::Operation, parent);
        }
        tx.commit(point).await?;
        Ok(())
    }

    /// Writes how an operation ended, until that is written.
    async fn operation_end(&self, operation: &OperationRow, outcome: Result<(), StepError>) {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.finish(operation, &outcome).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(operation = %operation.id, %error, cause = ?error, "the end of an operation could not be written; trying again");
                }
            }
            tokio::select! {
                () = self.inner.stop.cancelled() => return,
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
        state: Word(StepState::Pending),
        memo: None,
        note: None,
        started_at: None,
        ended_at: None,
    }
}

/// How long a step waits in silence, and the least time between two notes of what it waits for.
const NOTE_PAUSE: Duration = Duration::from_secs(2);
/// How long the platform has to answer what it was asked for, once nobody needs it any more.
const LAST_ANSWER: Duration = Duration::from_mins(1);
/// How long the journal waits before it looks for room again.
const ROOM_PAUSE: Duration = Duration::from_secs(2);
/// What a step gets at least, in seconds.
const LEAST_STEP_SECONDS: i64 = 60;

/// When an operation is given up: create, amend and reset after 15 min, start and stop after 5, delete never.
pub(crate) fn deadline(kind: OperationKind, now: Timestamp) -> Option<Timestamp> {
    match kind {
        OperationKind::ClusterCreate | OperationKind::ClusterAmend | OperationKind::ClusterReset => {
            Some(now.plus_seconds(15 * 60))
        }
        OperationKind::ClusterStart
        | OperationKind::ClusterStop
        | OperationKind::ClusterRestart
        | OperationKind::ClusterRepair => Some(now.plus_seconds(5 * 60)),
        OperationKind::ClusterProve => Some(now.plus_seconds(30)),
        OperationKind::ClusterDelete
        | OperationKind::HostFillup
        | OperationKind::HostClean
        | OperationKind::HostReset
        | OperationKind::HostAdopt
        | OperationKind::LeaseApply => None,
    }
}

/// Whether an operation has ended.
pub(crate) fn is_live(state: OperationState) -> bool {
    !state.is_over()
}
