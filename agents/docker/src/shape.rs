//! Actual attributes of a container, which manual changes on the engine may alter. Pure.

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HostConfig, PortMap, RestartPolicy,
    RestartPolicyNameEnum,
};
use chainpool_agent::{ClusterKey, NodeName, network_name};
use std::collections::{BTreeMap, BTreeSet};

/// The attributes of a node's container.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Shape {
    /// Its DNS names, by network.
    endpoints: BTreeMap<String, Vec<String>>,
    /// Mounted volumes with their paths.
    mounts: BTreeSet<(String, String)>,
    ports: PortMap,
    memory: i64,
    processes: i64,
    restart: Option<RestartPolicyNameEnum>,
}

impl Shape {
    /// The attributes of an inspected container.
    pub(crate) fn of(found: &ContainerInspectResponse) -> Self {
        let networks = found
            .network_settings
            .as_ref()
            .and_then(|settings| settings.networks.as_ref());
        let mounts = found
            .mounts
            .iter()
            .flatten()
            .filter_map(|mount| Some((mount.name.clone()?, mount.destination.clone()?)));
        let host = found.host_config.clone().unwrap_or_default();
        Self {
            endpoints: networks
                .into_iter()
                .flatten()
                .map(|(name, endpoint)| (name.clone(), names(endpoint)))
                .collect(),
            mounts: mounts.collect(),
            ports: host.port_bindings.unwrap_or_default(),
            memory: host.memory.unwrap_or_default(),
            processes: host.pids_limit.unwrap_or_default(),
            restart: host.restart_policy.and_then(|policy| policy.name),
        }
    }

    /// Returns true if it has an endpoint on its cluster's network.
    pub(crate) fn is_connected(&self, key: &ClusterKey) -> bool {
        self.endpoints.contains_key(&network_name(key))
    }

    /// Returns true if the nodes of its cluster resolve its name.
    pub(crate) fn is_resolvable(&self, key: &ClusterKey, node: &NodeName) -> bool {
        self.endpoints
            .get(&network_name(key))
            .is_some_and(|names| names.iter().any(|name| name == node.as_str()))
    }

    /// A difference from the create request that requires another container; `None` if there is none.
    pub(crate) fn difference(&self, wanted: &ContainerCreateBody) -> Option<String> {
        let HostConfig {
            mounts,
            port_bindings,
            memory,
            pids_limit,
            restart_policy,
            ..
        } = wanted.host_config.as_ref()?;
        let mut wanted_mounts = mounts
            .iter()
            .flatten()
            .filter_map(|mount| Some((mount.source.clone()?, mount.target.clone()?)));
        if let Some((volume, path)) = wanted_mounts.find(|mount| !self.mounts.contains(mount)) {
            return Some(format!("the volume {volume} is not mounted at {path}"));
        }
        if port_bindings
            .as_ref()
            .is_some_and(|wanted| !same_ports(wanted, &self.ports))
        {
            return Some("its published ports differ from the spec".to_owned());
        }
        // An engine stores 0 for a limit that its kernel does not support: another container would get the
        // same.
        let differs =
            |found: i64, wanted: &Option<i64>| found != 0 && wanted.is_some_and(|wanted| wanted != found);
        if differs(self.memory, memory) {
            return Some(format!("its memory is limited to {} bytes", self.memory));
        }
        if differs(self.processes, pids_limit) {
            return Some(format!("its processes are limited to {}", self.processes));
        }
        let policy = restart_policy
            .as_ref()
            .and_then(|RestartPolicy { name, .. }| *name);
        (policy.is_some() && policy != self.restart)
            .then(|| "its restart policy differs from the spec".to_owned())
    }
}

/// Engines before 26 list a container's own names among its aliases, later ones list all names separately.
fn names(endpoint: &EndpointSettings) -> Vec<String> {
    [&endpoint.aliases, &endpoint.dns_names]
        .into_iter()
        .flatten()
        .flatten()
        .cloned()
        .collect()
}

fn same_ports(wanted: &PortMap, found: &PortMap) -> bool {
    bound(wanted) == bound(found)
}

