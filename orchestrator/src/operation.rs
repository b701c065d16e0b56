//! Operations.

use crate::{Error, Orchestrator, Result, view::page};
use chainpool_api as api;
use chainpool_store::OperationQuery;
use uuid::Uuid;

impl Orchestrator {
    /// Lists operations.
    pub async fn operation_list(&self, filter: &api::OperationFilter) -> Result<api::Page<api::Operation>> {
        let api::OperationFilter { host, cluster, parent, state, kind, after, limit } = filter.clone();
        let host = match host {
            Some(host) => Some(self.host_row(&host).await?.id),
            None => None,
        };
        let cluster = match cluster {
            // The operations of a cluster that is gone are found by its id.
            Some(name) => match (self.store().read().cluster_named(&name).await?, name.parse()) {
                (Some(row), _) => Some(row.id),
                (None, Ok(id)) => Some(id),
                (None, Err(_)) => return Err(Error::not_found("cluster", name)),
            },
            None => None,
        };
        let query = OperationQuery { host, cluster, parent, state, kind, after: after.and_then(|a| a.parse().ok()), limit };
        let rows = page(self.store().read().operation_page(&query).await?, limit, |row| row.id);
        let mut items = Vec::with_capacity(rows.items.len());
        for row in rows.items {
            items.push(self.view_operation(row, false).await?);
        }
        Ok(api::Page { items, next: rows.next })
    }

    /// One operation with its steps (a parent: its children as steps).
    pub async fn operation_show(&self, operation: Uuid) -> Result<api::Operation> {
        let row = self.store().read().operation(operation).await?.ok_or_else(|| Error::not_found("operation", operation.to_string()))?;
        self.view_operation(row, true).await
    }

    /// What changes from now on. A receiver that falls behind is told so and reads again.
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<api::Event> {
        self.store().events()
    }
}
