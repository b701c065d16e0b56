//! The test platform of the kit on Kubernetes.

use crate::bed::{self, Bed, run_script};
use anyhow::{Context, Result};
use async_trait::async_trait;
use chainpool_agent::{
    Agent, ClusterKey, Connection, InstanceId, LABEL_INSTANCE, NetworkSpec, NodeSpec, ObjectKind, Scope,
    Secret,
    kit::{Foreign, Interference, TestPlatform, TestPlatformResult},
    network_name, volume_name,
};
use chainpool_agent_kubernetes::KubernetesAgent;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret as KubeSecret, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The column of the table.
pub(crate) const NAME: &str = "Kubernetes";

pub(crate) struct KubernetesTestPlatform {
    bed: Bed,
    ports: AtomicU16,
}

impl KubernetesTestPlatform {
    pub(crate) fn new(bed: Bed) -> Self {
        Self {
            bed,
            ports: AtomicU16::new(0),
        }
    }

    pub(crate) fn close(self) -> Result<()> {
        self.bed.close()
    }

    /// The API of a kind; `id` is `NAMESPACE/NAME`, or the name of a namespace.
    fn api<'a>(&self, kind: ObjectKind, id: &'a str) -> (Api<DynamicObject>, &'a str) {
        let resource = match kind {
            ObjectKind::Node => ApiResource::erase::<StatefulSet>(&()),
            ObjectKind::Job => ApiResource::erase::<Job>(&()),
            ObjectKind::Network => ApiResource::erase::<Namespace>(&()),
            ObjectKind::Volume => ApiResource::erase::<PersistentVolumeClaim>(&()),
            ObjectKind::Part => ApiResource::erase::<Service>(&()),
        };
        match id.split_once('/') {
            Some((namespace, name)) => (
                Api::namespaced_with(self.bed.admin.clone(), namespace, &resource),
                name,
            ),
            None => (Api::all_with(self.bed.admin.clone(), &resource), id),
        }
    }
}

#[async_trait]
impl TestPlatform for KubernetesTestPlatform {
    fn name(&self) -> &str {
        NAME
    }

    fn connect(&self, instance: InstanceId) -> chainpool_agent::Result<Arc<dyn Agent>> {
        Ok(Arc::new(KubernetesAgent::connect(
            &Connection {
                instance,
                address: self.bed.address.clone(),
                kubeconfig: Some(Secret::new(self.bed.kubeconfig.clone())),
                storage_class: None,
                tls: None,
                insecure: false,
                bind: "0.0.0.0".parse().expect("an address"),
                mirror: None,
                registry: None,
            },
            &bed::tools(),
        )?))
    }

    fn images(&self) -> Vec<String> {
        vec![self.bed.image.clone()]
    }

    fn network(&self) -> NetworkSpec {
        NetworkSpec { subnet: None }
    }

    fn port(&self) -> u16 {
        // The upper part of the range, from which a cluster allocates only when the lower part is used up.
        32_000 + self.ports.fetch_add(1, Ordering::Relaxed) % 700
    }

