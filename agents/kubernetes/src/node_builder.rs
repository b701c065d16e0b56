//! The inputs for the objects of a node or job, and what the objects share: labels, metadata and names.

use crate::files::digest;
use chainpool_agent::{
    ClusterKey, ImageRef, InstanceId, LABEL_JOB, Labels, NodeSpec, Port, Protocol, network_name,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use std::collections::BTreeMap;

/// Labels in the form of Kubernetes.
pub(crate) fn label_map(labels: &Labels) -> BTreeMap<String, String> {
    labels.to_map().into_iter().collect()
}

pub(crate) fn metadata(key: &ClusterKey, name: impl Into<String>, labels: &Labels) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some(network_name(key)),
        labels: Some(label_map(labels)),
        ..ObjectMeta::default()
    }
}

/// The label that distinguishes objects of a job from those of a node.
pub(crate) fn job_label() -> [(String, String); 1] {
    [(LABEL_JOB.to_owned(), "true".to_owned())]
}

pub(crate) fn selector(labels: &BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels.clone()),
        ..LabelSelector::default()
    }
}

/// The inputs for the objects of a node or job.
pub(crate) struct NodeBuilder<'a> {
    pub(crate) instance: InstanceId,
    pub(crate) key: &'a ClusterKey,
    pub(crate) node: &'a NodeSpec,
    pub(crate) image: &'a ImageRef,
    /// The image that places files, if there are any.
    pub(crate) tools: Option<&'a ImageRef>,
    pub(crate) storage_class: Option<&'a str>,
    /// The pull secret of the image.
    pub(crate) login: Option<&'a str>,
}

impl NodeBuilder<'_> {
    pub(crate) fn labels(&self) -> Labels {
        Labels::of_cluster(self.instance, self.key).node(&self.node.name)
    }
}

/// The secret with a node's secret variables. Its name changes with the spec, so that a running node does not
/// get the values of the next spec.
pub(crate) fn variables_name(node: &NodeSpec) -> String {
    format!("{}-variables-{}", node.name, digest(node.hash.0.as_bytes()))
}

pub(crate) fn protocol(port: &Port) -> &'static str {
    match port.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}
