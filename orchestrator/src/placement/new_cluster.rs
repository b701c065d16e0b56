//! A new cluster before it has a host.

use crate::{Error, Result, placement::fill_key::fill_key};
use chainpool_api as api;
use chainpool_networks::{NetworkType, Registry};
use std::{collections::BTreeMap, sync::Arc};

/// A validated new cluster.
pub(crate) struct NewCluster {
    pub(crate) name: Option<String>,
    pub(crate) network: Arc<dyn NetworkType>,
    pub(crate) network_type: String,
    pub(crate) preset: String,
    pub(crate) parameters: serde_json::Value,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) fill_key: Option<String>,
}

impl NewCluster {
    /// Validates a fill entry's type, preset and parameters.
    pub(crate) fn of_entry(registry: &Registry, entry: &api::Fill, place: usize) -> Result<Self> {
        let field = |name: &str| format!("fill[{place}].{name}");
        let network = registry
            .get(&entry.network_type)
            .map_err(|e| Error::field(&field("type"), e.to_string()))?;
        let preset = network.preset(&entry.preset);
        let parameters = network
            .validate(&preset, &entry.parameters)
            .map_err(|e| Error::fields(e.0.into_iter().map(|(name, why)| (field(&name), why)).collect()))?;
        Ok(Self {
            name: None,
            network,
            network_type: entry.network_type.clone(),
            preset,
            parameters,
            labels: BTreeMap::new(),
            fill_key: Some(fill_key(entry)),
        })
    }
}
