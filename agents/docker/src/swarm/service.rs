//! Services of the swarm, and the rendering of specs into service requests. Pure.

use crate::container::{NANOS, health_check, log_config, nano_cpus, variable};
use bollard::models::{
    EndpointPortConfig, EndpointPortConfigProtocolEnum as Transport, EndpointPortConfigPublishModeEnum,
    EndpointSpec, EndpointSpecModeEnum, Limit, Mount, MountType, MountVolumeOptions, NetworkAttachmentConfig,
    Service, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec,
    TaskSpecContainerSpecFile, TaskSpecContainerSpecPrivileges, TaskSpecContainerSpecSecrets,
    TaskSpecLogDriver, TaskSpecPlacement, TaskSpecResources, TaskSpecRestartPolicy,
    TaskSpecRestartPolicyConditionEnum as Restart,
};
use chainpool_agent::{
    ClusterKey, Error, ImageRef, InstanceId, Labels, NodeSpec, Port, Protocol, Result, node_object_name,
};
use std::collections::HashMap;

/// Label: marks an auxiliary object of a node, with its purpose as value.
pub(super) const LABEL_PART: &str = "chainpool.part";
/// Label: marks the tasks of a node with a readiness check. Swarms answer with another spelling of the check's field
/// than their API's description has, so clients may not read it.
pub(super) const LABEL_READINESS: &str = "chainpool.readiness";
/// Delay before the swarm restarts an exited node, in nanoseconds.
const RESTART_DELAY: i64 = 1_000_000_000;

/// A service in the swarm.
pub(super) struct Found {
    pub(super) id: String,
    pub(super) labels: Option<Labels>,
    pub(super) version: i32,
    pub(super) spec: Box<ServiceSpec>,
}

impl From<Service> for Found {
    fn from(service: Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        Self {
            id: service.id.unwrap_or_default(),
            labels: spec.labels.as_ref().and_then(Labels::from_map),
            version: service
                .version
                .and_then(|v| v.index)
                .and_then(|v| i32::try_from(v).ok())
                .unwrap_or_default(),
            spec: Box::new(spec),
        }
    }
}

impl Found {
    pub(super) fn replicas(&self) -> i64 {
        self.spec
            .mode
            .as_ref()
            .and_then(|m| m.replicated.as_ref()?.replicas)
            .unwrap_or_default()
    }

    /// The machine in its placement constraint.
    pub(super) fn machine(&self) -> Option<&str> {
        let constraints = self
            .spec
            .task_template
            .as_ref()?
            .placement
            .as_ref()?
            .constraints
            .as_deref()?;
        constraints.iter().find_map(|c| c.strip_prefix("node.id=="))
    }
}

/// A helper task: one run of our tools image on one machine.
pub(super) struct HelperTask {
    pub(super) name: String,
    pub(super) labels: HashMap<String, String>,
    pub(super) image: String,
    pub(super) machine: String,
    pub(super) command: Vec<String>,
    pub(super) mounts: Vec<Mount>,
    /// Ids, names and file names of secrets.
    pub(super) secrets: Vec<(String, String, String)>,
}

/// Renders the service of a node. `network` is the id of its network.
pub(super) fn node_service(
    instance: InstanceId,
    key: &ClusterKey,
    node: &NodeSpec,
    image: &ImageRef,
    machine: &str,
    network: &str,
) -> Result<Box<ServiceSpec>> {
    let name = node_object_name(key, &node.name);
    let labels = Labels::of_cluster(instance, key)
        .node(&node.name)
        .hash(&node.hash)
        .to_map();
    let mut task_labels = labels.clone();
    if node.readiness.is_some() {
        task_labels.insert(LABEL_READINESS.to_owned(), "true".to_owned());
    }
    // The spec's program replaces the image's entry point.
    let (command, args) = match node.command.split_first() {
        Some((program, arguments)) => (Some(vec![program.clone()]), Some(arguments.to_vec())),
        None => (None, None),
    };
    let log = log_config(&node.log, &name);
    let container = TaskSpecContainerSpec {
        image: Some(image.pinned.clone()),
        labels: Some(task_labels),
        command,
        args,
        hostname: Some(node.name.to_string()),
        env: Some(
            node.env
                .iter()
                .map(|(name, value)| variable(name, value))
                .collect(),
        ),
        user: node.user.clone(),
        health_check: Some(health_check(node.readiness.as_ref())),
        privileges: Some(no_new_privileges()),
        read_only: Some(node.read_only_root),
        mounts: Some(node_mounts(instance, key, node)),
        stop_signal: Some(node.stop_signal.clone()),
        stop_grace_period: Some(i64::from(node.stop_timeout) * NANOS),
        capability_drop: Some(vec!["ALL".to_owned()]),
        ..TaskSpecContainerSpec::default()
    };
    let task = TaskSpec {
        container_spec: Some(container),
        resources: Some(resources(node)?),
        restart_policy: Some(TaskSpecRestartPolicy {
            condition: Some(Restart::ANY),
            delay: Some(RESTART_DELAY),
            ..TaskSpecRestartPolicy::default()
        }),
        placement: Some(pinned_to(machine)),
        networks: Some(vec![NetworkAttachmentConfig {
            target: Some(network.to_owned()),
            aliases: Some(vec![node.name.to_string()]),
            ..NetworkAttachmentConfig::default()
        }]),
        log_driver: Some(TaskSpecLogDriver {
            name: log.typ,
            options: log.config,
        }),
        ..TaskSpec::default()
    };
    Ok(Box::new(ServiceSpec {
        name: Some(name),
        labels: Some(labels),
        task_template: Some(task),
        mode: Some(replicas(0)),
        endpoint_spec: Some(EndpointSpec {
            mode: Some(EndpointSpecModeEnum::DNSRR),
            ports: Some(ports(&node.ports)),
        }),
        ..ServiceSpec::default()
    }))
}