/// Each port with its bind address and host port. Unbound ports may or may not be listed.
fn bound(ports: &PortMap) -> BTreeSet<(&str, Option<&str>, Option<&str>)> {
    let bindings = ports
        .iter()
        .flat_map(|(port, bindings)| bindings.iter().flatten().map(move |binding| (port, binding)));
    bindings
        .map(|(port, binding)| {
            (
                port.as_str(),
                binding.host_ip.as_deref(),
                binding.host_port.as_deref(),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{Mount, MountPoint, NetworkSettings, PortBinding};
    use std::collections::HashMap;

    fn key() -> ClusterKey {
        ClusterKey {
            cluster: chainpool_agent::ClusterId::new(),
            generation: 1,
        }
    }

    fn ports(port: &str) -> PortMap {
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".into()),
            host_port: Some(port.into()),
        };
        HashMap::from([("80/tcp".to_owned(), Some(vec![binding]))])
    }

    fn wanted() -> ContainerCreateBody {
        let mount = Mount {
            source: Some("v".into()),
            target: Some("/data".into()),
            ..Mount::default()
        };
        ContainerCreateBody {
            host_config: Some(HostConfig {
                mounts: Some(vec![mount]),
                port_bindings: Some(ports("1000")),
                memory: Some(100),
                pids_limit: Some(10),
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    maximum_retry_count: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    fn found(change: impl FnOnce(&mut ContainerInspectResponse)) -> Shape {
        let mount = |name: &str, at: &str| MountPoint {
            name: Some(name.into()),
            destination: Some(at.into()),
            ..MountPoint::default()
        };
        let mut found = ContainerInspectResponse {
            mounts: Some(vec![mount("v", "/data"), mount("of the image", "/more")]),
            host_config: wanted().host_config,
            ..ContainerInspectResponse::default()
        };
        change(&mut found);
        Shape::of(&found)
    }

    fn host(change: impl FnOnce(&mut HostConfig)) -> Option<String> {
        found(|f| change(f.host_config.get_or_insert_default())).difference(&wanted())
    }

    #[test]
    fn a_difference_is_found_in_every_attribute() {
        assert_eq!(host(|_| {}), None);
        assert_eq!(
            host(|h| h
                .port_bindings
                .get_or_insert_default()
                .extend([("81/tcp".to_owned(), None)])),
            None
        );
        assert!(
            found(|f| f.mounts = Some(vec![]))
                .difference(&wanted())
                .is_some_and(|why| why.contains("/data"))
        );
        assert!(host(|h| h.port_bindings = Some(ports("1001"))).is_some_and(|why| why.contains("ports")));
        assert!(host(|h| h.port_bindings = None).is_some_and(|why| why.contains("ports")));
        assert!(host(|h| h.memory = Some(99)).is_some_and(|why| why.contains("memory")));
        assert!(host(|h| h.pids_limit = Some(-1)).is_some_and(|why| why.contains("processes")));
        assert!(host(|h| h.restart_policy = None).is_some_and(|why| why.contains("restart")));
    }

    #[test]
    fn a_limit_without_kernel_support_is_no_difference() {
        assert_eq!(host(|h| (h.memory, h.pids_limit) = (Some(0), None)), None);
    }

    #[test]
    fn a_node_is_resolved_by_name_on_its_clusters_network() {
        let (key, node) = (key(), NodeName::parse("v0").expect("a node name"));
        let on = |networks: &[(&str, EndpointSettings)]| {
            let networks = networks
                .iter()
                .map(|(name, endpoint)| ((*name).to_owned(), endpoint.clone()))
                .collect();
            found(|f| {
                f.network_settings = Some(NetworkSettings {
                    networks: Some(networks),
                    ..NetworkSettings::default()
                });
            })
        };
        let named = EndpointSettings {
            aliases: Some(vec!["v0".into(), "0123456789ab".into()]),
            ..EndpointSettings::default()
        };
        let newer = EndpointSettings {
            dns_names: Some(vec!["v0".into()]),
            ..EndpointSettings::default()
        };
        let network = network_name(&key);
        for (networks, connected, known) in [
            (vec![], false, false),
            (vec![("bridge", named.clone())], false, false),
            (vec![(network.as_str(), EndpointSettings::default())], true, false),
            (vec![(network.as_str(), named)], true, true),
            (vec![(network.as_str(), newer)], true, true),
        ] {
            let shape = on(&networks);
            assert_eq!(
                (shape.is_connected(&key), shape.is_resolvable(&key, &node)),
                (connected, known),
                "{networks:?}"
            );
        }
    }
}
