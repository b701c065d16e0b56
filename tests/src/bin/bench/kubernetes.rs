//! The objects that Chainpool made on Kubernetes, made again by its API alone.

use crate::platforms::{Clock, OwnTime, blocks};
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

/// The kinds of a namespace's objects, in the order in which they are made.
const KINDS: [(&str, &str); 6] = [
    ("", "Secret"),
    ("", "PersistentVolumeClaim"),
    ("", "Service"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("policy", "PodDisruptionBudget"),
    ("apps", "StatefulSet"),
];
const MARK: &str = "chainpool.bench";
const INSTANCE: &str = "chainpool.instance";
/// Namespaces that are worked on at once.
const AT_ONCE: usize = 8;
const LIMIT: Duration = Duration::from_mins(5);

/// What is to be made: namespaces with their objects.
pub(crate) struct Hand {
    client: Client,
    mark: String,
    namespaces: BTreeMap<String, (Value, Vec<(ApiResource, DynamicObject)>)>,
}

impl Hand {
    /// Looks at the objects of clusters that Chainpool made.
    pub(crate) async fn like(kubeconfig: &str, clusters: &[Cluster]) -> Result<Self> {
        let config =
            Config::from_custom_kubeconfig(Kubeconfig::from_yaml(kubeconfig)?, &KubeConfigOptions::default())
                .await?;
        let client = Client::try_from(config)?;
        let mark = uuid::Uuid::new_v4().to_string();
        let mut namespaces = BTreeMap::new();
        for cluster in clusters {
            let name = Engine::network(cluster);
            let namespace = Api::<Namespace>::all(client.clone()).get(&name).await?;
            let instance = namespace
                .labels()
                .get(INSTANCE)
                .context("a namespace of ours names its instance")?
                .clone();
            let made = bare(&serde_json::to_value(&namespace)?, &instance, &mark)?;
            let mut objects = Vec::new();
            for (group, kind) in KINDS {
                let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
                let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &name, &resource);
                for object in api.list(&ListParams::default().labels(INSTANCE)).await? {
                    let object = bare(&serde_json::to_value(&object)?, &instance, &mark)?;
                    objects.push((resource.clone(), serde_json::from_value(object)?));
                }
            }
            namespaces.insert(name, (made, objects));
        }
        Ok(Self {
            client,
            mark,
            namespaces,
        })
    }

    /// Makes all of them.
    pub(crate) async fn own_time(&self, addresses: &[String]) -> Result<OwnTime> {
        let clock = Clock::start();
        let made = stream::iter(&self.namespaces)
            .map(|(name, (namespace, objects))| self.make(name, namespace, objects));
        made.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        self.all_ready(addresses.len()).await?;
        let started = clock.seconds();
        blocks(addresses, 0).await?;
        Ok(OwnTime {
            started,
            block: clock.seconds(),
            what: "the same objects by its API, eight namespaces at once, to the last pod ready",
        })
    }

    async fn make(
        &self,
        name: &str,
        namespace: &Value,
        objects: &[(ApiResource, DynamicObject)],
    ) -> Result<()> {
        let given = PostParams::default();
        Api::<Namespace>::all(self.client.clone())
            .create(&given, &serde_json::from_value(namespace.clone())?)
            .await?;
        for (resource, object) in objects {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), name, resource);
            api.create(&given, object)
                .await
                .with_context(|| format!("{} {}", resource.kind, object.name_any()))?;
        }
        Ok(())
    }

    async fn all_ready(&self, pods: usize) -> Result<()> {
        let api = Api::<Pod>::all(self.client.clone());
        let ours = ListParams::default().labels(&format!("{INSTANCE}={}", self.mark));
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions
                .into_iter()
                .flatten()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        within(LIMIT, "the pods", async || {
            let ready = api.list(&ours).await?.iter().filter(|pod| is_ready(pod)).count();
            Ok(if ready == pods {
                Ok(())
            } else {
                Err(format!("{ready} of {pods} are ready"))
            })
        })
        .await
    }

    /// Removes what was made, and sees it go.
    pub(crate) async fn clear(&self) -> Result<()> {
        let api = Api::<Namespace>::all(self.client.clone());
        let ours = ListParams::default().labels(&format!("{MARK}={}", self.mark));
        for namespace in api.list(&ours).await? {
            api.delete(&namespace.name_any(), &DeleteParams::default())
                .await?;
        }
        within(LIMIT, "the end of the namespaces", async || {
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

/// An object without what the API server gave it, as another instance's.
fn bare(object: &Value, instance: &str, mark: &str) -> Result<Value> {
    let mut object: Value = serde_json::from_str(&object.to_string().replace(instance, mark))?;
    let fields = object.as_object_mut().context("an object")?;
    fields.remove("status");
    let metadata = fields
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .context("it has metadata")?;
    metadata.retain(|name, _| ["name", "namespace", "labels"].contains(&name.as_str()));
    metadata["labels"][MARK] = Value::from(mark);
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        for given in ["clusterIP", "clusterIPs", "volumeName", "finalizers"] {
            spec.remove(given);
        }
    }
    Ok(object)
}
