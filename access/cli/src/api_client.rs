//! Calls of the REST API, by resource.

use crate::{
    client::{ApiResponse, Client},
    exit::Result,
};
use chainpool_api as api;
use reqwest::{Method, Response};
use uuid::Uuid;

/// Query for lines of a node's log.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct LogQuery {
    pub(crate) tail: Option<u32>,
    pub(crate) since: Option<i64>,
    pub(crate) follow: bool,
}

impl Client {
    pub(crate) async fn host_list(
        &self,
        filter: &api::HostFilter,
        limit: u32,
    ) -> Result<ApiResponse<api::Page<api::Host>>> {
        self.pages(&["hosts"], filter, limit).await
    }

    pub(crate) async fn host_create(&self, new: &api::HostCreate) -> Result<ApiResponse<api::Host>> {
        self.post(&["hosts"], new).await
    }

    pub(crate) async fn host_show(&self, host: &str) -> Result<ApiResponse<api::Host>> {
        self.get(&["hosts", host]).await
    }

    pub(crate) async fn host_update(
        &self,
        host: &str,
        change: &api::HostUpdate,
    ) -> Result<ApiResponse<api::Host>> {
        self.document(self.request(Method::PATCH, &["hosts", host])?.json(change))
            .await
    }

    pub(crate) async fn host_delete(&self, host: &str, forget: &api::HostForget) -> Result<()> {
        self.done(self.request(Method::DELETE, &["hosts", host])?.query(forget))
            .await
    }

    /// `fillup`, `clean` or `reset`.
    pub(crate) async fn host_do(&self, host: &str, verb: &str) -> Result<ApiResponse<api::Operation>> {
        self.document(self.request(Method::POST, &["hosts", host, verb])?)
            .await
    }

    pub(crate) async fn host_adopt(
        &self,
        host: &str,
        adopt: &api::HostAdopt,
    ) -> Result<ApiResponse<api::Operation>> {
        self.post(&["hosts", host, "adopt"], adopt).await
    }

    pub(crate) async fn cluster_list(
        &self,
        filter: &api::ClusterFilter,
        limit: u32,
    ) -> Result<ApiResponse<api::Page<api::Cluster>>> {
        self.pages(&["clusters"], filter, limit).await
    }

    pub(crate) async fn cluster_create(
        &self,
        new: &api::ClusterCreate,
    ) -> Result<ApiResponse<api::Operation>> {
        self.post(&["clusters"], new).await
    }

    pub(crate) async fn cluster_show(&self, cluster: &str) -> Result<ApiResponse<api::Cluster>> {
        self.get(&["clusters", cluster]).await
    }

    pub(crate) async fn cluster_update(
        &self,
        cluster: &str,
        change: &api::ClusterUpdate,
    ) -> Result<ApiResponse<api::Cluster>> {
        self.document(self.request(Method::PATCH, &["clusters", cluster])?.json(change))
            .await
    }

    /// `start`, `stop` or `restart`, for the whole cluster or one node.
    pub(crate) async fn cluster_power(
        &self,
        cluster: &str,
        verb: &str,
        node: Option<&str>,
    ) -> Result<ApiResponse<api::Operation>> {
        self.document(
            self.request(Method::POST, &["clusters", cluster, verb])?
                .query(&[("node", node)]),
        )
        .await
    }

    pub(crate) async fn cluster_reset(
        &self,
        cluster: &str,
        force: bool,
    ) -> Result<ApiResponse<api::Operation>> {
        self.document(
            self.request(Method::POST, &["clusters", cluster, "reset"])?
                .query(&[("force", force)]),
        )
        .await
    }

    pub(crate) async fn cluster_delete(
        &self,
        cluster: &str,
        force: bool,
    ) -> Result<ApiResponse<api::Operation>> {
        self.document(
            self.request(Method::DELETE, &["clusters", cluster])?
                .query(&[("force", force)]),
        )
        .await
    }

    pub(crate) async fn cluster_amend(
        &self,
        cluster: &str,
        amend: &api::ClusterAmend,
    ) -> Result<ApiResponse<api::Operation>> {
        self.post(&["clusters", cluster, "amend"], amend).await
    }

    pub(crate) async fn cluster_prove(&self, cluster: &str) -> Result<ApiResponse<api::Operation>> {
        self.document(self.request(Method::POST, &["clusters", cluster, "prove"])?)
            .await
    }

