//! Clusters.

use crate::{Caller, Orchestrator, Result};
use chainpool_api as api;
use chainpool_agent::{LogQuery, LogStream};

impl Orchestrator {
    /// Makes a cluster; places it when no host is named.
    pub async fn cluster_create(&self, caller: &Caller, new: api::ClusterCreate) -> Result<api::Operation> {
        todo!()
    }

    /// Lists clusters.
    pub async fn cluster_list(&self, filter: &api::ClusterFilter) -> Result<api::Page<api::Cluster>> {
        todo!()
    }

    /// One cluster by name or id, with nodes and evidence.
    pub async fn cluster_show(&self, caller: &Caller, cluster: &str) -> Result<api::Cluster> {
        todo!()
    }

    /// Changes a cluster's settings.
    pub async fn cluster_update(&self, caller: &Caller, cluster: &str, change: api::ClusterUpdate) -> Result<api::Cluster> {
        todo!()
    }

    /// Starts a stopped cluster, or one node.
    pub async fn cluster_start(&self, caller: &Caller, cluster: &str, node: Option<&str>) -> Result<api::Operation> {
        todo!()
    }

    /// Stops a cluster, or one node; data stays.
    pub async fn cluster_stop(&self, caller: &Caller, cluster: &str, node: Option<&str>) -> Result<api::Operation> {
        todo!()
    }

    /// Restarts a cluster, or one node.
    pub async fn cluster_restart(&self, caller: &Caller, cluster: &str, node: Option<&str>) -> Result<api::Operation> {
        todo!()
    }

    /// Wipes a cluster and makes it again; an applied one only by force, which ends its lease.
    pub async fn cluster_reset(&self, caller: &Caller, cluster: &str, force: bool) -> Result<api::Operation> {
        todo!()
    }

    /// Removes a cluster; an applied one only by force, which ends its lease.
    pub async fn cluster_delete(&self, caller: &Caller, cluster: &str, force: bool) -> Result<api::Operation> {
        todo!()
    }

    /// Commits a transaction and reads it back; the result holds the proof.
    pub async fn cluster_prove(&self, caller: &Caller, cluster: &str) -> Result<api::Operation> {
        todo!()
    }

    /// The history of verdicts, newest first.
    pub async fn cluster_health(&self, caller: &Caller, cluster: &str) -> Result<Vec<api::HealthChange>> {
        todo!()
    }

    /// A node's log.
    pub async fn cluster_logs(&self, caller: &Caller, cluster: &str, node: &str, query: LogQuery) -> Result<LogStream> {
        todo!()
    }
}
