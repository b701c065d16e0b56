//! The trait that a platform implements, and what its verbs take and give.

use crate::{
    ClusterId, ClusterKey, Generation, ImageRef, Incarnation, InstanceId, NetworkSpec, NodeName, NodeSpec,
    Observation, PlatformKind, Port, Probe, Result, Scope, Secret,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite};

/// Makes platforms match what the planner wants.
///
/// Every verb may be called twice, may be cancelled at any await, and may have happened although it failed.
/// `ensure_*` converges: absent → make; ours and right → adopt; ours and stale → replace; not ours →
/// [`Error::Foreign`](crate::Error::Foreign) and nothing touched. `drop_*` takes absent for success. Waiting for
/// ledgers, retries, port choice and health policy live above.
#[async_trait]
pub trait Agent: Send + Sync {
    /// What this platform can do, for the planner to read.
    fn capabilities(&self) -> Capabilities;

    /// Looks at the platform through its own API alone and changes nothing.
    async fn probe(&self) -> Result<Probe>;

    /// Lists what carries this instance's label, in one label-filtered listing a kind of object.
    async fn observe(&self, scope: Scope) -> Result<Observation>;

    /// Tells that something changed, as it happens: a wake-up, never the truth. The stream ends with
    /// [`Wake::Lost`] when the platform stops telling; the caller opens another.
    fn watch(&self) -> WakeStream;

    /// Finds the first of these images that is present, else pulls the first that can be pulled; the error names them all.
    async fn ensure_image(&self, candidates: &[String]) -> Result<ImageRef>;

    /// Makes the network of one generation of a cluster.
    async fn ensure_network(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()>;

    /// Makes, adopts or replaces a node, places its files before its first start, and brings it to `power`.
    async fn ensure_node(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()>;

    /// Runs a job to its end, once for its name and hash. Absent → made with its files and run; running → waited for; ended with 0 →
    /// done, now and for as long as its cluster is there, and not run again; of another hash → replaced; ended otherwise while it is
    /// waited for → [`Error::Refused`](crate::Error::Refused) with its code and last words; found ended so → run anew. Waits as long as
    /// the other verbs let the platform settle, then says [`Error::Busy`](crate::Error::Busy), and the job goes on.
    async fn ensure_job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()>;

    /// The present life of a node's process; `None` when it does not run.
    async fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>>;

    /// Removes one node, or one job and the record of its success; its volumes stay or go.
    async fn drop_node(&self, key: &ClusterKey, node: &NodeName, volumes: Volumes) -> Result<()>;

    /// Removes everything of a cluster up to and including one generation, and sees it gone: nodes, jobs, volumes, network.
    async fn drop_cluster(&self, cluster: ClusterId, through: Generation) -> Result<()>;

    /// The log lines of a node or job, oldest first.
    async fn logs(&self, key: &ClusterKey, node: &NodeName, query: LogQuery) -> Result<LogStream>;

    /// A byte stream to a node's port: the only way in which boot, probe and proof reach a node.
    async fn dial(&self, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream>;
}

/// What a platform can do. Data for the planner; nobody above switches on the platform's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Networks take a subnet of our choice.
    pub subnets: bool,
    /// Nodes go to machines of our choice, named in [`NodeSpec::machine`]; the probe lists them.
    pub machines: bool,
    /// Published ports of a host whose owner names none, first and last.
    pub ports: (u16, u16),
    /// How many calls it carries well at once.
    pub concurrency: usize,
    /// It starts processes in its own time, so that calls mostly wait. Elsewhere two calls a processor are enough: beyond
    /// that no more containers start in the same time.
    pub queues: bool,
}

/// What a node's process shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Power {
    /// Run. With `after`, run in another life than that one: this is a restart that cannot happen twice.
    On {
        /// The life that must have ended.
        after: Option<Incarnation>,
    },
    /// Be made but not run.
    Off,
}

/// What happens to the volumes of a node that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volumes {
    /// They stay for the node's next making.
    Keep,
    /// They go.
    Purge,
}

/// Tells that something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// The platform tells from here on: whatever happened before must be looked up.
    Connected,
    /// Something about this cluster changed.
    Changed(ClusterId),
    /// A node's process ended; a job's end is a change.
    Died {
        /// Its cluster.
        cluster: ClusterId,
        /// The node.
        node: NodeName,
        /// The exit code.
        code: i64,
    },
    /// The platform stopped telling, for this reason.
    Lost(String),
}

