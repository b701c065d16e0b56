//! The unprivileged pod of a node.

use crate::{
    files::{Files, OUTSIDE, PARTS, ROOT},
    node_builder::{NodeBuilder, job_label, label_map, protocol, selector, variables_name},
    user::User,
};
use chainpool_agent::{Error, LABEL_CLUSTER, Labels, Readiness, Result, Variable};
use k8s_openapi::{
    api::core::v1::{
        Affinity, Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
        ExecAction, KeyToPath, LocalObjectReference, NodeAffinity, NodeSelector, NodeSelectorRequirement,
        NodeSelectorTerm, PersistentVolumeClaimVolumeSource, PodAffinity, PodAffinityTerm, PodAntiAffinity,
        PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, ResourceRequirements,
        SeccompProfile, SecretKeySelector, SecretProjection, SecurityContext, Sysctl, Volume, VolumeMount,
        VolumeProjection, WeightedPodAffinityTerm,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use std::collections::BTreeMap;

/// The container of the node.
pub(crate) const NODE: &str = "node";
fn readiness_probe(readiness: &Readiness) -> Probe {
    let Readiness {
        command,
        interval,
        timeout,
    } = readiness;
    let number = |value: u32| Some(i32::try_from(value).unwrap_or(i32::MAX));
    Probe {
        // The API expands no variables here.
        exec: Some(ExecAction {
            command: Some(command.clone()),
        }),
        period_seconds: number(*interval),
        timeout_seconds: number(*timeout),
        failure_threshold: number(Readiness::FAILURES),
        ..Probe::default()
    }
}

/// The init container that places its files.
pub(crate) const PLACE: &str = "place-files";
/// Prefix of the labels of pods that share a volume; its name follows.
const LABEL_SHARED: &str = "chainpool.shared-";
/// The CPU request of a node: small, because free clusters are idle.
const CPU_MILLIS: u32 = 20;
/// Memory for placing files, in addition to three times their size, because they are read at once.
const PLACE_MEMORY: usize = 64 << 20;

/// Renders a node's pod.
pub(crate) fn template(builder: &NodeBuilder<'_>, files: &Files, user: User) -> Result<PodTemplateSpec> {
    let node = builder.node;
    let place = match (files.is_empty(), builder.tools) {
        (true, _) => None,
        (false, Some(tools)) => Some(vec![place(builder, files, &tools.pinned)]),
        (false, None) => {
            return Err(Error::Refused(format!(
                "node {}: no image found to place its files",
                node.name
            )));
        }
    };
    Ok(PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(
                label_map(&builder.labels().hash(&node.hash))
                    .into_iter()
                    .chain(shared_labels(builder))
                    .collect(),
            ),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            init_containers: place,
            containers: vec![container(builder, files)?],
            volumes: Some(volumes(builder, files)).filter(|v| !v.is_empty()),
            security_context: Some(pod_security(builder, user)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            image_pull_secrets: builder.login.map(|name| {
                vec![LocalObjectReference {
                    name: name.to_owned(),
                }]
            }),
            termination_grace_period_seconds: Some(node.stop_timeout.into()),
            affinity: Some(affinity(builder)),
            ..PodSpec::default()
        }),
    })
}

/// Turns the template into that of a job: run once, with the end of the log in the pod's status.
pub(crate) fn job_template(mut template: PodTemplateSpec) -> PodTemplateSpec {
    template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default()
        .extend(job_label());
    let pod = template.spec.get_or_insert_default();
    pod.restart_policy = Some("Never".to_owned());
    for container in &mut pod.containers {
        container.ports = None;
        container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    }
    template
}

