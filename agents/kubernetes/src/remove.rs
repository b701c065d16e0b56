//! Deletion by label and uid, until a list shows that nothing is left.

use crate::{
    KubernetesAgent,
    apply::{NamespacedObject, labels_of},
    filter::params,
    server::{CALL, SETTLE, Server, wait_for_retry},
};
use chainpool_agent::{
    ClusterId, ClusterKey, Error, Generation, LabelFilter, NodeName, Result, Volumes, absent_is_fine,
    network_name,
};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{
        Namespace, NamespaceCondition, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service,
    },
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
};
use std::collections::BTreeSet;
use tokio::time::Instant;

impl KubernetesAgent {
    /// Deletes one node.
    pub(crate) async fn node_remove(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        volumes: Volumes,
    ) -> Result<()> {
        let filter = LabelFilter::node(self.instance, key, node);
        self.namespace_empty(&network_name(key), &filter, volumes == Volumes::Purge)
            .await
    }

    /// Deletes a cluster up to and including one generation. Namespaces are emptied first: deletion of a
    /// namespace with pods takes 10 s or more. An empty namespace that an unavailable API blocks is not
    /// waited for: no later generation has its name, and Kubernetes deletes it once that API is repaired or
    /// removed.
    pub(crate) async fn cluster_remove(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        let filter = LabelFilter::cluster(self.instance, cluster);
        let deadline = Instant::now() + SETTLE;
        let api: Api<Namespace> = self.server.all()?;
        let mut removed = BTreeSet::new();
        loop {
            let list = self
                .server
                .call(CALL, api.list(&params(&filter)))
                .await
                .map_err(|f| f.into_error("list namespaces"))?;
            let namespaces: Vec<_> = list
                .items
                .into_iter()
                .filter(|ns| labels_of(ns).is_some_and(|labels| labels.generation <= through))
                .collect();
            if namespaces.is_empty() {
                // A pull of its image may have been interrupted.
                self.pull_namespace_delete().await?;
                return self.volumes_wait_deleted(&removed, cluster, through).await;
            }
            for namespace in namespaces
                .iter()
                .filter(|ns| ns.metadata.deletion_timestamp.is_none())
            {
                let name = namespace.name_any();
                self.namespace_empty(&name, &filter, true).await?;
                self.check_no_foreign_objects(&name).await?;
                delete(&self.server, &api, &name, namespace.uid()).await?;
            }
            removed.extend(namespaces.iter().map(ResourceExt::name_any));
            if namespaces.iter().all(is_blocked_by_unavailable_api) {
                for namespace in &namespaces {
                    self.namespace_empty(&namespace.name_any(), &filter, true).await?;
                    tracing::warn!(namespace = %namespace.name_any(), reason = deletion_blocker_text(namespace), "deletion of an empty namespace is blocked; not waiting for it");
                }
                return self.volumes_wait_deleted(&removed, cluster, through).await;
            }
            if !wait_for_retry(deadline).await {
                let name = |ns: &Namespace| {
                    format!(
                        "the namespace {} is still being deleted{}",
                        ns.name_any(),
                        deletion_blocker_text(ns)
                    )
                };
                return Err(Error::Busy(
                    namespaces.iter().map(name).collect::<Vec<_>>().join("; "),
                ));
            }
        }
    }

    /// Refuses to delete an emptied namespace with foreign objects, which would be deleted with it.
    async fn check_no_foreign_objects(&self, namespace: &str) -> Result<()> {
        let server = &self.server;
        let (sets, jobs, pods, services, policies, budgets, claims) = tokio::try_join!(
            server.list_names::<StatefulSet>(namespace),
            server.list_names::<Job>(namespace),
            server.list_names::<Pod>(namespace),
            server.list_names::<Service>(namespace),
            server.list_names::<NetworkPolicy>(namespace),
            server.list_names::<PodDisruptionBudget>(namespace),
            server.list_names::<PersistentVolumeClaim>(namespace),
        )?;
        let others = [sets, jobs, pods, services, policies, budgets, claims].concat();
        if others.is_empty() {
            Ok(())
        } else {
            Err(Error::Foreign(format!(
                "{} in the namespace {namespace}",
                others.join(", ")
            )))
        }
    }

