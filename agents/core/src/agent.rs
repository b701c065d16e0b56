//! The trait that a platform implements, and the types of its verbs.

use crate::{
    ClusterId, ClusterKey, Generation, ImageRef, ImageRequest, ImageSource, Incarnation, InstanceId,
    NetworkSpec, NodeName, NodeSpec, Observation, PlatformKind, Port, Probe, RegistryLogin, Result, Scope,
    Secret,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite};

/// Makes a platform match the planner's desired state.
///
/// Every verb may be called twice, may be cancelled at any await, and may have happened although it failed.
/// `ensure_*` converges: absent → create; ours and current → adopt; ours and stale → replace; not ours →
/// [`Error::Foreign`](crate::Error::Foreign), untouched. `drop_*` treats absent as success. Waiting for
/// ledgers, retries, port choice and health policy are the caller's.
#[async_trait]
pub trait Agent: Send + Sync {
    /// The capabilities of this platform, for the planner.
    fn capabilities(&self) -> Capabilities;

    /// Inspects the platform, through its own API only, and changes nothing.
    async fn probe(&self) -> Result<Probe>;

    /// Lists the objects with this instance's label, in one label-filtered listing per kind.
    async fn observe(&self, scope: Scope) -> Result<Observation>;

    /// Streams wake-ups as changes happen; a wake-up is a hint, not state. The stream ends with
    /// [`Wake::Lost`] when the platform's event stream breaks; the caller opens another.
    fn watch(&self) -> WakeStream;

    /// Finds the first candidate that is present, else pulls the first that can be pulled. The error names
    /// them all, with the request's advice.
    async fn ensure_image(&self, request: &ImageRequest) -> Result<ImageRef>;

    /// Creates the network of one generation of a cluster.
    async fn ensure_network(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()>;

    /// Creates, adopts or replaces a node, places its files before its first start, and brings it to `power`.
    async fn ensure_node(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()>;

    /// Runs a job to completion, once per name and hash. Absent → created with its files and run. Running →
    /// waited for. Succeeded → done for the life of the cluster, never run again. Other hash → replaced.
    /// Failed while waited for → [`Error::Refused`](crate::Error::Refused) with its exit code and last
    /// output. Found failed → run again. Waits as long as the other verbs let the platform settle, then
    /// returns [`Error::Busy`](crate::Error::Busy) while the job continues.
    async fn ensure_job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()>;

    /// The current incarnation of a node's process; `None` when it does not run.
    async fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>>;

    /// Removes one node, or one job and the record of its success; keeps or purges its volumes.
    async fn drop_node(&self, key: &ClusterKey, node: &NodeName, volumes: Volumes) -> Result<()>;

    /// Removes everything of a cluster up to and including one generation (nodes, jobs, volumes, network) and
    /// waits until it is gone.
    async fn drop_cluster(&self, cluster: ClusterId, through: Generation) -> Result<()>;

    /// The log lines of a node or job, oldest first.
    async fn logs(&self, key: &ClusterKey, node: &NodeName, query: LogQuery) -> Result<LogStream>;

    /// A byte stream to a node's port: the only access of boot, probe and proof to a node.
    async fn dial(&self, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream>;
}

/// Capabilities of a platform. Data for the planner; no caller branches on the platform's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Networks take a chosen subnet.
    pub subnets: bool,
    /// Nodes run on chosen machines, named in [`NodeSpec::machine`]; the probe lists them.
    pub machines: bool,
    /// The default range of published ports of a host, first and last.
    pub ports: (u16, u16),
    /// The number of concurrent calls that it handles well.
    pub concurrency: usize,
    /// It queues the start of processes, so calls mostly wait. Elsewhere two calls per processor are enough:
    /// more start no more containers in the same time.
    pub queues: bool,
}

/// The desired state of a node's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Power {
    /// Run. With `after`, run in another incarnation than that one: a restart that cannot happen twice.
    On {
        /// The incarnation that must have ended.
        after: Option<Incarnation>,
    },
    /// Exist but not run.
    Off,
}

/// Treatment of the volumes of a removed node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volumes {
    /// Keep them for the next creation of the node.
    Keep,
    /// Remove them.
    Purge,
}

/// A notice that something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// The watch is established. Earlier changes must be observed.
    Connected,
    /// An object of this cluster changed.
    Changed(ClusterId),
    /// A node's process exited. The exit of a job is a change.
    Died {
        /// Its cluster.
        cluster: ClusterId,
        /// The node.
        node: NodeName,
        /// The exit code.
        code: i64,
    },
    /// The watch broke, for this reason.
    Lost(String),
}

/// A stream of wake-ups.
pub type WakeStream = BoxStream<'static, Wake>;

/// Selects log lines.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LogQuery {
    /// Maximum number of lines, the newest; `None`: all.
    pub tail: Option<u32>,
    /// Lines from this second on (Unix time); 0: all.
    pub since: i64,
    /// Continue as lines are written.
    pub follow: bool,
}

/// One line of a node's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// It was written to standard error.
    pub stderr: bool,
    /// Its bytes, without a time stamp, with its line end.
    pub bytes: Bytes,
}

/// A stream of log lines.
pub type LogStream = BoxStream<'static, Result<LogLine>>;

/// A connection to a node.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A boxed connection to a node.
pub type ByteStream = Box<dyn Stream>;

/// Connection settings of a host.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Our instance.
    pub instance: InstanceId,
    /// `unix:///var/run/docker.sock`, `tcp://10.0.0.5:2376`, `https://10.0.0.7:6443`, `in-cluster` …; several
    /// managers of a swarm with commas between.
    pub address: String,
    /// The credentials for a Kubernetes cluster: the text of a kubeconfig. The address names the cluster.
    pub kubeconfig: Option<Secret<String>>,
    /// The storage class of volumes, where the platform has storage classes; `None`: its default.
    pub storage_class: Option<String>,
    /// Certificates for mutual TLS.
    pub tls: Option<Tls>,
    /// Plain TCP beyond loopback is allowed explicitly.
    pub insecure: bool,
    /// The bind address of published ports.
    pub bind: IpAddr,
    /// Registry mirror prefix for image names without a registry.
    pub mirror: Option<String>,
    /// The login for an image registry.
    pub registry: Option<RegistryLogin>,
}

impl Connection {
    /// The source of the host's images.
    pub fn images(&self) -> ImageSource {
        ImageSource::new(self.mirror.clone(), self.registry.clone())
    }
}

/// PEM texts for mutual TLS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tls {
    /// The CA certificate for the engine's certificate.
    pub ca: String,
    /// Our client certificate.
    pub cert: String,
    /// Its key.
    pub key: Secret<String>,
}

/// Describes one kind of platform and makes its agents. Only the binary's composition root names a concrete one.
#[async_trait]
pub trait Platform: Send + Sync {
    /// The kind it makes agents for.
    fn kind(&self) -> PlatformKind;

    /// Returns true if an address has this kind's form, so a host's kind may be omitted.
    fn accepts_address(&self, address: &str) -> bool;

    /// The settings that this kind takes and others do not, by their names in `HostCreate`: `kubeconfig`,
    /// `storage_class`.
    fn settings(&self) -> &'static [&'static str] {
        &[]
    }

    /// Checks the address and makes an agent, without contacting the platform.
    fn connect(&self, connection: &Connection) -> Result<Arc<dyn Agent>>;
}