    async fn foreign_create(
        &self,
        kind: ObjectKind,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> TestPlatformResult<Option<Foreign>> {
        let namespace = network_name(key);
        let (name, spec) = match kind {
            ObjectKind::Network => (namespace.clone(), Value::Null),
            ObjectKind::Node => {
                let labels = json!({ "app": "foreign" });
                let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c", "image": self.bed.image }] } });
                (
                    node.name.to_string(),
                    json!({ "replicas": 0, "serviceName": "none", "selector": { "matchLabels": labels }, "template": template }),
                )
            }
            ObjectKind::Job => {
                let pod = json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": self.bed.image }] });
                (
                    node.name.to_string(),
                    json!({ "suspend": true, "template": { "spec": pod } }),
                )
            }
            ObjectKind::Volume => {
                let volume = &node.volumes.first().context("the node has no volume")?.name;
                let spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } } });
                (volume_name(key, &node.name, volume), spec)
            }
            ObjectKind::Part => (node.name.to_string(), json!({ "clusterIP": "None" })),
        };
        let id = if kind == ObjectKind::Network {
            name.clone()
        } else {
            format!("{namespace}/{name}")
        };
        let (api, _) = self.api(kind, &id);
        let object = serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec }))?;
        api.create(&PostParams::default(), &object).await?;
        Ok(Some(Foreign {
            kind,
            name: id.clone(),
            id,
        }))
    }

    async fn foreign_state(&self, foreign: &Foreign) -> TestPlatformResult<String> {
        let (api, name) = self.api(foreign.kind, &foreign.id);
        let found = api.get(name).await?;
        let meta = &found.metadata;
        // The cluster sets a status and its own labels soon after creation.
        let labels: Vec<_> = found
            .labels()
            .iter()
            .filter(|(key, _)| key.starts_with("chainpool") || key.starts_with("pod-security"))
            .collect();
        Ok(format!(
            "{:?} {:?} {labels:?} {:?} {}",
            meta.uid, meta.deletion_timestamp, meta.owner_references, found.data["spec"]
        ))
    }

    async fn foreign_remove(&self, foreign: &Foreign) -> TestPlatformResult<()> {
        let (api, name) = self.api(foreign.kind, &foreign.id);
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Objects cannot be renamed, and pods cannot leave their network.
    async fn interfere(
        &self,
        interference: Interference,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> TestPlatformResult<bool> {
        if interference != Interference::LoseVolume {
            return Ok(false);
        }
        let name = volume_name(
            key,
            &node.name,
            &node.volumes.first().context("the node has no volume")?.name,
        );
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.bed.admin.clone(), &network_name(key));
        claims.delete(&name, &DeleteParams::default()).await?;
        let deadline = Instant::now() + self.step_timeout();
        while claims.get_metadata_opt(&name).await?.is_some() {
            if Instant::now() > deadline {
                return Err(format!("the claim {name} still exists").into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(true)
    }

    /// Restarts the API server. It responds before it has loaded the RBAC rules.
    async fn restart(&self) -> TestPlatformResult<bool> {
        if !self.bed.ours {
            return Ok(false);
        }
        // As a restart of the machine does. Running components would back off longer before each reconnect.
        let all = [
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
        ];
        run_script(&[&["stop"][..], &all].concat())?;
        run_script(&["start", "kube-apiserver"])?;
        let agent = self.connect(InstanceId::new())?;
        let deadline = Instant::now() + Duration::from_mins(1);
        while let Err(error) = agent.observe(Scope::Host).await {
            if Instant::now() > deadline {
                return Err(error.into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        run_script(&[&["start"][..], &all].concat())?;
        Ok(true)
    }

    async fn leftovers(&self, instance: InstanceId) -> TestPlatformResult<Vec<String>> {
        let filter = ListParams::default().labels(&format!("{LABEL_INSTANCE}={instance}"));
        let mut left = Vec::new();
        macro_rules! count {
            ($($kind:ty),+) => {$(
                let list = Api::<$kind>::all(self.bed.admin.clone()).list_metadata(&filter).await?;
                left.extend(list.items.iter().map(|item| format!("{} {}", stringify!($kind), item.name_any())));
            )+};
        }
        count!(
            Namespace,
            StatefulSet,
            Job,
            Pod,
            Service,
            PersistentVolumeClaim,
            KubeSecret,
            NetworkPolicy,
            PodDisruptionBudget
        );
        Ok(left)
    }

    fn exempt(&self, promise: &str) -> Option<String> {
        let why = match promise {
            "process-limit" => {
                "Kubernetes limits processes by machine (the kubelet's podPidsLimit), not by pod"
            }
            "log-limit" => {
                "Kubernetes limits logs by machine (the kubelet's containerLogMaxSize), not by pod"
            }
            "log-streams" => "the API server merges both output streams of a container",
            _ => return None,
        };
        Some(why.to_owned())
    }

    fn concurrency(&self) -> usize {
        2
    }
}
