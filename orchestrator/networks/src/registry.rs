//! Registry of network types.

use crate::{NetworkType, cometbft::CometBft, fabric::Fabric};
use std::sync::Arc;

/// All network types by name. A new type is one new module and one line here.
#[derive(Clone)]
pub struct Registry(Vec<(&'static str, Arc<dyn NetworkType>)>);

/// A name without a network type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown network type {name:?}; use one of: {known}")]
pub struct UnknownNetworkType {
    /// The requested name.
    pub name: String,
    /// Known names, comma-separated.
    pub known: String,
}

impl Default for Registry {
    fn default() -> Self {
        Self(vec![
            ("cometbft", Arc::new(CometBft)),
            ("fabric", Arc::new(Fabric)),
        ])
    }
}

impl Registry {
    /// Adds or replaces a type.
    #[must_use]
    pub fn with(mut self, name: &'static str, network: Arc<dyn NetworkType>) -> Self {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, network));
        self
    }

    /// Returns a type by name.
    pub fn get(&self, name: &str) -> Result<Arc<dyn NetworkType>, UnknownNetworkType> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, network)| Arc::clone(network))
            .ok_or_else(|| UnknownNetworkType {
                name: name.to_owned(),
                known: self
                    .0
                    .iter()
                    .map(|(known, _)| *known)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// Resolves a preset name of a type; an unknown type leaves the name unchanged.
    pub fn preset(&self, network_type: &str, name: &str) -> String {
        self.get(network_type)
            .map_or_else(|_| name.to_owned(), |network| network.preset(name))
    }

    /// Public descriptions of all types.
    pub fn describe(&self) -> Vec<chainpool_api::NetworkType> {
        self.0.iter().map(|(_, network)| network.describe()).collect()
    }
}