    pub(crate) async fn cluster_health(
        &self,
        cluster: &str,
    ) -> Result<ApiResponse<api::Page<api::HealthChange>>> {
        self.get(&["clusters", cluster, "health"]).await
    }

    pub(crate) async fn cluster_logs(&self, cluster: &str, node: &str, query: &LogQuery) -> Result<Response> {
        self.send(
            self.request(Method::GET, &["clusters", cluster, "nodes", node, "logs"])?
                .query(query),
            None,
        )
        .await
    }

    pub(crate) async fn lease_list(
        &self,
        filter: &api::LeaseFilter,
        limit: u32,
    ) -> Result<ApiResponse<api::Page<api::Lease>>> {
        self.pages(&["leases"], filter, limit).await
    }

    pub(crate) async fn lease_apply(&self, apply: &api::Apply) -> Result<ApiResponse<api::Lease>> {
        self.post(&["leases"], apply).await
    }

    pub(crate) async fn lease_show(&self, lease: Uuid) -> Result<ApiResponse<api::Lease>> {
        self.get(&["leases", &lease.to_string()]).await
    }

    pub(crate) async fn lease_renew(
        &self,
        lease: Uuid,
        renew: &api::Renew,
    ) -> Result<ApiResponse<api::Lease>> {
        self.post(&["leases", &lease.to_string(), "renew"], renew).await
    }

    pub(crate) async fn lease_release(&self, lease: Uuid) -> Result<ApiResponse<api::Lease>> {
        self.document(self.request(Method::DELETE, &["leases", &lease.to_string()])?)
            .await
    }

    pub(crate) async fn lease_bundle(&self, lease: Uuid) -> Result<ApiResponse<api::Bundle>> {
        self.get(&["leases", &lease.to_string(), "bundle"]).await
    }

    pub(crate) async fn operation_list(
        &self,
        filter: &api::OperationFilter,
        limit: u32,
    ) -> Result<ApiResponse<api::Page<api::Operation>>> {
        self.pages(&["operations"], filter, limit).await
    }

    pub(crate) async fn operation_show(&self, operation: Uuid) -> Result<ApiResponse<api::Operation>> {
        self.get(&["operations", &operation.to_string()]).await
    }

    /// A stream of server-sent events: the operation, immediately and after every change.
    pub(crate) async fn operation_events(&self, operation: Uuid) -> Result<Response> {
        let request = self.request(Method::GET, &["operations", &operation.to_string(), "events"])?;
        self.send(request.header("accept", "text/event-stream"), None)
            .await
    }

    pub(crate) async fn account_list(&self) -> Result<ApiResponse<api::Page<api::Account>>> {
        self.get(&["accounts"]).await
    }

    pub(crate) async fn account_create(&self, new: &api::AccountCreate) -> Result<ApiResponse<api::Account>> {
        self.post(&["accounts"], new).await
    }

    pub(crate) async fn account_delete(&self, account: &str) -> Result<()> {
        self.done(self.request(Method::DELETE, &["accounts", account])?)
            .await
    }

    pub(crate) async fn account_reset_link(&self, account: &str) -> Result<ApiResponse<api::ResetLink>> {
        self.document(self.request(Method::POST, &["accounts", account, "reset-link"])?)
            .await
    }

    pub(crate) async fn token_list(&self) -> Result<ApiResponse<api::Page<api::Token>>> {
        self.get(&["tokens"]).await
    }

    pub(crate) async fn token_create(&self, new: &api::TokenCreate) -> Result<ApiResponse<api::TokenMade>> {
        self.post(&["tokens"], new).await
    }

    pub(crate) async fn token_delete(&self, token: Uuid) -> Result<()> {
        self.done(self.request(Method::DELETE, &["tokens", &token.to_string()])?)
            .await
    }

    pub(crate) async fn status(&self) -> Result<ApiResponse<api::Status>> {
        self.get(&["status"]).await
    }

    pub(crate) async fn resume(&self) -> Result<()> {
        self.done(self.request(Method::POST, &["resume"])?).await
    }

    /// The database, as a stream of bytes.
    pub(crate) async fn backup(&self) -> Result<Response> {
        self.send(self.request(Method::POST, &["backup"])?, None).await
    }

    pub(crate) async fn network_type_list(&self) -> Result<ApiResponse<api::Page<api::NetworkType>>> {
        self.get(&["network-types"]).await
    }
}
