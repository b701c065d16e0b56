//! Label filters of listings and watches.

use crate::{
    ClusterId, ClusterKey, InstanceId, LABEL_CLUSTER, LABEL_GENERATION, LABEL_INSTANCE, LABEL_NODE, NodeName,
};

/// A label filter: labels with their values, all of which an object must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter(Vec<String>);

impl LabelFilter {
    /// Selects the objects of an instance.
    pub fn instance(instance: InstanceId) -> Self {
        Self(vec![format!("{LABEL_INSTANCE}={instance}")])
    }

    /// Selects the objects of a cluster, of all generations.
    pub fn cluster(instance: InstanceId, cluster: ClusterId) -> Self {
        Self::instance(instance).and(LABEL_CLUSTER, &cluster)
    }

    /// Selects the objects of one generation of a cluster.
    pub fn generation(instance: InstanceId, key: &ClusterKey) -> Self {
        Self::cluster(instance, key.cluster).and(LABEL_GENERATION, &key.generation)
    }

    /// Selects the objects of one node or job.
    pub fn node(instance: InstanceId, key: &ClusterKey, node: &NodeName) -> Self {
        Self::generation(instance, key).and(LABEL_NODE, node)
    }

    /// Also requires this label with this value.
    #[must_use]
    pub fn and(mut self, label: &str, value: &impl ToString) -> Self {
        self.0.push(format!("{label}={}", value.to_string()));
        self
    }

    /// Its conditions, each `label=value`.
    pub fn terms(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Labels;

    #[test]
    fn a_filter_names_the_labels_of_its_objects() {
        let (instance, node) = (InstanceId::new(), NodeName::parse("v0").expect("a name"));
        let key = ClusterKey {
            cluster: ClusterId::new(),
            generation: 3,
        };
        let labels = Labels::of_cluster(instance, &key).node(&node).to_map();
        let filters = [
            LabelFilter::instance(instance),
            LabelFilter::cluster(instance, key.cluster),
            LabelFilter::generation(instance, &key),
            LabelFilter::node(instance, &key, &node),
        ];
        for (count, filter) in filters.iter().enumerate() {
            assert_eq!(filter.terms().len(), count + 1);
            for term in filter.terms() {
                let (label, value) = term.split_once('=').expect("a condition");
                assert_eq!(labels.get(label).map(String::as_str), Some(value), "{filter:?}");
            }
        }
    }
}
