//! Connections to nodes of the ledger.

use super::{
    RPC_PORT,
    protocol::{Answer, Request},
};
use crate::{World, process::Program};
use chainpool_agent::{ByteStream, ClusterKey, Error, NodeName, Port, Result, node_object_name};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

/// Connects to a port of a ledger node; `None`: not a ledger node.
pub(crate) fn serve(
    world: &Arc<World>,
    key: &ClusterKey,
    node: &NodeName,
    port: &Port,
) -> Option<Result<ByteStream>> {
    let name = node_object_name(key, node);
    let state = world.state();
    let process = state
        .process(&name)
        .filter(|process| matches!(process.program, Program::Ledger(_)))?;
    if !process.is_alive() || process.behavior.unresponsive || port.inside != RPC_PORT {
        return Some(Err(Error::Unreachable(format!(
            "nothing listens on port {} of node {node}",
            port.name
        ))));
    }
    let incarnation = process.starts;
    drop(state);
    let (ours, theirs) = tokio::io::duplex(4096);
    tokio::spawn(converse(Arc::clone(world), name, incarnation, theirs));
    Some(Ok(Box::new(ours)))
}

/// Answers line by line until the caller disconnects or the node stops. A paused node does not answer.
async fn converse(world: Arc<World>, name: String, incarnation: u64, stream: DuplexStream) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let delay = match world
            .state()
            .process(&name)
            .filter(|process| process.incarnation() == Some(incarnation))
        {
            Some(process) => process.behavior.delay,
            None => return,
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let Ok(request) = serde_json::from_str(&line) else {
            return;
        };
        let mut changes = world.changes();
        let answer = loop {
            changes.borrow_and_update();
            if world
                .state()
                .process(&name)
                .is_none_or(|process| process.incarnation() != Some(incarnation))
            {
                return;
            }
            if let Some(answer) = world.state().ask(&name, &request) {
                break answer;
            }
            if changes.changed().await.is_err() {
                return;
            }
        };
        let mut text = serde_json::to_string(&answer).expect("an answer has string keys");
        text.push('\n');
        if writer.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl World {
    /// Sends a request as a user of the node, regardless of platform faults; `None` when it does not run.
    pub fn ask(&self, key: &ClusterKey, node: &NodeName, request: &Request) -> Option<Answer> {
        self.state().ask(&node_object_name(key, node), request)
    }
}
