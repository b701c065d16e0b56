//! Presentation of operations, for all rows of a page at once: the number of queries does not depend on the number of
//! rows.

use crate::{Error, Orchestrator, Result, number::number};
use chainpool_api::{self as api, OperationState, StepState};
use chainpool_store::{OperationRow, Progress, StepRow};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The names and progress of the operations of a page.
struct Related {
    hosts: BTreeMap<Uuid, String>,
    clusters: BTreeMap<Uuid, String>,
    /// Steps of operations and of their children.
    steps: BTreeMap<Uuid, Progress>,
    /// Children of parents.
    children: BTreeMap<Uuid, Progress>,
}

/// Lists the operations that may have children.
fn parents(rows: &[OperationRow]) -> impl Iterator<Item = Uuid> {
    rows.iter()
        .filter(|row| row.cluster_id.is_none())
        .map(|row| row.id)
}

impl Orchestrator {
    /// Presents an operation, optionally with its steps.
    pub(crate) async fn present_operation(&self, row: OperationRow, steps: bool) -> Result<api::Operation> {
        let mut presented = if steps {
            self.present_operations_with_steps(vec![row]).await?
        } else {
            self.present_operations(vec![row]).await?
        };
        presented
            .pop()
            .ok_or_else(|| Error::internal("one row is presented as one operation"))
    }

    /// Presents operations without their steps.
    pub(crate) async fn present_operations(&self, rows: Vec<OperationRow>) -> Result<Vec<api::Operation>> {
        let related = self.related(&rows, &BTreeMap::new()).await?;
        Ok(rows.into_iter().map(|row| related.present(row)).collect())
    }

    /// Presents operations with their steps; the children of a parent appear as steps.
    pub(crate) async fn present_operations_with_steps(
        &self,
        rows: Vec<OperationRow>,
    ) -> Result<Vec<api::Operation>> {
        let read = self.store().read();
        let mut own = read.steps_of(rows.iter().map(|row| row.id)).await?;
        let mut children = read.children_of(parents(&rows)).await?;
        let related = self.related(&rows, &children).await?;
        let present = |row: OperationRow| {
            let steps = match children.remove(&row.id) {
                Some(children) => (0..)
                    .zip(children)
                    .map(|(seq, child)| related.child_as_step(seq, child))
                    .collect(),
                None => own.remove(&row.id).into_iter().flatten().map(step).collect(),
            };
            api::Operation {
                steps,
                ..related.present(row)
            }
        };
        Ok(rows.into_iter().map(present).collect())
    }

    /// Reads what belongs to operations and to their children, if those are presented.
    async fn related(
        &self,
        rows: &[OperationRow],
        children: &BTreeMap<Uuid, Vec<OperationRow>>,
    ) -> Result<Related> {
        let read = self.store().read();
        let all = || rows.iter().chain(children.values().flatten());
        Ok(Related {
            hosts: read.host_names(rows.iter().map(|row| row.host_id)).await?,
            clusters: read.cluster_names(all().filter_map(|row| row.cluster_id)).await?,
            steps: read.step_progress(all().map(|row| row.id)).await?,
            children: read.children_progress(parents(rows)).await?,
        })
    }
}

impl Related {
    fn present(&self, row: OperationRow) -> api::Operation {
        let progress = self.children.get(&row.id).or_else(|| self.steps.get(&row.id));
        let Progress { done, total } = progress.copied().unwrap_or_default();
        api::Operation {
            id: row.id,
            kind: row.kind.0,
            state: row.state.0,
            host_id: row.host_id,
            host: self.hosts.get(&row.host_id).cloned().unwrap_or_default(),
            cluster_id: row.cluster_id,
            cluster: self.cluster(&row),
            parent_id: row.parent_id,
            by: row.author,
            reason: row.reason,
            created_at: row.created_at.0,
            started_at: row.started_at.map(|m| m.0),
            ended_at: row.ended_at.map(|m| m.0),
            done,
            total,
            steps: Vec::new(),
            result: row.result.map(|r| r.0),
            error: row.error,
        }
    }

    fn cluster(&self, row: &OperationRow) -> Option<String> {
        self.clusters.get(&row.cluster_id?).cloned()
    }

    fn child_as_step(&self, seq: u32, child: OperationRow) -> api::Step {
        let Progress { done, total } = self.steps.get(&child.id).copied().unwrap_or_default();
        let state = match child.state.0 {
            OperationState::Queued => StepState::Pending,
            OperationState::Running => StepState::Started,
            OperationState::Succeeded => StepState::Done,
            OperationState::Failed | OperationState::Superseded => StepState::Failed,
        };
        api::Step {
            seq,
            title: format!("{} {}", child.kind.0, self.cluster(&child).unwrap_or_default()),
            state,
            started_at: child.started_at.map(|m| m.0),
            ended_at: child.ended_at.map(|m| m.0),
            note: child.error.or_else(|| {
                (state == StepState::Started)
                    .then(|| format!("{done} of {total} steps, operation {}", child.id))
            }),
        }
    }
}

fn step(row: StepRow) -> api::Step {
    api::Step {
        seq: number(row.seq),
        title: row.title,
        state: row.state.0,
        started_at: row.started_at.map(|m| m.0),
        ended_at: row.ended_at.map(|m| m.0),
        note: row.note,
    }
}