fn container(builder: &NodeBuilder<'_>, files: &Files) -> Result<Container> {
    let node = builder.node;
    let ports = node.ports.iter().map(|port| ContainerPort {
        container_port: port.inside.into(),
        protocol: Some(protocol(port).to_owned()),
        ..ContainerPort::default()
    });
    let mut mounts: Vec<_> = node
        .volumes
        .iter()
        .map(|v| mount(&volume_id(&v.name), &v.path))
        .collect();
    mounts.extend(files.outside.iter().map(|path| VolumeMount {
        sub_path: Some(path.trim_start_matches('/').to_owned()),
        ..mount(OUTSIDE, path)
    }));
    let memory = i64::try_from(node.limits.memory_bytes).map_err(|_| {
        Error::Refused(format!(
            "node {}: {} bytes of memory exceed the maximum of Kubernetes",
            node.name, node.limits.memory_bytes
        ))
    })?;
    Ok(Container {
        name: NODE.to_owned(),
        image: Some(builder.image.pinned.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(node.command.iter().map(|word| literal(word)).collect())
            .filter(|c: &Vec<_>| !c.is_empty()),
        env: Some(
            node.env
                .iter()
                .map(|(name, value)| variable(builder, name, value))
                .collect(),
        )
        .filter(|e: &Vec<_>| !e.is_empty()),
        ports: Some(ports.collect()).filter(|p: &Vec<_>| !p.is_empty()),
        readiness_probe: node.readiness.as_ref().map(readiness_probe),
        resources: Some(resources(&memory.to_string(), node.limits.cpu_millis)),
        security_context: Some(security(node.read_only_root)),
        volume_mounts: Some(mounts).filter(|m| !m.is_empty()),
        ..Container::default()
    })
}

/// The init container that places the files as the node's user before each start.
fn place(builder: &NodeBuilder<'_>, files: &Files, image: &str) -> Container {
    let mut mounts = vec![VolumeMount {
        read_only: Some(true),
        ..mount("chainpool-parts", PARTS)
    }];
    mounts.extend(
        builder
            .node
            .volumes
            .iter()
            .map(|v| mount(&volume_id(&v.name), &format!("{ROOT}{}", v.path))),
    );
    if !files.outside.is_empty() {
        mounts.push(mount(OUTSIDE, &format!("{ROOT}/{OUTSIDE}")));
    }
    let size: usize = files.parts().iter().map(|part| part.bytes.expose().len()).sum();
    Container {
        name: PLACE.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some([vec!["/usr/bin/chainpool-place".to_owned()], files.arguments()].concat()),
        resources: Some(resources(&(PLACE_MEMORY + 3 * size).to_string(), None)),
        security_context: Some(security(true)),
        // Puts its output into the pod's status.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn volumes(builder: &NodeBuilder<'_>, files: &Files) -> Vec<Volume> {
    let mut volumes: Vec<_> = builder
        .node
        .volumes
        .iter()
        .map(|v| Volume {
            name: volume_id(&v.name),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: v.object_name(builder.key, &builder.node.name),
                read_only: None,
            }),
            ..Volume::default()
        })
        .collect();
    if !files.is_empty() {
        let source = |part: &&crate::files::Part| VolumeProjection {
            secret: Some(SecretProjection {
                name: part.secret.clone(),
                items: Some(vec![KeyToPath {
                    key: part.name.clone(),
                    path: part.name.clone(),
                    ..KeyToPath::default()
                }]),
                optional: None,
            }),
            ..VolumeProjection::default()
        };
        volumes.push(Volume {
            name: "chainpool-parts".to_owned(),
            projected: Some(ProjectedVolumeSource {
                sources: Some(files.parts().iter().map(source).collect()),
                default_mode: Some(0o440),
                ..ProjectedVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    if !files.outside.is_empty() {
        volumes.push(Volume {
            name: OUTSIDE.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        });
    }
    volumes
}

fn pod_security(builder: &NodeBuilder<'_>, user: User) -> PodSecurityContext {
    // A safe sysctl by Kubernetes' definition: it applies only to the pod's network namespace.
    let low = builder.node.ports.iter().any(|p| p.inside < 1024);
    let unprivileged = Sysctl {
        name: "net.ipv4.ip_unprivileged_port_start".to_owned(),
        value: "0".to_owned(),
    };
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(user.uid.into()),
        run_as_group: Some(user.gid.into()),
        fs_group: Some(user.gid.into()),
        // Always would make all files, including keys, accessible to the group at each start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        sysctls: low.then(|| vec![unprivileged]),
        ..PodSecurityContext::default()
    }
}

pub(crate) fn security(read_only_root: bool) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            add: None,
            drop: Some(vec!["ALL".to_owned()]),
        }),
        read_only_root_filesystem: Some(read_only_root),
        run_as_non_root: Some(true),
        ..SecurityContext::default()
    }
}

