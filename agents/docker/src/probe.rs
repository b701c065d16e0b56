//! What the engine says of itself.

use crate::{DockerAgent, engine::CALL};
use bollard::models::{ContainerSummary, LocalNodeState, SwarmInfo, SystemInfo};
use chainpool_agent::{Error, LABEL_INSTANCE, PlatformKind, Probe, Result, SwarmRole};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
    path::PathBuf,
    time::SystemTime,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

impl DockerAgent {
    pub(crate) async fn engine_probe(&self) -> Result<Probe> {
        let docker = self.engine.docker().await?;
        let version = self.engine.call(CALL, docker.version()).await.map_err(|f| f.into_error("tell its version"))?;
        let asked = OffsetDateTime::from(SystemTime::now());
        let info = self.engine.call(CALL, docker.info()).await.map_err(|f| f.into_error("tell of itself"))?;
        let answered = OffsetDateTime::from(SystemTime::now());
        let (kind, swarm) = role(info.swarm.as_ref());
        let Some(engine_id) = info.id.clone().filter(|id| !id.is_empty()) else {
            return Err(Error::Refused(format!(
                "the engine at {} has no ID: Chainpool needs one to tell engines apart",
                self.engine.address()
            )));
        };
        Ok(Probe {
            kind,
            engine_id,
            name: info.name.clone().unwrap_or_default(),
            version: version.version.unwrap_or_default(),
            api_version: docker.client_version().to_string(),
            storage_driver: info.driver.clone().unwrap_or_default(),
            architecture: version.arch.or_else(|| info.architecture.clone()).unwrap_or_default(),
            swarm,
            cpus: count(info.ncpu),
            memory_bytes: info.mem_total.and_then(|m| u64::try_from(m).ok()).unwrap_or_default(),
            disk: self.disk(&info).await,
            skew_ms: skew(&info, asked, answered),
            running: count(info.containers_running),
            taken: self.taken().await?,
            machines: Vec::new(),
            taken_ports: self.taken_ports().await?,
        })
    }

    /// The engine's networks that are not ours, and this machine's routes when the engine is this machine's.
    async fn taken(&self) -> Result<Vec<Ipv4Net>> {
        let docker = self.engine.docker().await?;
        let networks = self.engine.call(CALL, docker.list_networks(None)).await.map_err(|f| f.into_error("list its networks"))?;
        let instance = self.instance.to_string();
        let ours = |labels: &Option<HashMap<String, String>>| labels.as_ref().and_then(|l| l.get(LABEL_INSTANCE)) == Some(&instance);
        let subnets = networks.into_iter().filter(|n| !ours(&n.labels)).filter_map(|n| n.ipam?.config).flatten().filter_map(|c| c.subnet);
        let mut taken: Vec<Ipv4Net> = subnets.filter_map(|subnet| subnet.parse().ok()).collect();
        if self.engine.address().is_local() {
            // Another system keeps its routes elsewhere; the engine's own check remains.
            taken.extend(tokio::fs::read_to_string("/proc/net/route").await.map(|table| routes(&table)).unwrap_or_default());
        }
        Ok(taken)
    }

    /// Ports published by containers that are not ours, and, when the engine is this machine's, those that its programs
    /// listen on. Our own published ports are in the database; the engine listens on them too, so they are left out.
    async fn taken_ports(&self) -> Result<BTreeSet<u16>> {
        let docker = self.engine.docker().await?;
        let listed = self.engine.call(CALL, docker.list_containers(None)).await.map_err(|f| f.into_error("list its containers"))?;
        let instance = self.instance.to_string();
        let (ours, others): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|c| c.labels.as_ref().and_then(|l| l.get(LABEL_INSTANCE)) == Some(&instance));
        let published = |containers: Vec<ContainerSummary>| {
            containers.into_iter().filter_map(|c| c.ports).flatten().filter_map(|p| p.public_port).collect::<BTreeSet<u16>>()
        };
        let ours = published(ours);
        let mut taken = published(others);
        if self.engine.address().is_local() {
            for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
                // Another system keeps its sockets elsewhere; the engine's own check remains.
                let text = tokio::fs::read_to_string(table).await.unwrap_or_default();
                taken.extend(listening(&text).into_iter().filter(|port| !ours.contains(port)));
            }
        }
        Ok(taken)
    }

    /// Free and total bytes where the engine keeps its data; known when that disk is this machine's.
    async fn disk(&self, info: &SystemInfo) -> Option<(u64, u64)> {
        let path = info.docker_root_dir.as_deref().filter(|_| self.engine.address().is_local()).map(PathBuf::from)?;
        // A file system may be a network's and hang: it must not hold up a thread that others need.
        let reading = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&path));
        let stat = tokio::time::timeout(CALL, reading).await.ok()?.ok()?.ok()?;
        Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }
}

