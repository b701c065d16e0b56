//! Registry of network types.

use crate::{NetworkType, cometbft::CometBft, fabric::Fabric};
use std::sync::Arc;

/// All network types by name, the default first. A new type is one new module and one line here.
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
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, replaced)) => *replaced = network,
            None => self.0.push((name, network)),
        }
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

    /// The name of the type of a cluster or fill entry that names none: the first.
    pub fn default_type(&self) -> &'static str {
        self.0.first().map_or("", |(name, _)| name)
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

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_agent::ImageName;

    #[test]
    fn each_image_of_our_own_has_the_command_that_builds_it() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let makefile = std::fs::read_to_string(format!("{root}/Makefile")).expect("the Makefile");
        for network in Registry::default().describe() {
            let builds = Registry::default()
                .get(&network.name)
                .expect("a type")
                .image_builds();
            let images = network.images.into_values().flatten();
            for image in images.filter(|image| image.starts_with("chainpool/")) {
                let repository = ImageName(&image).repository();
                assert!(builds.iter().any(|(known, _)| *known == repository), "{image}");
            }
            for (repository, command) in builds {
                let target = command.strip_prefix("make ").expect("a make target");
                let is_target = |line: &str| line.starts_with(&format!("{target}:"));
                let built = makefile.lines().find(|line| is_target(line)).expect(target);
                assert!(built.contains(repository), "{built} does not name {repository}");
            }
        }
    }

    #[test]
    fn the_default_type_stays_when_others_are_added_or_replaced() {
        let registry = Registry::default();
        assert_eq!(registry.default_type(), "cometbft");
        let fabric = registry.get("fabric").expect("a type");
        let changed = registry
            .with("other", Arc::clone(&fabric))
            .with("cometbft", fabric);
        assert_eq!(changed.default_type(), "cometbft");
        assert_eq!(changed.describe().len(), 3);
    }

    #[test]
    fn the_advice_for_missing_images_names_an_image_of_our_own() {
        let advice = |name: &str, images: &[&str]| {
            let images: Vec<_> = images.iter().map(|image| (*image).to_owned()).collect();
            let network = Registry::default().get(name).expect("a type");
            network.image_advice(&images)
        };
        assert_eq!(
            advice("cometbft", &["cometbft/cometbft:v1", "chainpool/cometbft:1"]).as_deref(),
            Some("build chainpool/cometbft:1 with `make docker-cometbft`")
        );
        assert_eq!(
            advice("cometbft", &["registry.example/chainpool/cometbft:1"]),
            None
        );
        assert_eq!(advice("fabric", &["couchdb:3.4.2"]), None);
        assert_eq!(
            advice("fabric", &["chainpool/fabric-chaincode:0.1.0"]).as_deref(),
            Some("build chainpool/fabric-chaincode:0.1.0 with `make docker-fabric-chaincode`")
        );
    }
}
