//! The reason why no lease was granted.

use crate::{Error, Orchestrator, Result, number::number, text::counted};
use chainpool_api::ClusterState;
use chainpool_store::{ApplyRequest, ClusterRow, Labels};
use std::collections::BTreeMap;

impl Orchestrator {
    /// Returns the reason why no lease was granted.
    pub(super) async fn refusal(&self, request: &ApplyRequest) -> Result<Error> {
        match request.lease_limit {
            Some(limit) if self.store().read().own_leases(&request.author, limit).await? >= limit => {
                let text = format!(
                    "{} already has {}, the limit for an account (chainpool serve --leases-per-account); release one or ask an admin",
                    request.author,
                    counted(limit, "active lease")
                );
                Ok(Error::conflict("too_many_leases", text))
            }
            _ => self.none_available(request).await,
        }
    }

    /// Describes the matching clusters and why none is available.
    async fn none_available(&self, request: &ApplyRequest) -> Result<Error> {
        let rows = self.store().read().clusters().await?;
        let fits = |row: &&ClusterRow| {
            let same = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|w| w == has);
            let labels = Labels::from_column(&row.labels).0;
            same(&request.network_type, &row.network_type)
                && same(&request.preset, &row.preset)
                && same(&request.version, &row.version)
                && same(&request.consensus, &row.consensus)
                && request.size.is_none_or(|size| size == number(row.size))
                && request.host.is_none_or(|host| host == row.host_id)
                && request
                    .labels
                    .iter()
                    .all(|(key, value)| labels.get(key) == Some(value))
                && request
                    .parameters
                    .iter()
                    .all(|(name, value)| has_parameter(row, name, value))
        };
        let matching: Vec<_> = rows.iter().filter(fits).collect();
        if matching.is_empty() {
            let kinds: BTreeMap<String, usize> = rows.iter().fold(BTreeMap::new(), |mut kinds, row| {
                *kinds
                    .entry(format!(
                        "{} {} ({}, {}, {})",
                        row.network_type,
                        row.version,
                        counted(row.size, "node"),
                        row.preset,
                        row.consensus
                    ))
                    .or_default() += 1;
                kinds
            });
            let there = if kinds.is_empty() {
                "the pool is empty".to_owned()
            } else {
                format!("the pool has {}", list(&kinds))
            };
            return Ok(Error::conflict(
                "nothing_matches",
                format!("no cluster matches the filter; {there}"),
            ));
        }
        let mut why: BTreeMap<String, usize> = BTreeMap::new();
        for row in &matching {
            let reason = match row.state.0 {
                _ if row.leased => "leased".to_owned(),
                ClusterState::Ready if !row.schedulable => {
                    "on a host that is not active or not schedulable".to_owned()
                }
                ClusterState::Ready if row.operation_id.is_some() => {
                    "with an operation in progress".to_owned()
                }
                ClusterState::Ready => row.health.0.to_string(),
                state => state.to_string(),
            };
            *why.entry(reason).or_default() += 1;
        }
        let count = matching.len();
        Ok(Error::conflict(
            "nothing_free",
            format!(
                "none of the matching clusters ({count}) is free: {}; retry later or ask an operator for more capacity",
                list(&why)
            ),
        ))
    }
}

/// Returns `true` if a cluster has this parameter value, given as JSON text.
fn has_parameter(row: &ClusterRow, name: &str, value: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(value)
        .is_ok_and(|wanted| row.parameters.0.get(name) == Some(&wanted))
}

fn list(counts: &BTreeMap<String, usize>) -> String {
    counts
        .iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect::<Vec<_>>()
        .join(", ")
}
