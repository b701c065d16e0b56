//! A request for a free cluster, and its result.

use crate::{LeaseRow, datastore::Labels};
use sea_orm::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A request for a free cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ApplyRequest {
    /// The future holder.
    pub holder: String,
    /// The holder's name in leases stored before names were prefixed with the account.
    pub former_holder: Option<String>,
    /// The account that applies and owns the lease.
    pub author: String,
    /// Filter by network type.
    pub network_type: Option<String>,
    /// Filter by preset.
    pub preset: Option<String>,
    /// Filter by version line.
    pub version: Option<String>,
    /// Filter by number of nodes.
    pub size: Option<u32>,
    /// Filter by consensus protocol.
    pub consensus: Option<String>,
    /// Filter by host.
    pub host: Option<Uuid>,
    /// Filter by labels; all must match.
    pub labels: BTreeMap<String, String>,
    /// Filter by parameters: names of `a-z`, `0-9` and `_`, values as JSON text.
    pub parameters: BTreeMap<String, String>,
    /// Allow the holder only one lease with this filter.
    pub single: bool,
    /// Seconds until expiry; `None`: no expiry.
    pub ttl_seconds: Option<i64>,
    /// Limit of active leases that the account holds itself, including this one; `None`: no limit.
    pub lease_limit: Option<u32>,
    /// The idempotency key: account, route, key, SHA-256 of the body.
    pub key: Option<(Uuid, String, String, [u8; 32])>,
}

/// The result of an apply.
#[derive(Debug, Clone)]
pub struct ApplyOutcome {
    /// The lease.
    pub lease: LeaseRow,
    /// Set if this apply created the lease.
    pub created: bool,
    /// The names related to a created lease.
    pub names: Option<LeaseNames>,
}

/// The names of the resources related to a lease. The statement that takes the cluster returns them, so that
/// a response needs no further query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseNames {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's network type.
    pub network_type: String,
    /// The name of the cluster's host.
    pub host: String,
}

impl ApplyRequest {
    /// The filter in canonical form: equal texts are equal filters.
    pub(super) fn filter(&self) -> String {
        let Self {
            network_type,
            preset,
            version,
            size,
            consensus,
            host,
            labels,
            parameters,
            holder: _,
            former_holder: _,
            author: _,
            single: _,
            ttl_seconds: _,
            lease_limit: _,
            key: _,
        } = self;
        // Without parameters the text equals that of leases stored before filters had parameters.
        let filter = serde_json::json!([network_type, preset, version, size, consensus, host, labels]);
        if parameters.is_empty() {
            filter.to_string()
        } else {
            serde_json::json!([filter, parameters]).to_string()
        }
    }

    /// The filter as SQL, with its values.
    pub(super) fn conditions(&self) -> (String, Vec<Value>) {
        let mut sql = String::new();
        let mut values: Vec<Value> = Vec::new();
        let and = |sql: &mut String, values: &mut Vec<Value>, condition: &str, value: Value| {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push(value);
        };
        for (column, text) in [
            ("network_type", &self.network_type),
            ("preset", &self.preset),
            ("version", &self.version),
            ("consensus", &self.consensus),
        ] {
            if let Some(text) = text {
                and(
                    &mut sql,
                    &mut values,
                    &format!("{column} = ?"),
                    text.clone().into(),
                );
            }
        }
        if let Some(size) = self.size {
            and(&mut sql, &mut values, "size = ?", i64::from(size).into());
        }
        if let Some(host) = self.host {
            and(&mut sql, &mut values, "host_id = ?", host.into());
        }
        for needle in Labels(self.labels.clone()).needles() {
            and(&mut sql, &mut values, "instr(labels, ?) > 0", needle.into());
        }
        for (name, value) in &self.parameters {
            and(
                &mut sql,
                &mut values,
                "parameters -> ?",
                format!("$.{name}").into(),
            );
            sql.push_str(" = json(?)");
            values.push(value.clone().into());
        }
        (sql, values)
    }
}