/// A stream of wake-ups.
pub type WakeStream = BoxStream<'static, Wake>;

/// Which log lines are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LogQuery {
    /// At most this many of the newest; `None`: all.
    pub tail: Option<u32>,
    /// Not before this second (Unix time); 0: all.
    pub since: i64,
    /// Go on as lines are written.
    pub follow: bool,
}

/// One line of a node's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Whether it went to the error output.
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

/// How to reach a host, and what its agent must know of it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The instance whose objects are ours.
    pub instance: InstanceId,
    /// `unix:///var/run/docker.sock`, `tcp://10.0.0.5:2376`, `https://10.0.0.7:6443`, `in-cluster` …; several managers of
    /// a swarm with commas between.
    pub address: String,
    /// Who we are at a Kubernetes cluster: the text of a kubeconfig. Where the cluster is, the address says.
    pub kubeconfig: Option<Secret<String>>,
    /// The storage class of volumes, where the platform has such; `None`: its default.
    pub storage_class: Option<String>,
    /// Certificates for mutual TLS.
    pub tls: Option<Tls>,
    /// Plain tcp beyond loopback was asked for by name.
    pub insecure: bool,
    /// Where published ports are bound.
    pub bind: IpAddr,
    /// Put before every image name that names no registry of its own.
    pub mirror: Option<String>,
    /// The login for an image registry.
    pub registry: Option<RegistryLogin>,
}

/// A login for one image registry; no other registry may learn it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryLogin {
    /// The registry, as image names begin with it: `host[:port]`, or `docker.io`.
    pub address: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret<String>,
}

/// Where images without a registry in their name come from, and its other names.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

impl RegistryLogin {
    /// Whether an image of this name is pulled from the login's registry.
    pub fn is_for(&self, image: &str) -> bool {
        let registry = match image.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => DOCKER_HUB[0],
        };
        registry.eq_ignore_ascii_case(&self.address)
            || (is_docker_hub(registry) && is_docker_hub(&self.address))
    }

    /// The registry as engines and machines name it in their own records.
    pub fn server(&self) -> &str {
        if is_docker_hub(&self.address) {
            "https://index.docker.io/v1/"
        } else {
            &self.address
        }
    }
}

fn is_docker_hub(registry: &str) -> bool {
    DOCKER_HUB.iter().any(|name| name.eq_ignore_ascii_case(registry))
}

/// PEM texts for mutual TLS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tls {
    /// The authority that signed the engine's certificate.
    pub ca: String,
    /// Our certificate.
    pub cert: String,
    /// Its key.
    pub key: Secret<String>,
}

/// Makes agents of one kind of platform. Only the binary's composition root names a concrete one.
#[async_trait]
pub trait Platform: Send + Sync {
    /// The kind it makes agents for.
    fn kind(&self) -> PlatformKind;

    /// Whether an address has the form of one of this kind, so that a host's kind may be left out.
    fn speaks(&self, address: &str) -> bool;

    /// Checks the address and makes an agent. Does not need the platform to answer.
    fn connect(&self, connection: &Connection) -> Result<Arc<dyn Agent>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_for_one_registry_alone() {
        let login = |address: &str| RegistryLogin {
            address: address.into(),
            user: "u".into(),
            password: Secret::new("p".into()),
        };
        for (address, image, is_for) in [
            ("m.example:5000", "m.example:5000/a", true),
            ("m.example:5000", "M.example:5000/team/a:1", true),
            ("m.example:5000", "m.example:5000.evil.example/a", false),
            ("m.example:5000", "m.example/a", false),
            ("m.example", "evil.example/m.example/a", false),
            ("m.example", "a:1", false),
            ("docker.io", "cometbft/cometbft:v1", true),
            ("index.docker.io", "docker.io/library/a", true),
            ("docker.io", "ghcr.io/x/y:1", false),
            ("localhost", "localhost/x", true),
        ] {
            assert_eq!(login(address).is_for(image), is_for, "{address} {image}");
        }
        assert_eq!(
            (login("docker.io").server(), login("m.example").server()),
            ("https://index.docker.io/v1/", "m.example")
        );
    }
}
