//! The fixture of each test: its own instance on the cluster, and a leak check at the end.

use crate::bed::{self, Bed};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{
    Agent, Audience, ClusterId, ClusterKey, Connection, File, ImageRef, ImageRequest, InstanceId,
    LABEL_INSTANCE, Limits, LogConfig, LogQuery, NetworkSpec, NodeName, NodeSpec, NodeState, Port, Power,
    Protocol, Scope, Secret, SpecHash, Volume, network_name,
};
use chainpool_agent_kubernetes::KubernetesAgent;
use futures::TryStreamExt;
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod, Secret as KubeSecret, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

pub(crate) const RUN: Power = Power::On { after: None };
/// The end of a script: runs until SIGTERM.
pub(crate) const STAY: &str = "trap 'exit 0' TERM; while :; do busybox sleep 0.1; done";
/// The network of a platform that assigns addresses itself.
pub(crate) const ANY: NetworkSpec = NetworkSpec { subnet: None };

static PORTS: AtomicU16 = AtomicU16::new(31_000);

/// The fixture of one test.
pub(crate) struct Fixture<'b> {
    pub(crate) bed: &'b Bed,
    pub(crate) instance: InstanceId,
    pub(crate) agent: KubernetesAgent,
    pub(crate) image: ImageRef,
    /// Namespaces of another owner, which must still exist at the end.
    foreign: Mutex<Vec<String>>,
    /// Unavailable APIs that the test registered.
    broken_apis: Mutex<Vec<String>>,
}

pub(crate) fn key() -> ClusterKey {
    ClusterKey {
        cluster: ClusterId::new(),
        generation: 1,
    }
}

/// A port that no other test of this run uses.
pub(crate) fn port() -> u16 {
    PORTS.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("a node name")
}

pub(crate) fn file(path: &str, content: impl Into<Vec<u8>>) -> File {
    File {
        path: path.into(),
        content: Secret::new(content.into()),
        mode: 0o640,
        owner: (1000, 1001),
        secret: false,
        once: false,
    }
}

pub(crate) fn user_port(published: Option<u16>) -> Port {
    let audience = if published.is_some() {
        Audience::User
    } else {
        Audience::Control
    };
    Port {
        name: "rpc".into(),
        inside: 7000,
        protocol: Protocol::Tcp,
        audience,
        published,
    }
}

/// A node that runs a shell script, with a volume `data` at `/data`.
pub(crate) fn node(node: &str, script: &str) -> NodeSpec {
    NodeSpec {
        name: name(node),
        images: vec![],
        command: vec![
            "/bin/busybox".into(),
            "sh".into(),
            "-c".into(),
            format!("PATH=/bin; {script}"),
        ],
        user: Some("1000:1001".into()),
        env: BTreeMap::new(),
        files: vec![],
        volumes: vec![Volume {
            name: "data".into(),
            path: "/data".into(),
            shared: false,
        }],
        ports: vec![],
        limits: Limits {
            memory_bytes: 32 << 20,
            processes: 64,
            cpu_millis: None,
        },
        readiness: None,
        result: false,
        read_only_root: true,
        machine: None,
        log: LogConfig::default(),
        stop_signal: "SIGTERM".into(),
        stop_timeout: 2,
        hash: SpecHash("first".into()),
    }
}

/// The same with another hash.
pub(crate) fn second(mut node: NodeSpec) -> NodeSpec {
    node.hash = SpecHash("second".into());
    node
}

/// Waits for a condition, for up to a minute.
pub(crate) async fn eventually(description: &str, check: impl AsyncFn() -> Result<bool>) -> Result<()> {
    eventually_within(Duration::from_mins(1), description, check).await
}

