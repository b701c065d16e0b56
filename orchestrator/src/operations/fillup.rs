//! Acceptance of a fillup.

use crate::{
    Error, Result,
    operations::{Operations, cause::Cause, plan::Arguments},
    placement::{
        choose,
        fill_key::fill_key,
        fill_policy::recipes,
        new_cluster::NewCluster,
        room::{no_room, offers},
    },
};
use chainpool_api::{self as api, OperationKind, Timestamp};
use chainpool_store::{Json, OperationRow, Tx};
use std::collections::BTreeSet;
use uuid::Uuid;

impl Operations {
    /// Accepts a fillup: creates all missing clusters up to the capacity. With
    /// `only_due`, failing entries wait for their next attempt; then the result is `None` if there is nothing
    /// to create, and an error with the reason if there is no space.
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
                    if host.schedulable { "" } else { "not " }
                ),
            ));
        }
        let clusters = tx.clusters_of(host.id).await?;
        let capacity = u32::try_from(host.capacity).map_err(Error::internal)?;
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
                &clusters,
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
        let mut operation = self
            .accept_host(tx, &host, OperationKind::HostFillup, Arguments::default(), cause)
            .await?;
        for place in chosen {
            let new = NewCluster::of_entry(&self.runtime.registry, &fill[place], place)?;
            self.accept_create(tx, &host, new, &cause.part_of(operation.id))
                .await?;
        }
        if let Some(limited) = limited {
            operation.result = Some(Json(serde_json::json!({ "limited_by": limited })));
            operation = tx.operation_save(operation).await?;
        }
        Ok(Some(operation))
    }
}
