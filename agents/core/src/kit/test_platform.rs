//! Platform access that the kit needs beside the agent.

use crate::{Agent, ClusterKey, InstanceId, NetworkSpec, NodeSpec, ObjectKind, Result};
use async_trait::async_trait;
use std::{error::Error, sync::Arc, time::Duration};

/// A failure of the test platform.
pub type TestPlatformError = Box<dyn Error + Send + Sync>;

/// The result of a call to the test platform.
pub type TestPlatformResult<T> = std::result::Result<T, TestPlatformError>;

/// An object on the platform that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name on the platform.
    pub name: String,
    /// The test platform's handle for it.
    pub id: String,
}

/// A manual change to a node, made past the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interference {
    /// Rename its main object.
    Rename,
    /// Disconnect its running main object from the cluster's network.
    Disconnect,
    /// Remove its first volume. Its main object no longer exists.
    LoseVolume,
}

/// A real platform for the kit. It works past the agent, through the platform's own API.
#[async_trait]
pub trait TestPlatform: Send + Sync {
    /// The column of the table: `Docker`, `Swarm`, `Kubernetes` …
    fn name(&self) -> &str;

    /// Makes an agent for this instance. Each call makes a new one, as a restarted control plane would.
    fn connect(&self, instance: InstanceId) -> Result<Arc<dyn Agent>>;

    /// Candidates for an image that is present on every machine and holds a static `/bin/busybox` and a
    /// `/tmp` that is writable by any user.
    fn images(&self) -> Vec<String>;

    /// Candidates that are neither present nor pullable. They must not lead beyond this machine.
    fn absent_images(&self) -> Vec<String> {
        [
            "127.0.0.1:9/chainpool-kit/absent:1",
            "127.0.0.1:9/chainpool-kit/missing:2",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// An unused network, a new one at each call; without a subnet where the capabilities lack subnets.
    fn network(&self) -> NetworkSpec;

    /// An unused port that this platform may publish, a new one at each call.
    fn port(&self) -> u16;

    /// Machines for nodes, the first for a single node; empty: [`NodeSpec::machine`] stays `None`. By default
    /// the schedulable machines of the probe, where the capabilities have machines.
    async fn machines(&self, agent: &dyn Agent) -> TestPlatformResult<Vec<String>> {
        if !agent.capabilities().machines {
            return Ok(Vec::new());
        }
        let open = agent
            .probe()
            .await?
            .machines
            .into_iter()
            .filter(|machine| machine.closed.is_none());
        Ok(open.map(|machine| machine.id).collect())
    }

    /// Creates an object of this kind without our labels, under the name that the agent would use for this
    /// cluster and node or job (volume: the node's first; part: any that the node needs). The cluster's
    /// network exists already, unless the kind is `Network`. `None`: the platform has no such object.
    async fn foreign_create(
        &self,
        kind: ObjectKind,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> TestPlatformResult<Option<Foreign>>;

    /// The state of a foreign object as a text that changes when the object is touched; an error when it is
    /// gone.
    async fn foreign_state(&self, foreign: &Foreign) -> TestPlatformResult<String>;

    /// Removes a foreign object, as its owner would. Absent is success.
    async fn foreign_remove(&self, foreign: &Foreign) -> TestPlatformResult<()>;

    /// Does this to a node past the agent and waits until the platform has done it; `false`: not possible
    /// here.
    async fn interfere(
        &self,
        interference: Interference,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> TestPlatformResult<bool> {
        let _ = (interference, key, node);
        Ok(false)
    }

    /// Restarts the platform and returns at once or when it answers again; `false`: not possible here.
    async fn restart(&self) -> TestPlatformResult<bool> {
        Ok(false)
    }

    /// Names of all objects with this instance's label, from the platform's own listings.
    async fn leftovers(&self, instance: InstanceId) -> TestPlatformResult<Vec<String>>;

    /// The reason why the platform, or this test bed, cannot enforce a promise; its cell then reads `not
    /// enforced here`.
    fn exempt(&self, promise: &str) -> Option<String> {
        let _ = promise;
        None
    }

    /// Time limit of one step, such as the start of a node.
    fn step_timeout(&self) -> Duration {
        Duration::from_mins(1)
    }

    /// Number of promises to test at once.
    fn concurrency(&self) -> usize {
        3
    }
}