/// Renders the service of a job: like a node's, without ports and restarts.
pub(super) fn job_service(
    instance: InstanceId,
    key: &ClusterKey,
    job: &NodeSpec,
    image: &ImageRef,
    machine: &str,
    network: &str,
) -> Result<Box<ServiceSpec>> {
    let mut spec = node_service(instance, key, job, image, machine, network)?;
    let labels = Labels::of_cluster(instance, key)
        .node(&job.name)
        .hash(&job.hash)
        .to_job_map();
    let task = spec.task_template.get_or_insert_default();
    task.restart_policy = Some(once());
    task.container_spec.get_or_insert_default().labels = Some(labels.clone());
    spec.labels = Some(labels);
    spec.endpoint_spec.get_or_insert_default().ports = None;
    spec.mode = Some(replicas(1));
    Ok(spec)
}

/// Renders the service of an helper.
pub(super) fn helper_task_service(helper: HelperTask) -> Box<ServiceSpec> {
    let HelperTask {
        name,
        labels,
        image,
        machine,
        command,
        mounts,
        secrets,
    } = helper;
    let secrets = secrets
        .into_iter()
        .map(|(id, name, file)| TaskSpecContainerSpecSecrets {
            file: Some(TaskSpecContainerSpecFile {
                name: Some(file),
                uid: Some("0".to_owned()),
                gid: Some("0".to_owned()),
                mode: Some(0o400),
            }),
            secret_id: Some(id),
            secret_name: Some(name),
        });
    let container = TaskSpecContainerSpec {
        image: Some(image),
        labels: Some(labels.clone()),
        command: Some(command),
        user: Some("0:0".to_owned()),
        privileges: Some(no_new_privileges()),
        read_only: Some(true),
        mounts: Some(mounts),
        secrets: Some(secrets.collect()),
        // Capabilities for placing and emptying files of any owner.
        capability_drop: Some(vec!["ALL".to_owned()]),
        capability_add: Some(
            ["CHOWN", "DAC_OVERRIDE", "FOWNER"]
                .map(|c| format!("CAP_{c}"))
                .to_vec(),
        ),
        ..TaskSpecContainerSpec::default()
    };
    Box::new(ServiceSpec {
        name: Some(name),
        labels: Some(labels),
        task_template: Some(TaskSpec {
            container_spec: Some(container),
            restart_policy: Some(once()),
            placement: Some(pinned_to(&machine)),
            ..TaskSpec::default()
        }),
        // Not a replicated job: Docker 20.10 never removes the task and container of a completed job.
        mode: Some(replicas(1)),
        ..ServiceSpec::default()
    })
}

fn once() -> TaskSpecRestartPolicy {
    TaskSpecRestartPolicy {
        condition: Some(Restart::NONE),
        ..TaskSpecRestartPolicy::default()
    }
}

/// The mode of a service with this number of tasks.
pub(super) fn replicas(count: i64) -> ServiceSpecMode {
    ServiceSpecMode {
        replicated: Some(ServiceSpecModeReplicated {
            replicas: Some(count),
        }),
        ..ServiceSpecMode::default()
    }
}

/// The node's volume mounts. The engine there creates absent ones with these labels.
pub(super) fn node_mounts(instance: InstanceId, key: &ClusterKey, node: &NodeSpec) -> Vec<Mount> {
    let volume = |volume: &chainpool_agent::Volume| {
        let labels = volume.labels(instance, key, &node.name);
        volume_mount(volume.object_name(key, &node.name), &labels, volume.path.clone())
    };
    node.volumes.iter().map(volume).collect()
}

/// The mount of a volume at a path.
pub(super) fn volume_mount(volume: String, labels: &Labels, path: String) -> Mount {
    Mount {
        target: Some(path),
        source: Some(volume),
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions {
            labels: Some(labels.to_map()),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

fn no_new_privileges() -> TaskSpecContainerSpecPrivileges {
    // Engines before 28 ignore it.
    TaskSpecContainerSpecPrivileges {
        no_new_privileges: Some(true),
        ..TaskSpecContainerSpecPrivileges::default()
    }
}

fn resources(node: &NodeSpec) -> Result<TaskSpecResources> {
    let memory = i64::try_from(node.limits.memory_bytes).map_err(|_| {
        Error::Refused(format!(
            "node {}: {} bytes of memory exceed the swarm's maximum",
            node.name, node.limits.memory_bytes
        ))
    })?;
    let limits = Limit {
        memory_bytes: Some(memory),
        pids: Some(i64::from(node.limits.processes)),
        nano_cpus: node.limits.cpu_millis.map(nano_cpus),
    };
    Ok(TaskSpecResources {
        limits: Some(limits),
        ..TaskSpecResources::default()
    })
}

fn pinned_to(machine: &str) -> TaskSpecPlacement {
    TaskSpecPlacement {
        constraints: Some(vec![format!("node.id=={machine}")]),
        ..TaskSpecPlacement::default()
    }
}

fn ports(ports: &[Port]) -> Vec<EndpointPortConfig> {
    let published = ports.iter().filter_map(|port| {
        Some(EndpointPortConfig {
            name: None,
            protocol: Some(match port.protocol {
                Protocol::Tcp => Transport::TCP,
                Protocol::Udp => Transport::UDP,
            }),
            target_port: Some(i64::from(port.inside)),
            published_port: Some(i64::from(port.published?)),
            publish_mode: Some(EndpointPortConfigPublishModeEnum::HOST),
        })
    });
    published.collect()
}