    /// Deletes all objects with these labels in a namespace and waits until none is left. Stateful sets and
    /// jobs go first, because they would recreate their pods.
    async fn namespace_empty(&self, namespace: &str, filter: &LabelFilter, volumes: bool) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        let server = &self.server;
        loop {
            let (sets, jobs) = tokio::try_join!(
                server.delete_matching::<StatefulSet>(namespace, filter),
                server.delete_matching::<Job>(namespace, filter)
            )?;
            let (pods, services, policies, budgets, ()) = tokio::try_join!(
                server.delete_matching::<Pod>(namespace, filter),
                server.delete_matching::<Service>(namespace, filter),
                server.delete_matching::<NetworkPolicy>(namespace, filter),
                server.delete_matching::<PodDisruptionBudget>(namespace, filter),
                self.secrets_delete(namespace, filter),
            )?;
            let claims = if volumes {
                server
                    .delete_matching::<PersistentVolumeClaim>(namespace, filter)
                    .await?
            } else {
                Vec::new()
            };
            let left = [sets, jobs, pods, services, policies, budgets, claims].concat();
            if left.is_empty() {
                return Ok(());
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!(
                    "still being deleted in {namespace}: {}",
                    left.join(", ")
                )));
            }
        }
    }

    /// Deletes secrets without listing them: Chainpool may not read them.
    async fn secrets_delete(&self, namespace: &str, filter: &LabelFilter) -> Result<()> {
        let api: Api<Secret> = self.server.within(namespace)?;
        let (params, matching) = (DeleteParams::default(), params(filter));
        absent_is_fine(
            self.server
                .call(CALL, api.delete_collection(&params, &matching))
                .await,
        )
        .map_err(|f| f.into_error(&format!("delete the secrets in {namespace}")))
    }

    /// Waits until the volumes of the claims are deleted too, and with them all data of the lease holder.
    /// Waits for the volumes of namespaces deleted now, and for released volumes of previous calls.
    async fn volumes_wait_deleted(
        &self,
        removed: &BTreeSet<String>,
        cluster: ClusterId,
        through: Generation,
    ) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        let api: Api<PersistentVolume> = self.server.all()?;
        let waits_for = |volume: &PersistentVolume| {
            let namespace = volume
                .spec
                .as_ref()
                .and_then(|s| s.claim_ref.as_ref())
                .and_then(|c| c.namespace.as_deref())
                .unwrap_or_default();
            let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
            let is_old = || generation_of(namespace, cluster).is_some_and(|generation| generation <= through);
            removed.contains(namespace) || (matches!(phase, Some("Released" | "Failed")) && is_old())
        };
        loop {
            let list = self
                .server
                .call(CALL, api.list(&ListParams::default()))
                .await
                .map_err(|f| f.into_error("list persistent volumes"))?;
            let left: Vec<_> = list.items.into_iter().filter(waits_for).collect();
            let Some(volume) = left.first() else { return Ok(()) };
            if let Some(kept) = left.iter().find(|v| {
                v.spec
                    .as_ref()
                    .and_then(|s| s.persistent_volume_reclaim_policy.as_deref())
                    != Some("Delete")
            }) {
                return Err(Error::Refused(format!(
                    "the persistent volume {} keeps its data (its reclaim policy is not Delete): delete it manually",
                    kept.name_any()
                )));
            }
            if !wait_for_retry(deadline).await {
                let reason = volume
                    .status
                    .as_ref()
                    .and_then(|s| s.message.clone())
                    .unwrap_or_else(|| "its provisioner has not deleted it yet".to_owned());
                return Err(Error::Busy(format!(
                    "the persistent volume {} still exists: {reason}",
                    volume.name_any()
                )));
            }
        }
    }
}

/// Conditions of a terminating namespace, the root cause first (Kubernetes: `NamespaceConditionType`). The
/// first two mean that the API server cannot list all objects, because an aggregated API is unavailable.
const DELETION_CONDITIONS: [&str; 5] = [
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
];

/// The active condition that is nearest to the cause.
fn deletion_blocker(namespace: &Namespace) -> Option<&NamespaceCondition> {
    let conditions = namespace.status.as_ref()?.conditions.as_ref()?;
    DELETION_CONDITIONS.iter().find_map(|kind| {
        conditions
            .iter()
            .find(|condition| condition.type_ == *kind && condition.status == "True")
    })
}

/// The reason why a namespace still exists, as the end of a sentence; empty if Kubernetes reports none.
pub(crate) fn deletion_blocker_text(namespace: &Namespace) -> String {
    deletion_blocker(namespace).map_or_else(String::new, |condition| {
        let reason = condition.reason.as_deref().unwrap_or(&condition.type_);
        format!(
            ": {}",
            condition
                .message
                .as_deref()
                .filter(|text| !text.is_empty())
                .unwrap_or(reason)
        )
    })
}

/// Returns true if only an unavailable API blocks the deletion of a namespace.
fn is_blocked_by_unavailable_api(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
        && deletion_blocker(namespace)
            .is_some_and(|cause| DELETION_CONDITIONS[..2].contains(&cause.type_.as_str()))
}

/// The generation of this cluster in the name of a namespace.
fn generation_of(namespace: &str, cluster: ClusterId) -> Option<Generation> {
    let generation = namespace.rsplit_once('-')?.1.parse().ok()?;
    (network_name(&ClusterKey { cluster, generation }) == namespace).then_some(generation)
}