pub(crate) async fn eventually_within(
    limit: Duration,
    description: &str,
    check: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !check().await? {
        ensure!(
            Instant::now() < deadline,
            "not within {} s: {description}",
            limit.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

impl<'b> Fixture<'b> {
    pub(crate) async fn open(bed: &'b Bed) -> Result<Self> {
        let instance = InstanceId::new();
        let agent = KubernetesAgent::connect(&connection(bed, instance), &bed::tools())?;
        let image = agent
            .ensure_image(&ImageRequest::of(std::slice::from_ref(&bed.image)))
            .await?;
        Ok(Self {
            bed,
            instance,
            agent,
            image,
            foreign: Mutex::default(),
            broken_apis: Mutex::default(),
        })
    }

    pub(crate) fn api<K>(&self, key: &ClusterKey) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.bed.admin.clone(), &network_name(key))
    }

    /// Creates a network and one running node.
    pub(crate) async fn start(&self, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
        self.agent.ensure_network(key, &ANY).await?;
        self.ensure(key, node, &RUN).await?;
        Ok(())
    }

    pub(crate) async fn ensure(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        power: &Power,
    ) -> chainpool_agent::Result<()> {
        self.agent.ensure_node(key, node, &self.image, power).await
    }

    pub(crate) async fn state(&self, key: &ClusterKey, node: &NodeSpec) -> Result<NodeState> {
        Ok(self
            .agent
            .observe(Scope::Cluster(key.cluster))
            .await?
            .node_state(key.generation, &node.name))
    }

    pub(crate) async fn wait_for_state(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        state: NodeState,
    ) -> Result<()> {
        eventually(&format!("{state:?}"), async || {
            Ok(self.state(key, node).await? == state)
        })
        .await
    }

    /// The log of a node.
    pub(crate) async fn log(&self, key: &ClusterKey, node: &NodeSpec) -> Result<String> {
        let lines: Vec<_> = self
            .agent
            .logs(key, &node.name, LogQuery::default())
            .await?
            .try_collect()
            .await?;
        Ok(lines
            .iter()
            .map(|l| String::from_utf8_lossy(&l.bytes).into_owned())
            .collect())
    }

    /// Waits until the log of a node contains a text. Returns the log.
    pub(crate) async fn wait_for_log(&self, key: &ClusterKey, node: &NodeSpec, text: &str) -> Result<String> {
        let log = Mutex::new(String::new());
        let waiting = eventually(text, async || {
            let current = self.log(key, node).await?;
            let found = current.contains(text);
            *log.lock().expect("a lock") = current;
            Ok(found)
        });
        waiting
            .await
            .with_context(|| format!("the log is {:?}", log.lock().expect("a lock")))?;
        Ok(log.into_inner()?)
    }

    /// Creates a namespace of another owner.
    pub(crate) async fn foreign_namespace(&self, name: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.bed.admin.clone());
        let wanted = serde_json::from_value(
            serde_json::json!({ "metadata": { "name": name, "labels": { "owner": "somebody" } } }),
        )?;
        api.create(&PostParams::default(), &wanted).await?;
        self.foreign.lock().expect("a lock").push(name.to_owned());
        Ok(())
    }

    /// Registers an API whose service does not exist, and waits until the cluster reports it stale. Returns
    /// its name.
    pub(crate) async fn broken_api(&self) -> Result<String> {
        let group = format!("test-{}.example.org", self.instance);
        let name = format!("v1.{group}");
        let wanted = serde_json::from_value(serde_json::json!({
            "metadata": { "name": name },
            "spec": {
                "group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 1, "insecureSkipTLSVerify": true,
                "service": { "namespace": "default", "name": "absent" },
            },
        }))?;
        self.broken_apis.lock().expect("a lock").push(name.clone());
        Api::<APIService>::all(self.bed.admin.clone())
            .create(&PostParams::default(), &wanted)
            .await?;
        // The deletion of a namespace begins with this list.
        eventually("the cluster reports a stale API", async || {
            let known = self.bed.admin.list_api_groups_aggregated().await?.items;
            let ours = known
                .iter()
                .find(|known| known.metadata.as_ref().and_then(|m| m.name.as_ref()) == Some(&group));
            Ok(ours.is_some_and(|ours| {
                ours.versions
                    .iter()
                    .any(|version| version.freshness.as_deref() == Some("Stale"))
            }))
        })
        .await?;
        Ok(name)
    }

    /// Deletes an unavailable API.
    pub(crate) async fn delete_api(&self, name: &str) -> Result<()> {
        Api::<APIService>::all(self.bed.admin.clone())
            .delete(name, &DeleteParams::default())
            .await?;
        self.broken_apis
            .lock()
            .expect("a lock")
            .retain(|other| other != name);
        Ok(())
    }

    /// Our objects by the cluster's own lists.
    pub(crate) async fn ours(&self) -> Result<BTreeSet<String>> {
        let admin = &self.bed.admin;
        let filter = ListParams::default().labels(&format!("{LABEL_INSTANCE}={}", self.instance));
        let mut left = BTreeSet::new();
        macro_rules! count {
            ($($kind:ty),+) => {$(
                let list = Api::<$kind>::all(admin.clone()).list_metadata(&filter).await?;
                left.extend(list.items.iter().map(|item| format!("{} {}", stringify!($kind), item.name_any())));
            )+};
        }
        count!(
            Namespace,
            StatefulSet,
            Pod,
            Service,
            PersistentVolumeClaim,
            KubeSecret,
            NetworkPolicy,
            PodDisruptionBudget
        );
        Ok(left)
    }

    /// Checks that a passed test left no object of its own and deleted no foreign one.
    pub(crate) async fn leak_check(&self) -> Result<()> {
        let left = self.ours().await?;
        ensure!(left.is_empty(), "left: {left:?}");
        // Concurrent tests delete volumes too: wait for theirs.
        let volumes = Api::<PersistentVolume>::all(self.bed.admin.clone());
        eventually("no released volume is left", async || {
            let list = volumes.list(&ListParams::default()).await?;
            Ok(!list
                .items
                .iter()
                .any(|v| v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Released")))
        })
        .await?;
        let namespaces: Api<Namespace> = Api::all(self.bed.admin.clone());
        let foreign = self.foreign.lock().expect("a lock").clone();
        for name in foreign {
            let found = namespaces
                .get(&name)
                .await
                .with_context(|| format!("{name} is not ours and must still exist"))?;
            ensure!(
                found.metadata.deletion_timestamp.is_none()
                    && found.labels().get("owner").is_some_and(|o| o == "somebody"),
                "{found:?}"
            );
        }
        Ok(())
    }

    /// Deletes all objects of the test, foreign ones by name.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        let broken_apis = std::mem::take(&mut *self.broken_apis.lock().expect("a lock"));
        for name in broken_apis {
            absent_is_fine(
                Api::<APIService>::all(self.bed.admin.clone())
                    .delete(&name, &DeleteParams::default())
                    .await,
            )?;
        }
        let namespaces: Api<Namespace> = Api::all(self.bed.admin.clone());
        let filter = ListParams::default().labels(&format!("{LABEL_INSTANCE}={}", self.instance));
        let mut names: Vec<_> = namespaces
            .list(&filter)
            .await?
            .items
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        names.append(&mut self.foreign.lock().expect("a lock"));
        for name in names {
            absent_is_fine(namespaces.delete(&name, &DeleteParams::default()).await)?;
        }
        Ok(())
    }
}

fn absent_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

pub(crate) fn connection(bed: &Bed, instance: InstanceId) -> Connection {
    Connection {
        instance,
        address: bed.address.clone(),
        kubeconfig: Some(Secret::new(bed.kubeconfig.clone())),
        storage_class: None,
        tls: None,
        insecure: false,
        bind: "0.0.0.0".parse().expect("an address"),
        mirror: None,
        registry: None,
    }
}