pub(crate) fn resources(memory: &str, cpu_millis: Option<u32>) -> ResourceRequirements {
    let memory = ("memory".to_owned(), Quantity(memory.to_owned()));
    let cpu = |millis: u32| ("cpu".to_owned(), Quantity(format!("{millis}m")));
    // A request above the limit is invalid.
    let request = cpu_millis.map_or(CPU_MILLIS, |limit| limit.min(CPU_MILLIS));
    ResourceRequirements {
        limits: Some([memory.clone()].into_iter().chain(cpu_millis.map(cpu)).collect()),
        requests: Some(BTreeMap::from([memory, cpu(request)])),
        claims: None,
    }
}

/// Labels of a pod for its shared volumes.
fn shared_labels(builder: &NodeBuilder<'_>) -> impl Iterator<Item = (String, String)> {
    let shared = builder.node.volumes.iter().filter(|volume| volume.shared);
    shared.map(|volume| (format!("{LABEL_SHARED}{}", volume.name), "true".to_owned()))
}

/// Spreads the nodes of a cluster over machines if possible. A node with a named machine runs there, and nodes that
/// share a volume run on one machine.
fn affinity(builder: &NodeBuilder<'_>) -> Affinity {
    let labels = Labels::of_cluster(builder.instance, builder.key);
    let cluster = label_map(&labels)
        .into_iter()
        .filter(|(name, _)| name == LABEL_CLUSTER)
        .collect();
    let apart = PodAffinityTerm {
        label_selector: Some(selector(&cluster)),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let together: Vec<PodAffinityTerm> = shared_labels(builder)
        .map(|label| PodAffinityTerm {
            label_selector: Some(selector(&BTreeMap::from([label]))),
            topology_key: "kubernetes.io/hostname".to_owned(),
            ..PodAffinityTerm::default()
        })
        .collect();
    let machine = builder.node.machine.as_ref().map(|machine| NodeAffinity {
        required_during_scheduling_ignored_during_execution: Some(NodeSelector {
            node_selector_terms: vec![NodeSelectorTerm {
                match_fields: Some(vec![NodeSelectorRequirement {
                    key: "metadata.name".to_owned(),
                    operator: "In".to_owned(),
                    values: Some(vec![machine.clone()]),
                }]),
                match_expressions: None,
            }],
        }),
        ..NodeAffinity::default()
    });
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                pod_affinity_term: apart,
                weight: 100,
            }]),
            ..PodAntiAffinity::default()
        }),
        node_affinity: machine,
        pod_affinity: (!together.is_empty()).then(|| PodAffinity {
            required_during_scheduling_ignored_during_execution: Some(together),
            ..PodAffinity::default()
        }),
    }
}

fn variable(builder: &NodeBuilder<'_>, name: &str, value: &Variable) -> EnvVar {
    match value {
        Variable::Plain(text) => EnvVar {
            name: name.to_owned(),
            value: Some(literal(text)),
            value_from: None,
        },
        Variable::Secret(_) => EnvVar {
            name: name.to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: variables_name(builder.node),
                    key: name.to_owned(),
                    optional: None,
                }),
                ..EnvVarSource::default()
            }),
        },
    }
}

/// Escapes dollars: Kubernetes expands `$(NAME)` and `$$` in commands and variables.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

/// A volume's name in the pod, prefixed so that it does not conflict with ours.
fn volume_id(name: &str) -> String {
    format!("volume-{name}")
}