/// A manager speaks for a swarm; everything else is one engine.
fn role(swarm: Option<&SwarmInfo>) -> (PlatformKind, SwarmRole) {
    let member = |s: &SwarmInfo| !matches!(s.local_node_state, None | Some(LocalNodeState::EMPTY | LocalNodeState::INACTIVE));
    match swarm {
        Some(s) if s.control_available == Some(true) => (PlatformKind::Swarm, SwarmRole::Manager),
        Some(s) if member(s) => (PlatformKind::Docker, SwarmRole::Worker),
        _ => (PlatformKind::Docker, SwarmRole::None),
    }
}

/// The ports that a Linux table of TCP sockets shows as listened on.
fn listening(table: &str) -> Vec<u16> {
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (_, port) = local.rsplit_once(':')?;
        (state == "0A").then(|| u16::from_str_radix(port, 16).ok()).flatten()
    };
    table.lines().skip(1).filter_map(port).collect()
}

/// The networks of a Linux routing table that lead neither everywhere nor to one of the engine's bridges.
fn routes(table: &str) -> Vec<Ipv4Net> {
    let address = |hex: &str| u32::from_str_radix(hex, 16).ok().map(|n| Ipv4Addr::from(n.swap_bytes()));
    let route = |line: &str| {
        let mut fields = line.split_whitespace();
        let (device, destination, mask) = (fields.next()?, fields.next()?, fields.nth(5)?);
        let net = Ipv4Net::with_netmask(address(destination)?, address(mask)?).ok()?;
        let bridge = device.starts_with("br-") || device.starts_with("docker");
        (net.prefix_len() > 0 && !bridge).then_some(net)
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// The engine's clock minus ours, taking its answer to stem from half-way between question and answer.
fn skew(info: &SystemInfo, asked: OffsetDateTime, answered: OffsetDateTime) -> Option<i64> {
    let theirs = OffsetDateTime::parse(info.system_time.as_deref()?, &Rfc3339).ok()?;
    let ours: OffsetDateTime = asked + (answered - asked) / 2;
    let skew: time::Duration = theirs - ours;
    i64::try_from(skew.whole_milliseconds()).ok()
}

pub(crate) fn count(number: Option<i64>) -> u32 {
    number.and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn skew_allows_for_the_way_of_the_answer() {
        let info = SystemInfo { system_time: Some("2026-01-01T00:00:05.5+00:00".into()), ..SystemInfo::default() };
        assert_eq!(skew(&info, datetime!(2026-01-01 00:00:00 UTC), datetime!(2026-01-01 00:00:01 UTC)), Some(5000));
        assert_eq!(skew(&SystemInfo::default(), datetime!(2026-01-01 00:00:00 UTC), datetime!(2026-01-01 00:00:00 UTC)), None);
    }

    #[test]
    fn routes_are_read_without_the_default_and_the_bridges() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            br-1\t0000D50A\t00000000\t0001\t0\t0\t0\tC0FFFFFF\t0\t0\t0\n";
        assert_eq!(routes(table), vec!["10.0.0.0/24".parse::<Ipv4Net>().expect("a net")]);
    }

    #[test]
    fn listening_ports_are_read_and_connections_are_not() {
        let table =
            "  sl  local_address rem_address   st\n   0: 0100007F:4E20 00000000:0000 0A 0\n   1: 0100007F:4E21 0100007F:1F90 01 0\n";
        assert_eq!(listening(table), vec![20_000]);
    }

    #[test]
    fn only_a_manager_is_a_swarm() {
        let info = |state, control| SwarmInfo { local_node_state: Some(state), control_available: Some(control), ..SwarmInfo::default() };
        assert_eq!(role(Some(&info(LocalNodeState::ACTIVE, true))), (PlatformKind::Swarm, SwarmRole::Manager));
        assert_eq!(role(Some(&info(LocalNodeState::ACTIVE, false))), (PlatformKind::Docker, SwarmRole::Worker));
        assert_eq!(role(Some(&info(LocalNodeState::INACTIVE, false))), (PlatformKind::Docker, SwarmRole::None));
        assert_eq!(role(None), (PlatformKind::Docker, SwarmRole::None));
    }
}
