//! Operations.

use crate::{Caller, Error, Orchestrator, Result, facade::presenter::page, permissions};
use chainpool_api as api;
use chainpool_store::{OperationQuery, OperationRow};
use uuid::Uuid;

impl Orchestrator {
    /// Lists operations: all for operators; for other callers those on a cluster since they hold it, or the
    /// children of an operation.
    pub async fn operation_list(
        &self,
        caller: &Caller,
        filter: &api::OperationFilter,
    ) -> Result<api::Page<api::Operation>> {
        let api::OperationFilter {
            host,
            cluster,
            parent,
            state,
            kind,
            after,
            limit,
        } = filter.clone();
        let all = permissions::operates(caller);
        match parent {
            Some(parent) if !all => drop(self.operation_for(caller, parent).await?),
            None if !all && cluster.is_none() => permissions::must_operate(caller)?,
            _ => {}
        }
        let host = match host {
            Some(host) => {
                permissions::must_operate(caller)?;
                Some(self.host_row(&host).await?.id)
            }
            None => None,
        };
        let (cluster, since) = match cluster {
            Some(name) if all => (Some(self.cluster_ever(&name).await?), None),
            Some(name) => {
                let id = self.cluster_for(caller, &name).await?.id;
                let lease = self
                    .store()
                    .read()
                    .lease_of(id)
                    .await?
                    .ok_or_else(|| Error::not_found("cluster", name))?;
                (Some(id), Some(lease.created_at.0))
            }
            None => (None, None),
        };
        let query = OperationQuery {
            host,
            cluster,
            parent,
            state,
            kind,
            since,
            after: after.and_then(|a| a.parse().ok()),
            limit,
        };
        let rows = page(self.store().read().operation_page(&query).await?, limit, |row| {
            row.id
        });
        Ok(api::Page {
            items: self.present_operations(rows.items).await?,
            next: rows.next,
        })
    }

    /// Shows an operation with its steps; the children of a parent appear as steps.
    pub async fn operation_show(&self, caller: &Caller, operation: Uuid) -> Result<api::Operation> {
        self.present_operation(self.operation_for(caller, operation).await?, true)
            .await
    }

    /// Reads an operation that the caller may read; other operations are not found.
    async fn operation_for(&self, caller: &Caller, operation: Uuid) -> Result<OperationRow> {
        let hidden = || Error::not_found("operation", operation.to_string());
        let row = self
            .store()
            .read()
            .operation(operation)
            .await?
            .ok_or_else(hidden)?;
        if self.may_read(caller, &row).await? {
            Ok(row)
        } else {
            Err(hidden())
        }
    }

    pub(crate) async fn may_read(&self, caller: &Caller, row: &OperationRow) -> Result<bool> {
        let lease = match row.cluster_id {
            // Read no lease for a caller that needs none.
            Some(_) if permissions::may_read_operation(caller, row, None) => return Ok(true),
            Some(cluster) => self.store().read().lease_of(cluster).await?,
            None => None,
        };
        Ok(permissions::may_read_operation(caller, row, lease.as_ref()))
    }

    /// Resolves a cluster by name; a deleted one by id.
    async fn cluster_ever(&self, cluster: &str) -> Result<Uuid> {
        match (self.store().read().cluster_named(cluster).await?, cluster.parse()) {
            (Some(row), _) => Ok(row.id),
            (None, Ok(id)) => Ok(id),
            (None, Err(_)) => Err(Error::not_found("cluster", cluster)),
        }
    }
}
