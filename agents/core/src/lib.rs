//! The contract between Chainpool and a platform.
//!
//! Everything above this crate (planner, executor, network types) sees platforms only through [`Agent`] and the
//! values here; everything below (Docker, Swarm, Kubernetes) sees Chainpool only through them. The crate knows
//! neither bollard nor kube, so nothing of theirs can leak upwards.

mod agent;
mod error;
mod ids;
#[cfg(feature = "kit")]
pub mod kit;
mod names;
mod observed;
mod secret;
mod spec;

pub use agent::{
    Agent, ByteStream, Capabilities, Connection, LogLine, LogQuery, LogStream, Platform, Power,
    RegistryLogin, Tls, Volumes, Wake, WakeStream,
};
pub use error::{Error, Place, Result};
pub use ids::{ClusterId, ClusterKey, Generation, InstanceId, NodeName, NodeNameError};
pub use names::{
    LABEL_CLUSTER, LABEL_GENERATION, LABEL_HASH, LABEL_INSTANCE, LABEL_JOB, LABEL_NODE, Labels, network_name,
    node_object_name, volume_name,
};
pub use observed::{
    Incarnation, Machine, NodeState, Object, ObjectKind, Observation, PlatformKind, Probe, Scope, SwarmRole,
    Taken,
};
pub use secret::Secret;
pub use spec::{
    Audience, Boot, ClusterSpec, File, ImageRef, Limits, LogConfig, LogType, NetworkSpec, NodeSpec, Port,
    Protocol, SealedSpec, SpecHash, Variable, Volume,
};
