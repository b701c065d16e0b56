//! What each test stands on: an instance of its own on the cluster, and a census at its end.

use crate::bed::Bed;
use anyhow::{Context, Result, ensure};
use chainpool_agent::{
    Agent, Audience, ClusterId, ClusterKey, Connection, File, ImageRef, InstanceId, LABEL_INSTANCE, Limits,
    LogConfig, LogQuery, NetworkSpec, NodeName, NodeSpec, NodeState, Port, Power, Protocol, Scope, Secret,
    SpecHash, Volume, network_name,
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
/// A script's end: stays until it is told to stop.
pub(crate) const STAY: &str = "trap 'exit 0' TERM; while :; do busybox sleep 0.1; done";
/// The network of a platform that has addresses of its own.
pub(crate) const ANY: NetworkSpec = NetworkSpec { subnet: None };

static PORTS: AtomicU16 = AtomicU16::new(31_000);

/// One test's place on the cluster.
pub(crate) struct Yard<'b> {
    pub(crate) bed: &'b Bed,
    pub(crate) instance: InstanceId,
    pub(crate) agent: KubernetesAgent,
    pub(crate) image: ImageRef,
    /// Namespaces of another owner, which must still be there at the end.
    foreign: Mutex<Vec<String>>,
    /// APIs that the test has broken the cluster with.
    broken: Mutex<Vec<String>>,
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
        }],
        ports: vec![],
        limits: Limits {
            memory_bytes: 32 << 20,
            processes: 64,
        },
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

/// Looks again until something is so, for a while.
pub(crate) async fn eventually(what: &str, look: impl AsyncFn() -> Result<bool>) -> Result<()> {
    eventually_within(Duration::from_mins(1), what, look).await
}

pub(crate) async fn eventually_within(
    limit: Duration,
    what: &str,
    look: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !look().await? {
        ensure!(
            Instant::now() < deadline,
            "not within {} s: {what}",
            limit.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

impl<'b> Yard<'b> {
    pub(crate) async fn open(bed: &'b Bed) -> Result<Self> {
        let instance = InstanceId::new();
        let agent = KubernetesAgent::connect(&connection(bed, instance))?;
        let image = agent.ensure_image(std::slice::from_ref(&bed.image)).await?;
        Ok(Self {
            bed,
            instance,
            agent,
            image,
            foreign: Mutex::default(),
            broken: Mutex::default(),
        })
    }

    pub(crate) fn api<K>(&self, key: &ClusterKey) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.bed.admin.clone(), &network_name(key))
    }

    /// Makes a network and one running node.
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

    pub(crate) async fn eventually_is(
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

    /// All that a node has said so far.
    pub(crate) async fn said(&self, key: &ClusterKey, node: &NodeSpec) -> Result<String> {
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

    /// Waits until a node says this; returns all it said.
    pub(crate) async fn says(&self, key: &ClusterKey, node: &NodeSpec, words: &str) -> Result<String> {
        let said = Mutex::new(String::new());
        let looked = eventually(words, async || {
            let now = self.said(key, node).await?;
            let found = now.contains(words);
            *said.lock().expect("a lock") = now;
            Ok(found)
        });
        looked
            .await
            .with_context(|| format!("it said {:?}", said.lock().expect("a lock")))?;
        Ok(said.into_inner()?)
    }

    /// A namespace of another owner.
    pub(crate) async fn foreign_namespace(&self, name: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.bed.admin.clone());
        let wanted = serde_json::from_value(
            serde_json::json!({ "metadata": { "name": name, "labels": { "owner": "somebody" } } }),
        )?;
        api.create(&PostParams::default(), &wanted).await?;
        self.foreign.lock().expect("a lock").push(name.to_owned());
        Ok(())
    }

    /// Adds an API of a service that does not exist, and waits until the cluster misses it. Returns its name.
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
        self.broken.lock().expect("a lock").push(name.clone());
        Api::<APIService>::all(self.bed.admin.clone())
            .create(&PostParams::default(), &wanted)
            .await?;
        // The list that the deletion of a namespace begins with.
        eventually("the cluster misses an API", async || {
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

    /// Removes an API that was broken.
    pub(crate) async fn remove_api(&self, name: &str) -> Result<()> {
        Api::<APIService>::all(self.bed.admin.clone())
            .delete(name, &DeleteParams::default())
            .await?;
        self.broken.lock().expect("a lock").retain(|other| other != name);
        Ok(())
    }

    /// What of ours is left, by the cluster's own listings.
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

    /// A test that passed must have left nothing itself, and nothing foreign may be gone.
    pub(crate) async fn census(&self) -> Result<()> {
        let left = self.ours().await?;
        ensure!(left.is_empty(), "left: {left:?}");
        // Other tests remove volumes beside this one: what is theirs goes by itself.
        let volumes = Api::<PersistentVolume>::all(self.bed.admin.clone());
        eventually("no volume is left without its claim", async || {
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
                .with_context(|| format!("{name} is not ours and must still be there"))?;
            ensure!(
                found.metadata.deletion_timestamp.is_none()
                    && found.labels().get("owner").is_some_and(|o| o == "somebody"),
                "{found:?}"
            );
        }
        Ok(())
    }

    /// Removes what the test made, foreign things by their names.
    pub(crate) async fn clear(&self) -> Result<()> {
        let broken = std::mem::take(&mut *self.broken.lock().expect("a lock"));
        for name in broken {
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
