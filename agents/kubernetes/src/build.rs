//! Kubernetes objects of a node: from spec to objects, without API calls.

use crate::{
    files::Files,
    node_builder::{NodeBuilder, job_label, label_map, metadata, protocol, selector, variables_name},
    pod,
    user::User,
};
use chainpool_agent::{Audience, Error, LogType, NodeName, Port, Result, Variable, volume_name};
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
        let claim = |name: String| PersistentVolumeClaim {
            metadata: metadata(self.key, name, &self.labels()),
            spec: Some(PersistentVolumeClaimSpec {
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
        self.node
            .volumes
            .iter()
            .map(|v| claim(volume_name(self.key, &self.node.name, &v.name)))
            .collect()
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
mod tests {
    use super::*;
    use chainpool_agent::{
        ClusterKey, File, ImageRef, InstanceId, LABEL_JOB, Limits, LogConfig, NodeSpec, Protocol, SpecHash,
        Volume,
    };

    fn node() -> NodeSpec {
        let file = |path: &str, once| File {
            path: path.into(),
            content: chainpool_agent::Secret::new(b"content".to_vec()),
            mode: 0o600,
            owner: (1000, 1001),
            secret: true,
            once,
        };
        let port = |name: &str, inside, audience, published| Port {
            name: name.into(),
            inside,
            protocol: Protocol::Tcp,
            audience,
            published,
        };
        NodeSpec {
            name: NodeName::parse("v0").expect("a node name"),
            images: vec!["a/node:1".into()],
            command: vec!["/usr/bin/node".into(), "--home=$HOME".into()],
            user: Some("1000:1001".into()),
            env: BTreeMap::from([
                ("OPEN".to_owned(), Variable::Plain("plain".into())),
                (
                    "HIDDEN".to_owned(),
                    Variable::Secret(chainpool_agent::Secret::new("hidden".into())),
                ),
            ]),
            files: vec![
                file("/data/config/app", false),
                file("/data/state", true),
                file("/etc/node/outside", false),
            ],
            volumes: vec![Volume {
                name: "data".into(),
                path: "/data".into(),
            }],
            ports: vec![
                port("rpc", 26_657, Audience::User, Some(30_001)),
                port("p2p", 26_656, Audience::Peers, None),
                port("admin", 443, Audience::Control, Some(30_002)),
            ],
            limits: Limits {
                memory_bytes: 256 << 20,
                processes: 512,
            },
            read_only_root: false,
            machine: None,
            log: LogConfig::default(),
            stop_signal: "SIGTERM".into(),
            stop_timeout: 10,
            hash: SpecHash("0123456789abcdef0123456789abcdef".into()),
        }
    }

    fn ids() -> (InstanceId, ClusterKey) {
        let id = |n: u128| chainpool_agent::ClusterId(uuid::Uuid::from_u128(n));
        (
            InstanceId(uuid::Uuid::from_u128(1)),
            ClusterKey {
                cluster: id(0xabcd),
                generation: 2,
            },
        )
    }

    fn with_builder<T>(node: &NodeSpec, build: impl FnOnce(&NodeBuilder<'_>) -> T) -> T {
        let (instance, key) = ids();
        let image = ImageRef {
            name: "a/node:1".into(),
            pinned: "docker.io/a/node@sha256:0".into(),
        };
        let tools = ImageRef {
            name: "chainpool/tools:1".into(),
            pinned: "chainpool/tools:1".into(),
        };
        build(&NodeBuilder {
            instance,
            key: &key,
            node,
            image: &image,
            tools: Some(&tools),
            storage_class: Some("fast"),
            login: Some("login"),
        })
    }

    fn objects(node: &NodeSpec, replicas: i32) -> Result<NodeObjects> {
        with_builder(node, |builder| builder.objects(replicas))
    }

    #[test]
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself has a single lifetime"
    )]
    fn a_job_runs_a_node_pod_once_without_ports() {
        let of_node = objects(&node(), 1)
            .expect("objects")
            .set
            .spec
            .template
            .spec
            .expect("a pod");
        let JobObjects { secrets, claims, job } =
            with_builder(&node(), |builder| builder.job_objects()).expect("objects");
        assert_eq!((secrets.len(), claims.len()), (3, 1));
        let JobSpec {
            backoff_limit,
            template,
            ..
        } = job.spec.clone().expect("a spec");
        assert_eq!(backoff_limit, Some(0));
        for labels in [
            job.metadata.labels,
            template.metadata.and_then(|meta| meta.labels),
        ] {
            let labels = labels.expect("labels");
            assert!(
                labels.contains_key(LABEL_JOB) && labels["chainpool.hash"] == node().hash.0,
                "{labels:?}"
            );
        }
        let mut pod = template.spec.expect("a pod");
        assert_eq!(pod.restart_policy.take().as_deref(), Some("Never"));
        let container = &mut pod.containers[0];
        assert_eq!(
            (
                container.ports.take(),
                container.termination_message_policy.take().is_some()
            ),
            (None, true)
        );
        container.ports.clone_from(&of_node.containers[0].ports);
        assert_eq!(pod, of_node, "there are no other differences");
    }

    #[test]
    fn a_node_is_an_unprivileged_stateful_set_of_one_pod() {
        let NodeObjects {
            peer_service,
            published_service,
            policy,
            secrets,
            claims,
            set,
        } = objects(&node(), 1).expect("objects");
        insta::assert_json_snapshot!("peer_service", peer_service);
        insta::assert_json_snapshot!("published_service", published_service);
        insta::assert_json_snapshot!("policy", policy);
        insta::assert_json_snapshot!("claims", claims);
        insta::assert_json_snapshot!("set", set);
        // The content changes with the tar crate; compare only the names that the pod references.
        let text = serde_json::to_string(&set).expect("json");
        assert!(
            secrets.len() == 3
                && secrets
                    .iter()
                    .all(|s| s.metadata.name.as_ref().is_some_and(|name| text.contains(name)))
        );
        assert!(!text.contains("hidden"));
    }

    #[test]
    fn only_user_ports_are_published() {
        let mut node = node();
        node.ports.remove(0);
        let objects = objects(&node, 0).expect("objects");
        assert!(objects.published_service.is_none() && objects.policy.is_none());
    }

    #[test]
    fn root_and_syslog_are_refused() {
        let with = |change: fn(&mut NodeSpec)| {
            let mut node = node();
            change(&mut node);
            objects(&node, 1).err()
        };
        assert!(matches!(
            with(|n| n.user = Some("postgres".into())),
            Some(Error::Refused(_))
        ));
        assert!(matches!(
            with(|n| n.files[0].mode = 0o4755),
            Some(Error::Refused(_))
        ));
        assert!(matches!(
            with(|n| n.read_only_root = true),
            Some(Error::Refused(_))
        ));
        assert!(matches!(
            with(|n| n.log.kind = LogType::Syslog),
            Some(Error::Unsupported(_))
        ));
        assert!(with(|n| n.user = None).is_none());
        assert!(matches!(
            with(|n| {
                n.user = Some("0:0".into());
                n.files[0].owner = (5, 5);
            }),
            Some(Error::Refused(_))
        ));
    }
}
