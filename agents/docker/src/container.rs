//! Renders a spec into an engine request. Pure.

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType,
    NetworkingConfig, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};
use chainpool_agent::{
    ClusterKey, Error, ImageRef, InstanceId, Labels, Limits, LogConfig, LogType, NodeSpec, Port, Protocol,
    Readiness, Result, Variable, network_name, node_object_name,
};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

/// A processor limit in the engine's unit, 1e-9 of a processor.
pub(crate) fn nano_cpus(millis: u32) -> i64 {
    i64::from(millis) * 1_000_000
}

/// Nanoseconds of a second.
pub(crate) const NANOS: i64 = 1_000_000_000;
/// The time for the first success of a readiness check, in seconds: longer than any operation.
const START_PERIOD: u32 = 7 * 24 * 3600;

/// Renders the create request of a node's container.
pub(crate) fn container_body(
    instance: InstanceId,
    bind: IpAddr,
    key: &ClusterKey,
    node: &NodeSpec,
    image: &ImageRef,
) -> Result<ContainerCreateBody> {
    let network = network_name(key);
    let endpoint = EndpointSettings {
        aliases: Some(vec![node.name.to_string()]),
        ..EndpointSettings::default()
    };
    // The spec's program replaces the image's entry point.
    let (entrypoint, cmd) = match node.command.split_first() {
        Some((program, arguments)) => (Some(vec![program.clone()]), Some(arguments.to_vec())),
        None => (None, None),
    };
    Ok(ContainerCreateBody {
        hostname: Some(node.name.to_string()),
        user: node.user.clone(),
        exposed_ports: Some(node.ports.iter().map(port_key).collect()),
        env: Some(
            node.env
                .iter()
                .map(|(name, value)| variable(name, value))
                .collect(),
        ),
        entrypoint,
        cmd,
        image: Some(image.pinned.clone()),
        labels: Some(
            Labels::of_cluster(instance, key)
                .node(&node.name)
                .hash(&node.hash)
                .to_map(),
        ),
        stop_signal: Some(node.stop_signal.clone()),
        stop_timeout: Some(i64::from(node.stop_timeout)),
        healthcheck: Some(health_check(node.readiness.as_ref())),
        host_config: Some(host_config(bind, key, node)?),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network, endpoint)])),
        }),
        ..ContainerCreateBody::default()
    })
}

/// Renders the create request of a job's container: like a node's, without ports and restarts.
pub(crate) fn job_body(
    instance: InstanceId,
    key: &ClusterKey,
    job: &NodeSpec,
    image: &ImageRef,
) -> Result<ContainerCreateBody> {
    let mut body = container_body(instance, Ipv4Addr::LOCALHOST.into(), key, job, image)?;
    body.exposed_ports = None;
    body.labels = Some(
        Labels::of_cluster(instance, key)
            .node(&job.name)
            .hash(&job.hash)
            .to_job_map(),
    );
    let host = body.host_config.get_or_insert_default();
    host.port_bindings = None;
    host.restart_policy = Some(RestartPolicy {
        name: Some(RestartPolicyNameEnum::NO),
        maximum_retry_count: None,
    });
    Ok(body)
}

fn host_config(bind: IpAddr, key: &ClusterKey, node: &NodeSpec) -> Result<HostConfig> {
    let Limits {
        memory_bytes,
        processes,
        cpu_millis,
    } = node.limits;
    let memory = i64::try_from(memory_bytes).map_err(|_| {
        Error::Refused(format!(
            "node {}: {memory_bytes} bytes of memory exceed the engine's maximum",
            node.name
        ))
    })?;
    let mounts = node.volumes.iter().map(|volume| Mount {
        target: Some(volume.path.clone()),
        source: Some(volume.object_name(key, &node.name)),
        typ: Some(MountType::VOLUME),
        ..Mount::default()
    });
    Ok(HostConfig {
        memory: Some(memory),
        memory_swap: Some(memory), // the same value for memory plus swap disables swap
        pids_limit: Some(i64::from(processes)),
        nano_cpus: cpu_millis.map(nano_cpus),
        log_config: Some(log_config(&node.log, &node_object_name(key, &node.name))),
        network_mode: Some(network_name(key)),
        port_bindings: Some(port_bindings(bind, &node.ports)),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
            maximum_retry_count: None,
        }),
        mounts: Some(mounts.collect()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(node.read_only_root),
        ..HostConfig::default()
    })
}

/// A readiness check as the engine's health check. Without one, the image's own is disabled.
pub(crate) fn health_check(readiness: Option<&Readiness>) -> HealthConfig {
    let Some(Readiness {
        command,
        interval,
        timeout,
    }) = readiness
    else {
        return HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        };
    };
    let nanos = |seconds: u32| Some(i64::from(seconds) * NANOS);
    HealthConfig {
        test: Some([&["CMD".to_owned()], command.as_slice()].concat()),
        interval: nanos(*interval),
        timeout: nanos(*timeout),
        retries: Some(Readiness::FAILURES.into()),
        // Failures before the first success do not count: a swarm would replace the node.
        start_period: nanos(START_PERIOD),
        ..HealthConfig::default()
    }
}

pub(crate) fn variable(name: &str, value: &Variable) -> String {
    match value {
        Variable::Plain(text) => format!("{name}={text}"),
        Variable::Secret(text) => format!("{name}={}", text.expose()),
    }
}

fn port_key(port: &Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}/{protocol}", port.inside)
}

fn port_bindings(bind: IpAddr, ports: &[Port]) -> PortMap {
    let mut map = PortMap::new();
    for port in ports {
        let Some(published) = port.published else { continue };
        let binding = PortBinding {
            host_ip: Some(bind.to_string()),
            host_port: Some(published.to_string()),
        };
        map.entry(port_key(port))
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    map
}

pub(crate) fn log_config(log: &LogConfig, tag: &str) -> HostConfigLogConfig {
    let LogConfig {
        kind,
        server,
        max_bytes,
        max_files,
    } = log;
    let (driver, config) = match kind {
        LogType::Local => (
            "local",
            HashMap::from([
                ("max-size".to_owned(), max_bytes.to_string()),
                ("max-file".to_owned(), max_files.to_string()),
            ]),
        ),
        LogType::Syslog => {
            let mut config = HashMap::from([("tag".to_owned(), tag.to_owned())]);
            if let Some(server) = server {
                config.insert("syslog-address".to_owned(), server.clone());
            }
            ("syslog", config)
        }
    };
    HostConfigLogConfig {
        typ: Some(driver.to_owned()),
        config: Some(config),
    }
}
