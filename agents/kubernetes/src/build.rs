//! Kubernetes objects of a node: from spec to objects, without API calls.

use crate::{
    files::Files,
    node_builder::{NodeBuilder, job_label, label_map, metadata, protocol, selector, variables_name},
    pod,
    user::User,
};
use chainpool_agent::{Audience, Error, LogType, NodeName, Port, Result, Variable, Volume};
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy},
        batch::v1::{Job, JobSpec},
        core::v1::{
            PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, Secret, Service, ServicePort,
            ServiceSpec, VolumeResourceRequirements,
        },
        networking::v1::{NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec},
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use kube::ResourceExt;
use std::collections::BTreeMap;

/// Suffix of the service that publishes a node's ports. It is longer than any node name.
const PUBLISHED: &str = "published-by-chainpool";
/// The size of each claim: a spec gives none. The storage class may or may not enforce it.
const CLAIM_BYTES: u64 = 2 << 30;

/// The objects of one node, in order of creation.
pub(crate) struct NodeObjects {
    pub(crate) peer_service: Option<Service>,
    pub(crate) published_service: Option<Service>,
    pub(crate) policy: Option<NetworkPolicy>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) claims: Vec<PersistentVolumeClaim>,
    pub(crate) set: StatefulSet,
}

/// The objects of one job, in order of creation.
pub(crate) struct JobObjects {
    pub(crate) secrets: Vec<Secret>,
    pub(crate) claims: Vec<PersistentVolumeClaim>,
    pub(crate) job: Job,
}

