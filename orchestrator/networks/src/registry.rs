//! Which network types there are.

use crate::{NetworkType, cometbft::CometBft, fabric::Fabric};
use std::sync::Arc;

/// All network types by name. A new type is one new module and one line here.
#[derive(Clone)]
pub struct Registry(Vec<(&'static str, Arc<dyn NetworkType>)>);

/// A name that is no network type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("network type {name:?} is not known; use one of: {known}")]
pub struct TypeUnknown {
    /// What was asked for.
    pub name: String,
    /// What there is.
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
    /// The same with another type under this name.
    #[must_use]
    pub fn with(mut self, name: &'static str, network: Arc<dyn NetworkType>) -> Self {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, network));
        self
    }

    /// The type of this name.
    pub fn get(&self, name: &str) -> Result<Arc<dyn NetworkType>, TypeUnknown> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, network)| Arc::clone(network))
            .ok_or_else(|| TypeUnknown {
                name: name.to_owned(),
                known: self
                    .0
                    .iter()
                    .map(|(known, _)| *known)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// The preset that a name means to a type; the name itself where there is no such type.
    pub fn preset(&self, network_type: &str, name: &str) -> String {
        self.get(network_type)
            .map_or_else(|_| name.to_owned(), |network| network.preset(name))
    }

    /// All types, as people see them.
    pub fn describe(&self) -> Vec<chainpool_api::NetworkType> {
        self.0.iter().map(|(_, network)| network.describe()).collect()
    }
}
