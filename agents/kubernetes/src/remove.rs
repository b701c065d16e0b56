//! Removal: by label and uid, until a listing shows that nothing is left.

use crate::{
    KubernetesAgent,
    apply::{Part, labels_of},
    observe::Filter,
    server::{CALL, SETTLE, Server, absent_is_fine, look_again},
};
use chainpool_agent::{
    ClusterId, ClusterKey, Error, Generation, LABEL_GENERATION, LABEL_NODE, NodeName, Result, Volumes,
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
    /// Removes one node.
    pub(crate) async fn node_remove(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        volumes: Volumes,
    ) -> Result<()> {
        let filter = Filter::cluster(self.instance, key.cluster)
            .and(LABEL_GENERATION, &key.generation)
            .and(LABEL_NODE, node);
        self.empty(&network_name(key), &filter, volumes == Volumes::Purge)
            .await
    }

    /// Removes everything of a cluster up to and including one generation. Its namespaces are emptied first: the cluster
    /// takes 10 s and more over the deletion of one that still holds pods. An empty one that a broken API of the cluster keeps is not
    /// waited for: no later generation has its name, and it goes when that API is mended or removed.
    pub(crate) async fn cluster_remove(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        let filter = Filter::cluster(self.instance, cluster);
        let deadline = Instant::now() + SETTLE;
        let api: Api<Namespace> = self.server.all()?;
        let mut removed = BTreeSet::new();
        loop {
            let list = self
                .server
                .call(CALL, api.list(&filter.params()))
                .await
                .map_err(|f| f.into_error("list its namespaces"))?;
            let doomed: Vec<_> = list
                .items
                .into_iter()
                .filter(|ns| labels_of(ns).is_some_and(|labels| labels.generation <= through))
                .collect();
            if doomed.is_empty() {
                // Whoever pulled its image may have been cut off.
                self.pulling_end().await?;
                return self.volumes_gone(&removed, cluster, through).await;
            }
            for namespace in doomed
                .iter()
                .filter(|ns| ns.metadata.deletion_timestamp.is_none())
            {
                let name = namespace.name_any();
                self.empty(&name, &filter, true).await?;
                self.only_ours(&name).await?;
                delete(&self.server, &api, &name, namespace.uid()).await?;
            }
            removed.extend(doomed.iter().map(ResourceExt::name_any));
            if doomed.iter().all(is_kept_by_an_api) {
                for namespace in &doomed {
                    self.empty(&namespace.name_any(), &filter, true).await?;
                    tracing::warn!(namespace = %namespace.name_any(), why = why_it_stays(namespace), "an empty namespace stays for now");
                }
                return self.volumes_gone(&removed, cluster, through).await;
            }
            if !look_again(deadline).await {
                let name = |ns: &Namespace| {
                    format!(
                        "the namespace {} is still being removed{}",
                        ns.name_any(),
                        why_it_stays(ns)
                    )
                };
                return Err(Error::Busy(
                    doomed.iter().map(name).collect::<Vec<_>>().join("; "),
                ));
            }
        }
    }

    /// Sees that an emptied namespace holds nothing of anybody else, which would go with it.
    async fn only_ours(&self, namespace: &str) -> Result<()> {
        let server = &self.server;
        let (sets, jobs, pods, services, policies, budgets, claims) = tokio::try_join!(
            server.names::<StatefulSet>(namespace),
            server.names::<Job>(namespace),
            server.names::<Pod>(namespace),
            server.names::<Service>(namespace),
            server.names::<NetworkPolicy>(namespace),
            server.names::<PodDisruptionBudget>(namespace),
            server.names::<PersistentVolumeClaim>(namespace),
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

    /// Removes what carries these labels in a namespace until nothing does; stateful sets and jobs first, else they make their
    /// pods anew.
    async fn empty(&self, namespace: &str, filter: &Filter, volumes: bool) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        let server = &self.server;
        loop {
            let (sets, jobs) = tokio::try_join!(
                server.sweep::<StatefulSet>(namespace, filter),
                server.sweep::<Job>(namespace, filter)
            )?;
            let (pods, services, policies, budgets, ()) = tokio::try_join!(
                server.sweep::<Pod>(namespace, filter),
                server.sweep::<Service>(namespace, filter),
                server.sweep::<NetworkPolicy>(namespace, filter),
                server.sweep::<PodDisruptionBudget>(namespace, filter),
                self.secrets_remove(namespace, filter),
            )?;
            let claims = if volumes {
                server.sweep::<PersistentVolumeClaim>(namespace, filter).await?
            } else {
                Vec::new()
            };
            let left = [sets, jobs, pods, services, policies, budgets, claims].concat();
            if left.is_empty() {
                return Ok(());
            }
            if !look_again(deadline).await {
                return Err(Error::Busy(format!(
                    "not all of {} in {namespace} could be removed",
                    left.join(", ")
                )));
            }
        }
    }

    /// Secrets are removed without being listed: Chainpool may not read them.
    async fn secrets_remove(&self, namespace: &str, filter: &Filter) -> Result<()> {
        let api: Api<Secret> = self.server.within(namespace)?;
        let (params, ours) = (DeleteParams::default(), filter.params());
        absent_is_fine(
            self.server
                .call(CALL, api.delete_collection(&params, &ours))
                .await,
        )
        .map_err(|f| f.into_error(&format!("remove the secrets of {namespace}")))
    }

    /// Waits until the disks behind the claims are gone too: only then is nothing left of what a holder wrote. Those of the
    /// namespaces just removed are waited for; of earlier calls, those that are known to have lost their claim.
    async fn volumes_gone(
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
            let old = || generation_of(namespace, cluster).is_some_and(|generation| generation <= through);
            removed.contains(namespace) || (matches!(phase, Some("Released" | "Failed")) && old())
        };
        loop {
            let list = self
                .server
                .call(CALL, api.list(&ListParams::default()))
                .await
                .map_err(|f| f.into_error("list its volumes"))?;
            let left: Vec<_> = list.items.into_iter().filter(waits_for).collect();
            let Some(volume) = left.first() else { return Ok(()) };
            if let Some(kept) = left.iter().find(|v| {
                v.spec
                    .as_ref()
                    .and_then(|s| s.persistent_volume_reclaim_policy.as_deref())
                    != Some("Delete")
            }) {
                return Err(Error::Refused(format!(
                    "the volume {} keeps its data (its reclaim policy is not Delete): remove it by hand",
                    kept.name_any()
                )));
            }
            if !look_again(deadline).await {
                let words = volume
                    .status
                    .as_ref()
                    .and_then(|s| s.message.clone())
                    .unwrap_or_else(|| "its provisioner has not removed it yet".to_owned());
                return Err(Error::Busy(format!(
                    "the volume {} is still there: {words}",
                    volume.name_any()
                )));
            }
        }
    }
}

