//! Acceptance of a fillup.

use crate::{
    Error, Result,
    operations::{
        Operations,
        cause::Cause,
        outcome::Outcome,
        plan::{Arguments, FillRest},
        step_error::StepError,
    },
    placement::{
        choose,
        fill_key::fill_key,
        fill_policy::recipes,
        new_cluster::NewCluster,
        room::{memory_used, no_room, offers},
    },
};
use chainpool_api::{self as api, OperationKind, Timestamp};
use chainpool_store::{HostRow, Json, OperationRow, Tx};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

impl Operations {
    /// Accepts a fillup of all missing clusters up to the capacity: the operation and its first clusters. Its step
    /// accepts the others. With `only_due`, failing entries wait for their next attempt. Returns `None` if there
    /// is nothing to create, and an error with the reason if there is no space.
    pub(crate) async fn accept_fillup(
        &self,
        tx: &mut Tx,
        host: Uuid,
        cause: &Cause,
        only_due: bool,
    ) -> Result<Option<OperationRow>> {
        let host = tx
            .host(host)
            .await?
            .ok_or_else(|| Error::not_found("host", host.to_string()))?;
        if !offers(&host) {
            return Err(Error::conflict(
                "host_not_active",
                format!(
                    "host {} is {} and {}schedulable; only an active, schedulable host accepts new clusters",
                    host.name,
                    host.state.0,
                    if host.settings.0.schedulable { "" } else { "not " }
                ),
            ));
        }
        let clusters = tx.clusters_of(host.id).await?;
        let capacity = host.settings.0.capacity;
        let fill = host.settings.0.fill.clone();
        let recipes = recipes(&self.runtime.registry, &fill);
        let mut have = choose::have(clusters.iter().map(|cluster| recipes.place(cluster)));
        let now = Timestamp::now();
        let waits = |entry: &api::Fill| {
            host.fill_state
                .0
                .get(&fill_key(entry))
                .is_some_and(|p| p.next_at > now)
        };
        let paused: BTreeSet<usize> = if only_due {
            fill.iter()
                .enumerate()
                .filter(|(_, f)| waits(f))
                .map(|(place, _)| place)
                .collect()
        } else {
            BTreeSet::new()
        };
        let missing = usize::try_from(capacity)
            .map_err(Error::internal)?
            .saturating_sub(clusters.len());
        let used = memory_used(&clusters);
        let mut chosen = Vec::new();
        let mut limited = None;
        for _ in 0..missing {
            let Some(place) = choose::fill_entry(&fill, &have, capacity, &paused) else {
                break;
            };
            // Try a failing entry with one cluster at a time.
            if only_due && host.fill_state.0.contains_key(&fill_key(&fill[place])) && chosen.contains(&place)
            {
                break;
            }
            let more = NewCluster::of_entry(&self.runtime.registry, &fill[place], place)?;
            limited = no_room(
                &host,
                used,
                more.network
                    .requirements(&more.parameters)
                    .memory_bytes
                    .saturating_mul(1 + u64::try_from(chosen.len()).map_err(Error::internal)?),
            );
            if limited.is_some() {
                break;
            }
            chosen.push(place);
            *have.entry(place).or_insert(0) += 1;
        }
        if only_due && chosen.is_empty() {
            return limited.map_or(Ok(None), |limited| Err(Error::conflict("no_room", limited)));
        }
        let first = chosen.len().min(CHUNK);
        let arguments = Arguments {
            fill: rest(&fill, &chosen[first..]),
            ..Arguments::default()
        };
        let mut operation = self
            .accept_host(tx, &host, OperationKind::HostFillup, arguments, cause)
            .await?;
        for place in &chosen[..first] {
            let new = NewCluster::of_entry(&self.runtime.registry, &fill[*place], *place)?;
            self.accept_create(tx, &host, new, &cause.part_of(operation.id))
                .await?;
        }
        if limited.is_some() {
            let outcome = Outcome {
                limited_by: limited,
                ..Outcome::default()
            };
            operation.result = Some(outcome.stored());
            operation = tx.operation_save(operation).await?;
        }
        Ok(Some(operation))
    }

