//! What the kit needs of a platform beside its agent.

use crate::{Agent, ClusterKey, InstanceId, NetworkSpec, NodeSpec, ObjectKind, Result};
use async_trait::async_trait;
use std::{error::Error, sync::Arc, time::Duration};

/// Why the ground could not do its part.
pub type GroundError = Box<dyn Error + Send + Sync>;

/// What the ground gives.
pub type GroundResult<T> = std::result::Result<T, GroundError>;

/// Something on the platform that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name on the platform.
    pub name: String,
    /// By what the ground finds it again.
    pub id: String,
}

/// What somebody who works on the platform by hand does to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// Gives its main object another name.
    Rename,
    /// Takes its main object, which runs, off the cluster's network.
    Disconnect,
    /// Removes its first volume. Its main object is gone already.
    LoseVolume,
}

/// A real platform that the kit may use. It looks past the agent, through the platform's own API.
#[async_trait]
pub trait Ground: Send + Sync {
    /// The column of the table: `Docker`, `Swarm`, `Kubernetes` …
    fn name(&self) -> &str;

    /// An agent for this instance. Each call makes another one, as a restarted control plane would.
    fn connect(&self, instance: InstanceId) -> Result<Arc<dyn Agent>>;

    /// Candidates for an image that is present on every machine and holds a static `/bin/busybox` and a `/tmp` that
    /// anybody may write to.
    fn images(&self) -> Vec<String>;

    /// Candidates that are not there and cannot be had. Ask nobody beyond this machine.
    fn absent_images(&self) -> Vec<String> {
        [
            "127.0.0.1:9/chainpool-kit/absent:1",
            "127.0.0.1:9/chainpool-kit/missing:2",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// A network that nothing else uses, another at each call; without a subnet where the capabilities say so.
    fn network(&self) -> NetworkSpec;

    /// A published port that nothing else uses, another at each call, that this platform may publish.
    fn port(&self) -> u16;

    /// Machines for nodes, the first for a node alone; empty: [`NodeSpec::machine`] stays unnamed. By default the open
    /// ones of the probe, where the capabilities have machines.
    async fn machines(&self, agent: &dyn Agent) -> GroundResult<Vec<String>> {
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

    /// Makes an object of this kind, without our labels, that has the name which the agent would give to its own for
    /// this cluster and node or job (for a volume: the node's first; for a part: any that the node would need). The cluster's
    /// network is there already, unless the kind is `Network`. `None`: this platform has no such thing.
    async fn foreign_make(
        &self,
        kind: ObjectKind,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> GroundResult<Option<Foreign>>;

    /// What a foreign object is like, as a text that differs once it was touched; an error when it is gone.
    async fn foreign_look(&self, foreign: &Foreign) -> GroundResult<String>;

    /// Removes a foreign object, as its owner would. Absent is success.
    async fn foreign_remove(&self, foreign: &Foreign) -> GroundResult<()>;

    /// Does this to a node, past the agent, and returns when the platform has done it; `false`: nobody can do that there.
    async fn meddle(&self, meddling: Meddling, key: &ClusterKey, node: &NodeSpec) -> GroundResult<bool> {
        let _ = (meddling, key, node);
        Ok(false)
    }

    /// Restarts the platform and returns at once or when it answers again; `false`: that cannot be done here.
    async fn restart(&self) -> GroundResult<bool> {
        Ok(false)
    }

    /// Names all that carries this instance's label, by the platform's own listings.
    async fn leftovers(&self, instance: InstanceId) -> GroundResult<Vec<String>>;

    /// Why the platform, or this bed, does not enforce a promise; its cell then says `not enforced here`.
    fn exempt(&self, promise: &str) -> Option<String> {
        let _ = promise;
        None
    }

    /// How long the platform may take for one step, such as a node's coming up.
    fn patience(&self) -> Duration {
        Duration::from_mins(1)
    }

    /// How many promises it carries at once.
    fn at_once(&self) -> usize {
        3
    }
}
