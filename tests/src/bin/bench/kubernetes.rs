//! Baseline on Kubernetes: Chainpool's objects, recreated through the API alone.

use crate::platform_time::{Clock, PlatformTime, blocks};
use anyhow::{Context, Result};
use chainpool_api::Cluster;
use chainpool_tests::{Engine, within};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Kinds of a namespace's objects, in the order of their creation.
const KINDS: [(&str, &str); 6] = [
    ("", "Secret"),
    ("", "PersistentVolumeClaim"),
    ("", "Service"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("policy", "PodDisruptionBudget"),
    ("apps", "StatefulSet"),
];
const BENCH_LABEL: &str = "chainpool.bench";
const INSTANCE: &str = "chainpool.instance";
/// Namespaces created concurrently.
const AT_ONCE: usize = 8;
const LIMIT: Duration = Duration::from_mins(5);

/// Namespaces to create, with their objects.
pub(crate) struct Baseline {
    client: Client,
    run_id: String,
    namespaces: BTreeMap<String, (Value, Vec<(ApiResource, DynamicObject)>)>,
}

impl Baseline {
    /// Reads the objects of Chainpool's clusters.
    pub(crate) async fn like(kubeconfig: &str, clusters: &[Cluster]) -> Result<Self> {
        let config =
            Config::from_custom_kubeconfig(Kubeconfig::from_yaml(kubeconfig)?, &KubeConfigOptions::default())
                .await?;
        let client = Client::try_from(config)?;
        let run_id = uuid::Uuid::new_v4().to_string();
        let mut namespaces = BTreeMap::new();
        for cluster in clusters {
            let name = Engine::network(cluster);
            let namespace = Api::<Namespace>::all(client.clone()).get(&name).await?;
            let instance = namespace
                .labels()
                .get(INSTANCE)
                .context("a namespace of ours names its instance")?
                .clone();
            let copy = without_assigned_fields(&serde_json::to_value(&namespace)?, &instance, &run_id)?;
            let mut objects = Vec::new();
            for (group, kind) in KINDS {
                let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
                let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &name, &resource);
                for object in api.list(&ListParams::default().labels(INSTANCE)).await? {
                    let object =
                        without_assigned_fields(&serde_json::to_value(&object)?, &instance, &run_id)?;
                    objects.push((resource.clone(), serde_json::from_value(object)?));
                }
            }
            namespaces.insert(name, (copy, objects));
        }
        Ok(Self {
            client,
            run_id,
            namespaces,
        })
    }

    /// Creates all objects and measures the time.
    pub(crate) async fn platform_time(&self, addresses: &[String]) -> Result<PlatformTime> {
        let clock = Clock::start();
        let created = stream::iter(&self.namespaces)
            .map(|(name, (namespace, objects))| self.create(name, namespace, objects));
        created.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        self.all_ready(addresses.len()).await?;
        let started = clock.seconds();
        blocks(addresses, 0).await?;
        Ok(PlatformTime {
            started,
            block: clock.seconds(),
            what: "the same objects by its API, eight namespaces at once, to the last pod ready",
        })
    }

    async fn create(
        &self,
        name: &str,
        namespace: &Value,
        objects: &[(ApiResource, DynamicObject)],
    ) -> Result<()> {
        let options = PostParams::default();
        Api::<Namespace>::all(self.client.clone())
            .create(&options, &serde_json::from_value(namespace.clone())?)
            .await?;
        for (resource, object) in objects {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), name, resource);
            api.create(&options, object)
                .await
                .with_context(|| format!("{} {}", resource.kind, object.name_any()))?;
        }
        Ok(())
    }

    async fn all_ready(&self, pods: usize) -> Result<()> {
        let api = Api::<Pod>::all(self.client.clone());
        let ours = ListParams::default().labels(&format!("{INSTANCE}={}", self.run_id));
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions
                .into_iter()
                .flatten()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        within(LIMIT, "all pods to be ready", async || {
            let ready = api.list(&ours).await?.iter().filter(|pod| is_ready(pod)).count();
            Ok(if ready == pods {
                Ok(())
            } else {
                Err(format!("{ready} of {pods} are ready"))
            })
        })
        .await
    }

    /// Removes all created objects and waits until they are gone.
    pub(crate) async fn clear(&self) -> Result<()> {
        let api = Api::<Namespace>::all(self.client.clone());
        let ours = ListParams::default().labels(&format!("{BENCH_LABEL}={}", self.run_id));
        for namespace in api.list(&ours).await? {
            api.delete(&namespace.name_any(), &DeleteParams::default())
                .await?;
        }
        within(LIMIT, "the deletion of the namespaces", async || {
            let left = api.list(&ours).await?.items.len();
            Ok(if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} are left"))
            })
        })
        .await
    }
}

/// Copies an object for another instance, without the fields that the API server assigned.
fn without_assigned_fields(object: &Value, instance: &str, run_id: &str) -> Result<Value> {
    let mut object: Value = serde_json::from_str(&object.to_string().replace(instance, run_id))?;
    let fields = object.as_object_mut().context("an object")?;
    fields.remove("status");
    let metadata = fields
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .context("it has metadata")?;
    metadata.retain(|name, _| ["name", "namespace", "labels"].contains(&name.as_str()));
    metadata["labels"][BENCH_LABEL] = Value::from(run_id);
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        for assigned in ["clusterIP", "clusterIPs", "volumeName", "finalizers"] {
            spec.remove(assigned);
        }
    }
    Ok(object)
}
