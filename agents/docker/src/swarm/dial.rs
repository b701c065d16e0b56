//! A byte stream to a node's published port, at the address of the node's machine.

use super::manager::{Manager, Swarm};
use crate::dial;
use chainpool_agent::{ByteStream, ClusterKey, Error, NodeName, Port, Protocol, Result, node_object_name};
use std::{sync::PoisonError, time::Duration};
use tokio::time::{Instant, timeout};

/// How long it is believed where a node is, before the swarm is asked again.
const FRESH: Duration = Duration::from_mins(1);
/// How long it is known where a node was, for when no manager can tell.
const KNOWN: Duration = Duration::from_hours(1);
/// How long the managers have to tell where a node is that was somewhere a minute ago; a look at a ledger lasts not much longer.
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
                "reach port {name} ({inside}) of node {node}: only published TCP ports are reached"
            )));
        };
        let object = node_object_name(key, node);
        let known = self
            .places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&object)
            .cloned();
        let find = self.through(|manager| async move { manager.place_find(key, node).await });
        let address = match known {
            Some((at, address)) if at.elapsed() < FRESH => address,
            Some((_, address)) => match timeout(FIND, find).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) if !error.is_transient() => return Err(error),
                // When no manager can tell, a node is still where it was.
                _ => {
                    self.place_note(&object, &address);
                    address
                }
            },
            None => find.await?,
        };
        dial::connect(&address, *published, name, node).await
    }

    /// Remembers where a node is: each look at a ledger dials, and asking the swarm each time would be most of its work.
    pub(super) fn place_note(&self, object: &str, address: &str) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, (at, _)| at.elapsed() < KNOWN);
        places.insert(object.to_owned(), (Instant::now(), address.to_owned()));
    }
}

impl Manager<'_> {
    async fn place_find(&self, key: &ClusterKey, node: &NodeName) -> Result<String> {
        let object = node_object_name(key, node);
        let Some(found) = self.node_service(key, node).await? else {
            return Err(Error::Refused(format!("node {node} has no service {object}")));
        };
        let seen = self.machine_of(found.machine(), &object).await?;
        self.swarm.place_note(&object, &seen.machine.address);
        Ok(seen.machine.address)
    }
}
