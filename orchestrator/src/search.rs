//! Search by name or id, among what the caller may read.

use crate::{Caller, Error, Orchestrator, Result, policy};
use chainpool_api as api;
use uuid::Uuid;

/// What a search by name found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Hosts whose name or address has the text.
    pub hosts: Vec<api::Host>,
    /// Clusters whose name has the text.
    pub clusters: Vec<api::Cluster>,
}

impl Orchestrator {
    /// Finds hosts and clusters by a part of their name; 50 of each at most.
    pub async fn search(&self, caller: &Caller, text: &str) -> Result<Found> {
        let mut found = Found::default();
        if text.is_empty() {
            return Ok(found);
        }
        let filter = api::ClusterFilter {
            search: Some(text.to_owned()),
            limit: Some(50),
            ..api::ClusterFilter::default()
        };
        found.clusters = self.cluster_list(caller, &filter).await?.items;
        if policy::operates(caller) {
            let filter = api::HostFilter {
                search: Some(text.to_owned()),
                limit: Some(50),
                ..api::HostFilter::default()
            };
            found.hosts = self.host_list(caller, &filter).await?.items;
        }
        Ok(found)
    }

    /// Finds what has this id; `None` when nothing has that the caller may read.
    pub async fn search_id(&self, caller: &Caller, id: Uuid) -> Result<Option<api::Noun>> {
        let text = id.to_string();
        if known(self.cluster_show(caller, &text).await)? {
            return Ok(Some(api::Noun::Cluster));
        }
        if known(self.lease_show(caller, id).await)? {
            return Ok(Some(api::Noun::Lease));
        }
        if known(self.operation_show(caller, id).await)? {
            return Ok(Some(api::Noun::Operation));
        }
        Ok(known(self.host_show(caller, &text).await)?.then_some(api::Noun::Host))
    }
}

/// Whether there is such a thing for the caller. A failure is another matter.
fn known<T>(shown: Result<T>) -> Result<bool> {
    match shown {
        Ok(_) => Ok(true),
        Err(Error::NotFound { .. } | Error::Forbidden(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
