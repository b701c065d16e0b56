//! Search by name or id among the resources that the caller may read.

use crate::{Caller, Error, Orchestrator, Result, permissions};
use chainpool_api as api;
use uuid::Uuid;

/// The results of a search by name.
#[derive(Debug, Clone, Default)]
pub struct SearchResults {
    /// Hosts with the text in their name or address.
    pub hosts: Vec<api::Host>,
    /// Clusters with the text in their name.
    pub clusters: Vec<api::Cluster>,
}

impl Orchestrator {
    /// Finds hosts and clusters by part of their name; at most 50 of each.
    pub async fn search(&self, caller: &Caller, text: &str) -> Result<SearchResults> {
        let mut found = SearchResults::default();
        if text.is_empty() {
            return Ok(found);
        }
        let filter = api::ClusterFilter {
            search: Some(text.to_owned()),
            limit: Some(50),
            ..api::ClusterFilter::default()
        };
        found.clusters = self.cluster_list(caller, &filter).await?.items;
        if permissions::operates(caller) {
            let filter = api::HostFilter {
                search: Some(text.to_owned()),
                limit: Some(50),
                ..api::HostFilter::default()
            };
            found.hosts = self.host_list(caller, &filter).await?.items;
        }
        Ok(found)
    }

    /// Finds the resource with this id; `None` if there is none that the caller may read.
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

/// Returns `true` if the caller can read the resource; passes other errors on.
fn known<T>(shown: Result<T>) -> Result<bool> {
    match shown {
        Ok(_) => Ok(true),
        Err(Error::NotFound { .. } | Error::Forbidden(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