impl Server {
    /// Requests deletion of all objects with these labels. Returns the names of those listed before.
    async fn delete_matching<K: NamespacedObject>(
        &self,
        namespace: &str,
        filter: &LabelFilter,
    ) -> Result<Vec<String>> {
        let api: Api<K> = self.within(namespace)?;
        let kind = K::plural(&());
        let list = self
            .call(CALL, api.list_metadata(&params(filter)))
            .await
            .map_err(|f| f.into_error(&format!("list {kind}")))?;
        for object in list
            .items
            .iter()
            .filter(|object| object.metadata.deletion_timestamp.is_none())
        {
            delete(self, &api, &object.name_any(), object.uid()).await?;
        }
        Ok(list
            .items
            .iter()
            .map(|object| format!("{kind}/{}", object.name_any()))
            .collect())
    }

    async fn list_names<K: NamespacedObject>(&self, namespace: &str) -> Result<Vec<String>> {
        let api: Api<K> = self.within(namespace)?;
        let kind = K::plural(&());
        let list = self
            .call(CALL, api.list_metadata(&ListParams::default()))
            .await
            .map_err(|f| f.into_error(&format!("list {kind}")))?;
        Ok(list
            .items
            .iter()
            .map(|object| format!("{kind}/{}", object.name_any()))
            .collect())
    }

    /// Deletes an object that the node's current spec no longer has, if it belongs to the node.
    pub(crate) async fn delete_owned<K: NamespacedObject>(
        &self,
        namespace: &str,
        name: &str,
        node: &NodeName,
    ) -> Result<()> {
        let api: Api<K> = self.within(namespace)?;
        let found = self
            .call(CALL, api.get_metadata_opt(name))
            .await
            .map_err(|f| f.into_error(&format!("get {name}")))?;
        match found {
            Some(found) if labels_of(&found).is_some_and(|labels| labels.node.as_ref() == Some(node)) => {
                delete(self, &api, name, found.uid()).await
            }
            _ => Ok(()),
        }
    }
}

/// Deletes the object with this uid. Its absence or replacement is not an error.
async fn delete<K>(server: &Server, api: &Api<K>, name: &str, uid: Option<String>) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    match server.call(CALL, api.delete(name, &params)).await {
        Err(error) if error.has_code(409) => Ok(()),
        other => absent_is_fine(other).map_err(|f| f.into_error(&format!("delete {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn namespace(conditions: &[(&str, &str, &str)]) -> Namespace {
        let condition = |(kind, status, message): &(&str, &str, &str)| json!({ "type": kind, "status": status, "message": message });
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        let metadata = json!({ "name": "cp-1-1", "deletionTimestamp": "2026-01-01T00:00:00Z" });
        serde_json::from_value(
            json!({ "metadata": metadata, "status": { "phase": "Terminating", "conditions": conditions } }),
        )
        .expect("a namespace")
    }

    const BROKEN: (&str, &str, &str) = (
        "NamespaceDeletionDiscoveryFailure",
        "True",
        "Discovery failed for some groups, 1 failing: v1beta1.metrics.k8s.io: stale",
    );

    #[test]
    fn a_namespace_blocked_by_an_unavailable_api_is_recognized() {
        let blocked = namespace(&[
            (
                "NamespaceContentRemaining",
                "True",
                "pods. has 1 resource instances",
            ),
            BROKEN,
        ]);
        assert!(is_blocked_by_unavailable_api(&blocked));
        assert_eq!(
            deletion_blocker_text(&blocked),
            ": Discovery failed for some groups, 1 failing: v1beta1.metrics.k8s.io: stale"
        );
        let mut alive = blocked;
        alive.metadata.deletion_timestamp = None;
        assert!(!is_blocked_by_unavailable_api(&alive));
    }

    #[test]
    fn remaining_content_is_not_blocked_by_an_api() {
        let resolved = (BROKEN.0, "False", "All resources successfully discovered");
        let with_content = namespace(&[
            resolved,
            (
                "NamespaceFinalizersRemaining",
                "True",
                "example.org/f in 1 resource instances",
            ),
            (
                "NamespaceContentRemaining",
                "True",
                "widgets.example.org has 1 resource instances",
            ),
        ]);
        assert!(!is_blocked_by_unavailable_api(&with_content));
        assert_eq!(
            deletion_blocker_text(&with_content),
            ": widgets.example.org has 1 resource instances"
        );
        assert_eq!(
            (
                deletion_blocker_text(&namespace(&[resolved])),
                is_blocked_by_unavailable_api(&namespace(&[]))
            ),
            (String::new(), false)
        );
    }
}
