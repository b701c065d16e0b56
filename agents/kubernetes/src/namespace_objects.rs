//! Objects of a cluster's namespace other than its nodes: from key to objects, without API calls.

use crate::{
    files::digest,
    node_builder::{label_map, metadata, selector},
};
use chainpool_agent::{
    ClusterKey, InstanceId, LABEL_CLUSTER, LABEL_GENERATION, LABEL_JOB, Labels, network_name,
};
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{Namespace, Secret},
        networking::v1::{
            NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
            NetworkPolicyPort, NetworkPolicySpec,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use serde_json::json;
use std::collections::BTreeMap;

/// The name of objects that exist once in a namespace. Node names, with at most 20 characters, cannot
/// conflict.
const NAMESPACE_OBJECT_NAME: &str = "chainpool-whole-namespace";

/// The namespace of one generation of a cluster. Its labels make the API server reject privileged pods.
pub(crate) fn namespace(instance: InstanceId, key: &ClusterKey) -> Namespace {
    let mut labels = label_map(&Labels::of_cluster(instance, key));
    labels.extend(restricted());
    Namespace {
        metadata: ObjectMeta {
            name: Some(network_name(key)),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

/// The labels that enforce restricted Pod Security.
pub(crate) fn restricted() -> [(String, String); 2] {
    ["enforce", "warn"].map(|mode| {
        (
            format!("pod-security.kubernetes.io/{mode}"),
            "restricted".to_owned(),
        )
    })
}

/// Isolates a namespace: its pods reach only each other and DNS.
pub(crate) fn isolation_policy(instance: InstanceId, key: &ClusterKey) -> NetworkPolicy {
    let own = NetworkPolicyPeer {
        pod_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let dns = ["UDP", "TCP"].map(|protocol| NetworkPolicyPort {
        port: Some(IntOrString::Int(53)),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    });
    NetworkPolicy {
        metadata: metadata(key, NAMESPACE_OBJECT_NAME, &Labels::of_cluster(instance, key)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![own.clone()]),
                ports: None,
            }]),
            egress: Some(vec![
                NetworkPolicyEgressRule {
                    to: Some(vec![own]),
                    ports: None,
                },
                NetworkPolicyEgressRule {
                    to: None,
                    ports: Some(dns.to_vec()),
                },
            ]),
        }),
    }
}

/// Limits drains of machines to one node of a cluster at a time.
pub(crate) fn budget(instance: InstanceId, key: &ClusterKey) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(key, NAMESPACE_OBJECT_NAME, &Labels::of_cluster(instance, key)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(nodes_selector(key)),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

/// The pull secret for a registry.
pub(crate) fn login(
    namespace: &str,
    labels: BTreeMap<String, String>,
    registry: &str,
    user: &str,
    password: &str,
) -> Secret {
    let config = json!({ "auths": { registry: { "username": user, "password": password } } });
    let name = format!("chainpool-registry-login-{}", digest(registry.as_bytes()));
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        data: Some(BTreeMap::from([(
            ".dockerconfigjson".to_owned(),
            ByteString(config.to_string().into_bytes()),
        )])),
        ..Secret::default()
    }
}

/// Selects the pods of nodes. A pod of a job would make the budget uncountable, and no pod could be evicted.
fn nodes_selector(key: &ClusterKey) -> LabelSelector {
    let cluster = [
        (LABEL_CLUSTER.to_owned(), key.cluster.to_string()),
        (LABEL_GENERATION.to_owned(), key.generation.to_string()),
    ];
    let no_job = LabelSelectorRequirement {
        key: LABEL_JOB.to_owned(),
        operator: "DoesNotExist".to_owned(),
        values: None,
    };
    LabelSelector {
        match_expressions: Some(vec![no_job]),
        ..selector(&BTreeMap::from(cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_namespace_is_isolated_and_restricted() {
        let cluster = chainpool_agent::ClusterId(uuid::Uuid::from_u128(0xabcd));
        let (instance, key) = (
            InstanceId(uuid::Uuid::from_u128(1)),
            ClusterKey {
                cluster,
                generation: 2,
            },
        );
        insta::assert_json_snapshot!("namespace", namespace(instance, &key));
        insta::assert_json_snapshot!("isolation_policy", isolation_policy(instance, &key));
        insta::assert_json_snapshot!("budget", budget(instance, &key));
    }
}