    /// Accepts the next clusters of a running fillup, in one transaction with what is left. Returns `true` if more
    /// are left. A cluster that cannot be accepted ends the acceptance and limits the fillup.
    pub(crate) async fn accept_children(&self, operation: &OperationRow) -> Result<bool, StepError> {
        if Arguments::read(&operation.arguments.0)
            .map_err(Error::internal)?
            .fill
            .is_empty()
        {
            return Ok(false);
        }
        let mut tx = self.store().begin_background().await?;
        if !tx.operation_is_owned(operation.id).await? {
            return Err(StepError::Superseded);
        }
        let (Some(mut row), Some(host)) = (
            tx.operation(operation.id).await?,
            tx.host(operation.host_id).await?,
        ) else {
            return Err(StepError::Superseded);
        };
        let mut arguments = Arguments::read(&row.arguments.0).map_err(Error::internal)?;
        let next = take(&mut arguments.fill);
        if next.is_empty() {
            return Ok(false);
        }
        let cause = Cause {
            author: row.author.clone(),
            reason: row.reason.clone(),
            parent: Some(row.id),
        };
        let mut limited = None;
        for entry in next {
            match self.accept_child(&mut tx, &host, &entry, &cause).await {
                Ok(()) => {}
                Err(refused @ (Error::Conflict(_) | Error::Invalid(_))) => {
                    limited = Some(refused.to_string());
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if limited.is_some() {
            arguments.fill.clear();
            let outcome = Outcome {
                limited_by: limited,
                ..Outcome::of(&row).map_err(Error::internal)?
            };
            row.result = Some(outcome.stored());
        }
        let more = !arguments.fill.is_empty();
        row.arguments = Json(serde_json::to_value(arguments).map_err(Error::internal)?);
        tx.operation_save(row).await?;
        self.accepted(tx, &[]).await?;
        Ok(more)
    }

    async fn accept_child(
        &self,
        tx: &mut Tx,
        host: &HostRow,
        entry: &api::Fill,
        cause: &Cause,
    ) -> Result<()> {
        if !offers(host) {
            return Err(Error::conflict(
                "host_not_active",
                format!("host {} no longer accepts new clusters", host.name),
            ));
        }
        let new = NewCluster::of_entry(&self.runtime.registry, entry, 0)?;
        self.accept_create(tx, host, new, cause).await.map(drop)
    }
}

/// The number of clusters that one transaction accepts. Requests come in between, for example applies, so it bounds how
/// long they wait.
const CHUNK: usize = 2;

/// Counts the chosen clusters of each entry.
fn rest(fill: &[api::Fill], chosen: &[usize]) -> Vec<FillRest> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for place in chosen {
        *counts.entry(*place).or_default() += 1;
    }
    let rest = |(place, count): (usize, usize)| FillRest {
        entry: fill[place].clone(),
        count,
    };
    counts.into_iter().map(rest).collect()
}

/// Takes the entries of the next clusters, from each entry in turn.
fn take(left: &mut Vec<FillRest>) -> Vec<api::Fill> {
    let mut taken = Vec::new();
    while taken.len() < CHUNK && !left.is_empty() {
        for rest in left.iter_mut().take(CHUNK - taken.len()) {
            rest.count = rest.count.saturating_sub(1);
            taken.push(rest.entry.clone());
        }
        left.retain(|rest| rest.count > 0);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chosen_cluster_is_taken_once_and_in_chunks() {
        let entry = |preset: &str| api::Fill {
            network_type: "cometbft".into(),
            preset: preset.into(),
            share: 1,
            parameters: serde_json::Map::new(),
        };
        let fill = [entry("a"), entry("b")];
        let chosen: Vec<usize> = (0..20).map(|n| usize::from(n % 4 == 0)).collect();
        let mut left = rest(&fill, &chosen);
        let mut taken = Vec::new();
        while !left.is_empty() {
            let chunk = take(&mut left);
            assert!((1..=CHUNK).contains(&chunk.len()));
            taken.extend(chunk);
        }
        let count = |preset: &str| taken.iter().filter(|entry| entry.preset == preset).count();
        assert_eq!((count("a"), count("b")), (15, 5));
        assert!(take(&mut left).is_empty());
    }
}
