//! A platform for unit tests: operations are accepted and not executed.

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Connection, Error, Generation, ImageRef,
    ImageRequest, Incarnation, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec, Observation, Platform,
    PlatformKind, Port, Power, Probe, Result, Scope, SwarmRole, Volumes, WakeStream,
};
use std::sync::{Arc, Mutex};

/// A platform that accepts every connection and does nothing. Tests define the probe responses and read the
/// recorded probes.
#[derive(Clone)]
pub(crate) struct IdlePlatform {
    kind: PlatformKind,
    state: Arc<Mutex<ProbeState>>,
}

#[derive(Default)]
struct ProbeState {
    /// The engine that responds to probes; initially none.
    engine: Option<String>,
    /// The connection of each probe.
    probes: Vec<Connection>,
}

/// The agent of one connection.
struct IdleAgent {
    platform: IdlePlatform,
    connection: Connection,
}

impl IdlePlatform {
    pub(crate) fn of(kind: PlatformKind) -> Self {
        Self {
            kind,
            state: Arc::default(),
        }
    }

    /// Sets the engine that responds, or none.
    pub(crate) fn answer(&self, engine: Option<&str>) {
        self.state.lock().unwrap().engine = engine.map(str::to_owned);
    }

    /// Takes the connections probed since the last call.
    pub(crate) fn probed(&self) -> Vec<Connection> {
        std::mem::take(&mut self.state.lock().unwrap().probes)
    }
}

impl Platform for IdlePlatform {
    fn accepts_address(&self, _: &str) -> bool {
        true
    }

    fn kind(&self) -> PlatformKind {
        self.kind
    }

    fn settings(&self) -> &'static [&'static str] {
        &["kubeconfig", "storage_class"]
    }

    fn connect(&self, connection: &Connection) -> Result<Arc<dyn Agent>> {
        Ok(Arc::new(IdleAgent {
            platform: self.clone(),
            connection: connection.clone(),
        }))
    }
}

fn never<T>() -> Result<T> {
    Err(Error::Refused("not supported".into()))
}

#[async_trait]
impl Agent for IdleAgent {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            subnets: false,
            machines: false,
            ports: (20_000, 29_999),
            concurrency: 1,
            queues: false,
        }
    }

    async fn probe(&self) -> Result<Probe> {
        let mut state = self.platform.state.lock().unwrap();
        state.probes.push(self.connection.clone());
        let engine_id = state
            .engine
            .clone()
            .ok_or_else(|| Error::Unreachable("no engine responds".into()))?;
        Ok(Probe {
            kind: self.platform.kind,
            name: engine_id.clone(),
            engine_id,
            version: "1".into(),
            api_version: "1".into(),
            storage_driver: "none".into(),
            architecture: "none".into(),
            swarm: SwarmRole::None,
            cpus: 1,
            memory_bytes: 1 << 40,
            disk: None,
            skew_ms: None,
            machines: Vec::new(),
        })
    }

    async fn observe(&self, _: Scope) -> Result<Observation> {
        never()
    }

    fn watch(&self) -> WakeStream {
        Box::pin(futures::stream::pending())
    }

    async fn ensure_image(&self, _: &ImageRequest) -> Result<ImageRef> {
        never()
    }

    async fn ensure_network(&self, _: &ClusterKey, _: &NetworkSpec) -> Result<()> {
        never()
    }

    async fn ensure_node(&self, _: &ClusterKey, _: &NodeSpec, _: &ImageRef, _: &Power) -> Result<()> {
        never()
    }

    async fn ensure_job(&self, _: &ClusterKey, _: &NodeSpec, _: &ImageRef) -> Result<()> {
        never()
    }

    async fn incarnation(&self, _: &ClusterKey, _: &NodeName) -> Result<Option<Incarnation>> {
        never()
    }

    async fn drop_node(&self, _: &ClusterKey, _: &NodeName, _: Volumes) -> Result<()> {
        never()
    }

    async fn drop_cluster(&self, _: ClusterId, _: Generation) -> Result<()> {
        never()
    }

    async fn logs(&self, _: &ClusterKey, _: &NodeName, _: LogQuery) -> Result<LogStream> {
        never()
    }

    async fn dial(&self, _: &ClusterKey, _: &NodeName, _: &Port) -> Result<ByteStream> {
        never()
    }
}