/// Conditions of a namespace that is being removed, the innermost cause first (Kubernetes: `NamespaceConditionType`). The first two say
/// that the API server cannot list everything there, because an aggregated API does not answer.
const STAYS: [&str; 5] = [
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
];

/// The condition that holds and is the nearest to the cause.
fn cause_of_stay(namespace: &Namespace) -> Option<&NamespaceCondition> {
    let conditions = namespace.status.as_ref()?.conditions.as_ref()?;
    STAYS.iter().find_map(|kind| {
        conditions
            .iter()
            .find(|condition| condition.type_ == *kind && condition.status == "True")
    })
}

/// Why a namespace is still there, as the end of a sentence; empty when the cluster gives no reason.
pub(crate) fn why_it_stays(namespace: &Namespace) -> String {
    cause_of_stay(namespace).map_or_else(String::new, |condition| {
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

/// Whether a namespace is being removed and stays only because an API of the cluster does not answer.
fn is_kept_by_an_api(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
        && cause_of_stay(namespace).is_some_and(|cause| STAYS[..2].contains(&cause.type_.as_str()))
}

/// The generation of a cluster whose namespace has this name.
fn generation_of(namespace: &str, cluster: ClusterId) -> Option<Generation> {
    let generation = namespace.rsplit_once('-')?.1.parse().ok()?;
    (network_name(&ClusterKey { cluster, generation }) == namespace).then_some(generation)
}

impl Server {
    /// Asks for the removal of what carries these labels; returns the names of what the listing before it showed.
    async fn sweep<K: Part>(&self, namespace: &str, filter: &Filter) -> Result<Vec<String>> {
        let api: Api<K> = self.within(namespace)?;
        let kind = K::plural(&());
        let list = self
            .call(CALL, api.list_metadata(&filter.params()))
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

    async fn names<K: Part>(&self, namespace: &str) -> Result<Vec<String>> {
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

    /// Removes an object of a node that the node's present spec has no more; one that is not the node's stays.
    pub(crate) async fn drop_ours<K: Part>(
        &self,
        namespace: &str,
        name: &str,
        node: &NodeName,
    ) -> Result<()> {
        let api: Api<K> = self.within(namespace)?;
        let found = self
            .call(CALL, api.get_metadata_opt(name))
            .await
            .map_err(|f| f.into_error(&format!("show {name}")))?;
        match found {
            Some(found) if labels_of(&found).is_some_and(|labels| labels.node.as_ref() == Some(node)) => {
                delete(self, &api, name, found.uid()).await
            }
            _ => Ok(()),
        }
    }
}

/// Removes exactly the object that was seen; one that is gone, or another in its place, is no error.
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
        Err(fault) if fault.is(409) => Ok(()),
        other => absent_is_fine(other).map_err(|f| f.into_error(&format!("remove {name}"))),
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
    fn a_namespace_that_a_broken_api_keeps_is_known_with_its_cause() {
        let kept = namespace(&[
            (
                "NamespaceContentRemaining",
                "True",
                "pods. has 1 resource instances",
            ),
            BROKEN,
        ]);
        assert!(is_kept_by_an_api(&kept));
        assert_eq!(
            why_it_stays(&kept),
            ": Discovery failed for some groups, 1 failing: v1beta1.metrics.k8s.io: stale"
        );
        let mut alive = kept;
        alive.metadata.deletion_timestamp = None;
        assert!(!is_kept_by_an_api(&alive));
    }

    #[test]
    fn one_that_still_holds_something_is_waited_for() {
        let ended = (BROKEN.0, "False", "All resources successfully discovered");
        let holds = namespace(&[
            ended,
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
        assert!(!is_kept_by_an_api(&holds));
        assert_eq!(
            why_it_stays(&holds),
            ": widgets.example.org has 1 resource instances"
        );
        assert_eq!(
            (
                why_it_stays(&namespace(&[ended])),
                is_kept_by_an_api(&namespace(&[]))
            ),
            (String::new(), false)
        );
    }
}
