//! A byte stream to a node's published port, at the address of the node's machine.

use super::manager::{Manager, Swarm};
use crate::dial;
use chainpool_agent::{ByteStream, ClusterKey, Error, NodeName, Port, Protocol, Result, node_object_name};
use std::{sync::PoisonError, time::Duration};
use tokio::time::{Instant, timeout};

/// Lifetime of a cached node location.
const FRESH: Duration = Duration::from_mins(1);
/// Lifetime of a stale location, used when no manager answers.
const KNOWN: Duration = Duration::from_hours(1);
/// Time limit of refreshing a stale location. A ledger probe does not last much longer.
const FIND: Duration = Duration::from_millis(300);

impl Swarm {
    /// Connects to a published port, at the address of the node's machine.
    pub(super) async fn port_dial(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        port: &Port,
    ) -> Result<ByteStream> {
        let Port {
            name,
            inside,
            protocol,
            audience: _,
            published,
        } = port;
        let (Some(published), Protocol::Tcp) = (published, protocol) else {
            return Err(Error::Unsupported(format!(
                "reach port {name} ({inside}) of node {node}: only published TCP ports are reachable"
            )));
        };
        let object = node_object_name(key, node);
        let known = self
            .locations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&object)
            .cloned();
        let find = self.through(|manager| async move { manager.location_find(key, node).await });
        let address = match known {
            Some((at, address)) if at.elapsed() < FRESH => address,
            Some((_, address)) => match timeout(FIND, find).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) if !error.is_transient() => return Err(error),
                // Without an answer, assume the last location.
                _ => {
                    self.location_note(&object, &address);
                    address
                }
            },
            None => find.await?,
        };
        dial::connect(&address, *published, name, node).await
    }

    /// Caches a node's location: each ledger probe dials, and a lookup each time would dominate its cost.
    pub(super) fn location_note(&self, object: &str, address: &str) {
        let mut locations = self.locations.lock().unwrap_or_else(PoisonError::into_inner);
        locations.retain(|_, (at, _)| at.elapsed() < KNOWN);
        locations.insert(object.to_owned(), (Instant::now(), address.to_owned()));
    }
}

impl Manager<'_> {
    async fn location_find(&self, key: &ClusterKey, node: &NodeName) -> Result<String> {
        let object = node_object_name(key, node);
        let Some(found) = self.node_service(key, node).await? else {
            return Err(Error::Refused(format!("node {node} has no service {object}")));
        };
        let location = self.machine_of(found.machine(), &object).await?;
        self.swarm.location_note(&object, &location.machine.address);
        Ok(location.machine.address)
    }
}
