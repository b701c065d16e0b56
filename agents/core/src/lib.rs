//! The contract between Chainpool and a platform.
//!
//! The planner, the executor and the network types see platforms only through [`Agent`] and the values here;
//! the agents (Docker, Swarm, Kubernetes) see Chainpool only through them. The crate depends on neither
//! bollard nor kube.

mod agent;
mod call;
mod error;
mod error_chain;
mod filter;
mod ids;
mod image;
mod job_result;
#[cfg(feature = "kit")]
pub mod kit;
mod names;
mod observed;
mod secret;
mod spec;

pub use agent::{
    Agent, ByteStream, Capabilities, Connection, LogLine, LogQuery, LogStream, Platform, Power, Tls, Volumes,
    Wake, WakeStream,
};
pub use call::{Answer, CallError, absent_is_fine, call_within, sanitized};
pub use error::{Error, Place, Result};
pub use error_chain::error_chain;
pub use filter::LabelFilter;
pub use ids::{ClusterId, ClusterKey, Generation, InstanceId, NodeName, NodeNameError, PlatformKind};
pub use image::{ImageName, ImageRequest, ImageSource, RegistryLogin};
pub use job_result::{RESULT_BEGIN, RESULT_END, RESULT_LIMIT, job_result};
pub use names::{
    LABEL_CLUSTER, LABEL_GENERATION, LABEL_HASH, LABEL_INSTANCE, LABEL_JOB, LABEL_NODE, Labels, network_name,
    node_object_name, shared_volume_name, volume_name,
};
pub use observed::{
    Incarnation, Machine, NodeState, Object, ObjectKind, Observation, Probe, ResourcesInUse, Scope, SwarmRole,
};
pub use secret::Secret;
pub use spec::{
    Audience, Boot, ClusterSpec, File, ImageRef, Limits, LogConfig, LogType, NetworkSpec, NodeSpec, Port,
    Protocol, Readiness, SealedSpec, SpecHash, Variable, Volume,
};