impl NodeBuilder<'_> {
    /// Renders a job's objects, without ports. Refuses a spec that needs privileges.
    pub(crate) fn job_objects(&self) -> Result<JobObjects> {
        let (files, template) = self.pod()?;
        let mut job = Job {
            metadata: metadata(
                self.key,
                self.node.name.as_str(),
                &self.labels().hash(&self.node.hash),
            ),
            // One attempt: the caller decides on another.
            spec: Some(JobSpec {
                backoff_limit: Some(0),
                template: pod::job_template(template),
                ..JobSpec::default()
            }),
            status: None,
        };
        job.labels_mut().extend(job_label());
        Ok(JobObjects {
            secrets: self.secrets(&files),
            claims: self.claims(),
            job,
        })
    }

    /// Renders a node's objects. Refuses a spec that needs privileges.
    pub(crate) fn objects(&self, replicas: i32) -> Result<NodeObjects> {
        let (files, template) = self.pod()?;
        let set = StatefulSet {
            metadata: metadata(
                self.key,
                self.node.name.as_str(),
                &self.labels().hash(&self.node.hash),
            ),
            spec: StatefulSetSpec {
                replicas: Some(replicas),
                service_name: Some(self.node.name.to_string()),
                selector: selector(&self.node_selector()),
                // With the default (OrderedReady) a pod that never became ready would block its own
                // replacement.
                pod_management_policy: Some("Parallel".to_owned()),
                // Only an explicit call restarts the pod.
                update_strategy: Some(StatefulSetUpdateStrategy {
                    type_: Some("OnDelete".to_owned()),
                    rolling_update: None,
                }),
                revision_history_limit: Some(1),
                template,
                ..StatefulSetSpec::default()
            },
            status: None,
        };
        let secrets = self.secrets(&files);
        Ok(NodeObjects {
            peer_service: self.peer_service(),
            published_service: self.published_service(),
            policy: self.policy(),
            secrets,
            claims: self.claims(),
            set,
        })
    }

    /// The files and the pod template that mounts them.
    fn pod(&self) -> Result<(Files, PodTemplateSpec)> {
        let user = User::of(self.node)?;
        if self.node.log.kind == LogType::Syslog {
            return Err(Error::Unsupported(format!(
                "send the output of node {} to a syslog server, because the machines store container logs: set the host's log type to \
                 local and forward the logs with the cluster's own collector",
                self.node.name
            )));
        }
        let files = Files::of(self.node, user)?;
        let template = pod::template(self, &files, user)?;
        Ok((files, template))
    }

    fn secrets(&self, files: &Files) -> Vec<Secret> {
        let mut secrets = self.file_secrets(files);
        secrets.extend(self.variable_secret());
        secrets
    }

    /// The labels that select the node's pod.
    fn node_selector(&self) -> BTreeMap<String, String> {
        label_map(&self.labels())
    }

    /// The service through which peers reach this node. Its address outlives the pod: ledgers resolve their
    /// peers once, at startup, and nodes that start together would resolve addresses of deleted pods.
    fn peer_service(&self) -> Option<Service> {
        let ports: Vec<_> = self.node.ports.iter().map(service_port).collect();
        let spec = ServiceSpec {
            selector: Some(self.node_selector()),
            ports: Some(ports),
            ..ServiceSpec::default()
        };
        (!self.node.ports.is_empty()).then(|| Service {
            metadata: metadata(self.key, self.node.name.as_str(), &self.labels()),
            spec: Some(spec),
            status: None,
        })
    }

    /// The service that publishes client ports. Chainpool reaches its own ports through the API server.
    fn published_service(&self) -> Option<Service> {
        let ports: Vec<_> = self
            .user_ports()
            .map(|(port, published)| ServicePort {
                node_port: Some(published.into()),
                ..service_port(port)
            })
            .collect();
        (!ports.is_empty()).then(|| Service {
            metadata: metadata(self.key, published_name(&self.node.name), &self.labels()),
            spec: Some(ServiceSpec {
                type_: Some("NodePort".to_owned()),
                selector: Some(self.node_selector()),
                ports: Some(ports),
                publish_not_ready_addresses: Some(true),
                ..ServiceSpec::default()
            }),
            status: None,
        })
    }

    /// The network policy that opens the published ports in the isolated namespace.
    fn policy(&self) -> Option<NetworkPolicy> {
        let ports: Vec<_> = self
            .user_ports()
            .map(|(port, _)| NetworkPolicyPort {
                port: Some(IntOrString::Int(port.inside.into())),
                protocol: Some(protocol(port).to_owned()),
                ..NetworkPolicyPort::default()
            })
            .collect();
        (!ports.is_empty()).then(|| NetworkPolicy {
            metadata: metadata(self.key, self.node.name.as_str(), &self.labels()),
            spec: Some(NetworkPolicySpec {
                pod_selector: Some(selector(&self.node_selector())),
                policy_types: Some(vec!["Ingress".to_owned()]),
                ingress: Some(vec![NetworkPolicyIngressRule {
                    from: None,
                    ports: Some(ports),
                }]),
                egress: None,
            }),
        })
    }

    fn user_ports(&self) -> impl Iterator<Item = (&Port, u16)> {
        self.node
            .ports
            .iter()
            .filter(|p| p.audience == Audience::User)
            .filter_map(|p| p.published.map(|published| (p, published)))
    }

    fn file_secrets(&self, files: &Files) -> Vec<Secret> {
        let labels = self.labels().hash(&self.node.hash);
        files
            .parts()
            .iter()
            .map(|part| Secret {
                metadata: metadata(self.key, &part.secret, &labels),
                immutable: Some(true),
                data: Some(BTreeMap::from([(
                    part.name.clone(),
                    ByteString(part.bytes.expose().clone()),
                )])),
                ..Secret::default()
            })
            .collect()
    }

    /// The secret with the values of secret variables, which must not appear in the pod spec.
    fn variable_secret(&self) -> Option<Secret> {
        let data: BTreeMap<_, _> = self
            .node
            .env
            .iter()
            .filter_map(|(name, value)| match value {
                Variable::Secret(text) => {
                    Some((name.clone(), ByteString(text.expose().clone().into_bytes())))
                }
                Variable::Plain(_) => None,
            })
            .collect();
        (!data.is_empty()).then(|| Secret {
            metadata: metadata(
                self.key,
                variables_name(self.node),
                &self.labels().hash(&self.node.hash),
            ),
            data: Some(data),
            ..Secret::default()
        })
    }

    fn claims(&self) -> Vec<PersistentVolumeClaim> {
        let claim = |volume: &Volume| PersistentVolumeClaim {
            metadata: metadata(
                self.key,
                volume.object_name(self.key, &self.node.name),
                &volume.labels(self.instance, self.key, &self.node.name),
            ),
            spec: Some(PersistentVolumeClaimSpec {
                // Several pods of one machine may use it.
                access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
                storage_class_name: self.storage_class.map(str::to_owned),
                resources: Some(VolumeResourceRequirements {
                    requests: Some(BTreeMap::from([(
                        "storage".to_owned(),
                        Quantity(CLAIM_BYTES.to_string()),
                    )])),
                    limits: None,
                }),
                ..PersistentVolumeClaimSpec::default()
            }),
            status: None,
        };
        self.node.volumes.iter().map(claim).collect()
    }
}

/// The name of the service that publishes a node's ports.
pub(crate) fn published_name(node: &NodeName) -> String {
    format!("{node}-{PUBLISHED}")
}

/// The name of a node's pod.
pub(crate) fn pod_name(node: &NodeName) -> String {
    format!("{node}-0")
}

fn service_port(port: &Port) -> ServicePort {
    ServicePort {
        name: Some(port.name.clone()),
        port: port.inside.into(),
        target_port: Some(IntOrString::Int(port.inside.into())),
        protocol: Some(protocol(port).to_owned()),
        ..ServicePort::default()
    }
}

#[cfg(test)]
mod tests;
