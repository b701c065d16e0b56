//! A platform for unit tests: operations are accepted there and not worked on.

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Connection, Error, Generation, ImageRef,
    Incarnation, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec, Observation, Platform, PlatformKind,
    Port, Power, Probe, Result, Scope, SwarmRole, Volumes, WakeStream,
};
use std::sync::{Arc, Mutex};

/// A platform that takes every connection and does nothing. Its probes are answered as a test says, and kept for it.
#[derive(Clone)]
pub(crate) struct Idle {
    kind: PlatformKind,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Default)]
struct Asked {
    /// The engine that answers probes; none does at first.
    engine: Option<String>,
    /// The connection of each probe.
    probes: Vec<Connection>,
}

/// What speaks over one connection.
struct Hand {
    platform: Idle,
    connection: Connection,
}

impl Idle {
    pub(crate) fn of(kind: PlatformKind) -> Self {
        Self {
            kind,
            asked: Arc::default(),
        }
    }

    /// From now on this engine answers, or none.
    pub(crate) fn answer(&self, engine: Option<&str>) {
        self.asked.lock().unwrap().engine = engine.map(str::to_owned);
    }

    /// The connections that were probed since this was asked last.
    pub(crate) fn probed(&self) -> Vec<Connection> {
        std::mem::take(&mut self.asked.lock().unwrap().probes)
    }
}

impl Platform for Idle {
    fn speaks(&self, _: &str) -> bool {
        true
    }

    fn kind(&self) -> PlatformKind {
        self.kind
    }

    fn connect(&self, connection: &Connection) -> Result<Arc<dyn Agent>> {
        Ok(Arc::new(Hand {
            platform: self.clone(),
            connection: connection.clone(),
        }))
    }
}

fn never<T>() -> Result<T> {
    Err(Error::Refused("nothing works here".into()))
}

#[async_trait]
impl Agent for Hand {
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
        let mut asked = self.platform.asked.lock().unwrap();
        asked.probes.push(self.connection.clone());
        let engine_id = asked
            .engine
            .clone()
            .ok_or_else(|| Error::Unreachable("nobody is there".into()))?;
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

    async fn ensure_image(&self, _: &[String]) -> Result<ImageRef> {
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
