//! Names and labels of platform objects, one function each.

use crate::{ClusterId, ClusterKey, Generation, InstanceId, NodeName, SpecHash, Volume};
use std::collections::HashMap;

/// Label: the Chainpool installation that created the object.
pub const LABEL_INSTANCE: &str = "chainpool.instance";
/// Label: the object's cluster.
pub const LABEL_CLUSTER: &str = "chainpool.cluster";
/// Label: the generation of that cluster.
pub const LABEL_GENERATION: &str = "chainpool.generation";
/// Label: the node or job of that cluster, on objects of one node or job.
pub const LABEL_NODE: &str = "chainpool.node";
/// Label: the hash of the node's spec, on the node's main object.
pub const LABEL_HASH: &str = "chainpool.hash";
/// Label: marks a job's main object. Its value has no meaning.
pub const LABEL_JOB: &str = "chainpool.job";

/// The name of the network of one generation of a cluster: `cp-<last 12 hex digits>-<generation>`.
pub fn network_name(key: &ClusterKey) -> String {
    let hex = key.cluster.0.simple().to_string();
    format!("cp-{}-{}", &hex[20..], key.generation)
}

/// The name of a node's main object: `cp-<last 12 hex digits>-<generation>-<node>`.
pub fn node_object_name(key: &ClusterKey, node: &NodeName) -> String {
    format!("{}-{node}", network_name(key))
}

/// The name of a volume of a node.
pub fn volume_name(key: &ClusterKey, node: &NodeName, volume: &str) -> String {
    format!("{}-{volume}", node_object_name(key, node))
}

/// The name of a volume that nodes of a cluster share. It differs from every [`volume_name`], because no node's
/// name begins with a hyphen.
pub fn shared_volume_name(key: &ClusterKey, volume: &str) -> String {
    format!("{}--{volume}", network_name(key))
}

/// The labels of one of our objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The installation.
    pub instance: InstanceId,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its generation.
    pub generation: Generation,
    /// The node, on objects of one node.
    pub node: Option<NodeName>,
    /// The spec hash, on a node's main object.
    pub hash: Option<SpecHash>,
}

impl Labels {
    /// Labels of an object of a whole cluster.
    pub fn of_cluster(instance: InstanceId, key: &ClusterKey) -> Self {
        Self {
            instance,
            cluster: key.cluster,
            generation: key.generation,
            node: None,
            hash: None,
        }
    }

    /// Adds the node, for an object of one node.
    #[must_use]
    pub fn node(mut self, node: &NodeName) -> Self {
        self.node = Some(node.clone());
        self
    }

    /// Adds the hash, for a node's main object.
    #[must_use]
    pub fn hash(mut self, hash: &SpecHash) -> Self {
        self.hash = Some(hash.clone());
        self
    }

    /// The labels as the platform stores them.
    pub fn to_map(&self) -> HashMap<String, String> {
        let Self {
            instance,
            cluster,
            generation,
            node,
            hash,
        } = self;
        let mut map = HashMap::from([
            (LABEL_INSTANCE.to_owned(), instance.to_string()),
            (LABEL_CLUSTER.to_owned(), cluster.to_string()),
            (LABEL_GENERATION.to_owned(), generation.to_string()),
        ]);
        if let Some(node) = node {
            map.insert(LABEL_NODE.to_owned(), node.to_string());
        }
        if let Some(hash) = hash {
            map.insert(LABEL_HASH.to_owned(), hash.to_string());
        }
        map
    }

    /// The labels of a job's main object.
    pub fn to_job_map(&self) -> HashMap<String, String> {
        let mut map = self.to_map();
        map.insert(LABEL_JOB.to_owned(), "true".to_owned());
        map
    }

    /// Parses labels; `None` when the object is not Chainpool's, or its labels were tampered with.
    pub fn from_map(map: &HashMap<String, String>) -> Option<Self> {
        Some(Self {
            instance: map.get(LABEL_INSTANCE)?.parse().ok()?,
            cluster: map.get(LABEL_CLUSTER)?.parse().ok()?,
            generation: map.get(LABEL_GENERATION)?.parse().ok()?,
            node: map.get(LABEL_NODE).map(|n| NodeName::parse(n)).transpose().ok()?,
            hash: map.get(LABEL_HASH).map(|h| SpecHash(h.clone())),
        })
    }
}

impl Volume {
    /// Its name on the platform.
    pub fn object_name(&self, key: &ClusterKey, node: &NodeName) -> String {
        if self.shared {
            shared_volume_name(key, &self.name)
        } else {
            volume_name(key, node, &self.name)
        }
    }

    /// Its labels on the platform.
    pub fn labels(&self, instance: InstanceId, key: &ClusterKey, node: &NodeName) -> Labels {
        let labels = Labels::of_cluster(instance, key);
        if self.shared { labels } else { labels.node(node) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn labels_survive_a_round_trip(generation in 1u32.., with_node: bool) {
            let key = ClusterKey { cluster: ClusterId::new(), generation };
            let mut labels = Labels::of_cluster(InstanceId::new(), &key);
            if with_node {
                labels = labels.node(&NodeName::parse("v0").expect("a node name")).hash(&SpecHash("ab".into()));
            }
            prop_assert_eq!(Labels::from_map(&labels.to_map()), Some(labels));
        }

        #[test]
        fn names_differ_by_generation_and_node(a in 1u32..99, b in 1u32..99) {
            let cluster = ClusterId::new();
            let (v0, v1) = (NodeName::parse("v0").expect("name"), NodeName::parse("v1").expect("name"));
            let (ka, kb) = (ClusterKey { cluster, generation: a }, ClusterKey { cluster, generation: b });
            prop_assert_eq!(node_object_name(&ka, &v0) == node_object_name(&kb, &v0), a == b);
            prop_assert_ne!(node_object_name(&ka, &v0), node_object_name(&ka, &v1));
            prop_assert!(node_object_name(&ka, &v0).len() <= 63);
        }
    }
}
