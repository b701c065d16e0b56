//! A host's settings: what may be asked for, on its own and together.

use crate::{
    Error, Orchestrator, Result,
    accept::{check_name, maintenance_until},
};
use chainpool_agent::{Secret, Tls};
use chainpool_api::{self as api, HostState, Timestamp};
use chainpool_store::{HostRow, HostSecrets, HostSettings, Word};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

/// How many clusters a host may have when nothing else is said.
pub(super) const CAPACITY: u32 = 3;
/// Where the networks of a host's clusters lie when nothing else is said.
const SUBNETS: &str = "10.213.0.0/16";

impl Orchestrator {
    /// Checks all that create and update have in common.
    pub(super) fn check_settings(&self, settings: &HostSettings, capacity: u32) -> Result<()> {
        let HostSettings { memory_factor, disk_floor, fill, public_address, ports, subnets, log, images, .. } = settings;
        let mut wrong = BTreeMap::new();
        let mut say = |field: &str, why: String| drop(wrong.insert(field.to_owned(), why));
        if !(0.1..=100.0).contains(memory_factor) {
            say("memory_factor", format!("{memory_factor} is not between 0.1 and 100"));
        }
        if *disk_floor > 90 {
            say("disk_floor", format!("{disk_floor} is not between 0 and 90 percent"));
        }
        if capacity > 10_000 {
            say("capacity", format!("{capacity} is above 10000"));
        }
        if public_address.is_empty() || public_address.contains(|c: char| c.is_whitespace() || c == '/' || c == '\'' || c == '"') {
            say("public_address", format!("{public_address:?} is no address; use a name or an IP address without port"));
        }
        let (first, last) = *ports;
        if first < 1024 || last < first {
            say("ports", format!("{first}-{last} is no range; use first ≥ 1024 and last ≥ first"));
        }
        if subnets.prefix_len() > 26 {
            say("subnets", format!("{subnets} holds no network of a cluster, which is a /26; use a larger one"));
        }
        if log.kind == api::LogType::Syslog && !log.server.as_deref().is_some_and(is_syslog_server) {
            say("log.server", "type syslog needs a server such as udp://10.0.0.9:514".to_owned());
        }
        if log.kind == api::LogType::Local && log.server.is_some() {
            say("log.server", "only type syslog has a server; leave it out".to_owned());
        }
        let roles: BTreeSet<String> = self.inner.registry.describe().into_iter().flat_map(|network| network.images.into_keys()).collect();
        for (role, candidates) in images {
            if !roles.contains(role) {
                let known = roles.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                say(&format!("images.{role}"), format!("no network type has such a role; the roles are: {known}"));
            } else if candidates.is_empty() || candidates.iter().any(|c| c.is_empty() || c.contains(char::is_whitespace)) {
                say(&format!("images.{role}"), "give one image reference or more, such as registry.example/name:tag".to_owned());
            }
        }
        if fill.is_empty() || fill.iter().all(|f| f.share == 0) {
            say("fill", "at least one entry with a share above 0 is needed".to_owned());
        }
        if !wrong.is_empty() {
            return Err(Error::fields(wrong));
        }
        for (place, entry) in fill.iter().enumerate() {
            let new = self.new_of_entry(entry, place)?;
            let needed = new.network.layout(&new.parameters).ports.len();
            if usize::from(last - first) + 1 < needed {
                return Err(Error::field(
                    "ports",
                    format!(
                        "{first}-{last} has fewer than the {needed} ports that one {} cluster of fill[{place}] publishes",
                        entry.network_type
                    ),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn changed(&self, before: &HostRow, change: &api::HostUpdate) -> Result<HostRow> {
        let api::HostUpdate {
            name,
            address,
            tls,
            insecure,
            schedulable,
            autofill,
            capacity,
            memory_factor,
            disk_floor,
            fill,
            public_address,
            bind,
            ports,
            subnets,
            log,
            mirror,
            images,
            registry,
            kubeconfig,
            storage_class,
            maintenance_seconds,
            paused,
        } = change.clone();
        let mut row = before.clone();
        let now = Timestamp::now();
        if let Some(name) = name {
            check_name("name", &name)?;
            row.name = name;
        }
        row.address = address.unwrap_or(row.address);
        row.schedulable = schedulable.unwrap_or(row.schedulable);
        row.autofill = autofill.unwrap_or(row.autofill);
        row.capacity = capacity.map_or(row.capacity, i64::from);
        // A socket of this machine needs no certificates; what was stored for another way would be refused there.
        let to_socket = change.address.as_ref().is_some_and(|address| address.starts_with("unix://"));
        let settings = &mut row.settings.0;
        settings.insecure = insecure.unwrap_or(settings.insecure);
        settings.memory_factor = memory_factor.unwrap_or(settings.memory_factor);
        settings.disk_floor = disk_floor.unwrap_or(settings.disk_floor);
        if let Some(fill) = fill {
            settings.fill = fill;
            row.fill_state.0.clear();
        }
        if let Some(bind) = bind {
            settings.bind = read_bind(&bind)?;
        }
        settings.public_address = public_address.unwrap_or_else(|| settings.public_address.clone());
        if settings.bind.is_loopback() {
            "127.0.0.1".clone_into(&mut settings.public_address);
        }
        settings.ports = ports.unwrap_or(settings.ports);
        if let Some(subnets) = subnets {
            settings.subnets = read_subnets(&subnets)?;
        }
        settings.log = log.unwrap_or_else(|| settings.log.clone());
        if let Some(mirror) = mirror {
            settings.mirror = Some(mirror).filter(|m| !m.is_empty());
        }
        settings.images = images.unwrap_or_else(|| settings.images.clone());
        if let Some(class) = storage_class {
            settings.storage_class = Some(class).filter(|c| !c.is_empty());
        }
        self.check_settings(settings, u32::try_from(row.capacity).map_err(Error::internal)?)?;
        if tls.is_some() || registry.is_some() || kubeconfig.is_some() || to_socket {
            let mut known = HostSecrets::open(self.store().master(), before)?;
            let given = secrets(tls, registry, kubeconfig);
            known.tls = given.tls.or(known.tls.filter(|_| !to_socket));
            known.registry = given.registry.or(known.registry);
            known.kubeconfig = given.kubeconfig.or(known.kubeconfig);
            row.sealed = Some(known.seal(self.store().master(), row.id)?);
        }
        if let Some(seconds) = maintenance_seconds {
            row.maintenance_until = maintenance_until(seconds)?;
        }
        match paused {
            Some(true) => (row.state, row.reason, row.since) = (Word(HostState::Paused), "paused by an operator".to_owned(), now.into()),
            Some(false) if row.state.0 == HostState::Paused => {
                (row.state, row.reason, row.since) = (Word(HostState::Active), String::new(), now.into());
            }
            _ => {}
        }
        Ok(row)
    }
}

/// The settings of a new host, each on its own; what it leaves out gets its default.
pub(super) fn of_new(new: &api::HostCreate) -> Result<HostSettings> {
    check_name("name", &new.name)?;
    let bind = new.bind.as_deref().map_or(Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), read_bind)?;
    Ok(HostSettings {
        memory_factor: new.memory_factor.unwrap_or(1.0),
        disk_floor: new.disk_floor.unwrap_or(10),
        fill: new.fill.clone().unwrap_or_else(|| {
            vec![api::Fill { network_type: "cometbft".into(), preset: "default".into(), share: 1, parameters: serde_json::Map::new() }]
        }),
        public_address: match (&new.public_address, bind.is_loopback()) {
            (_, true) => "127.0.0.1".to_owned(),
            (Some(address), false) => address.clone(),
            (None, false) => public_address(&new.address),
        },
        bind,
        ports: new.ports.unwrap_or((20_000, 29_999)),
        subnets: read_subnets(new.subnets.as_deref().unwrap_or(SUBNETS))?,
        log: new.log.clone().unwrap_or_default(),
        mirror: new.mirror.clone().filter(|m| !m.is_empty()),
        images: new.images.clone().unwrap_or_default(),
        insecure: new.insecure,
        storage_class: new.storage_class.clone().filter(|c| !c.is_empty()),
    })
}

pub(super) fn secrets(tls: Option<api::HostTls>, registry: Option<api::HostRegistry>, kubeconfig: Option<String>) -> HostSecrets {
    HostSecrets {
        tls: tls.map(|api::HostTls { ca, cert, key }| Tls { ca, cert, key: Secret::new(key) }),
        registry: registry.map(|api::HostRegistry { user, password }| (user, Secret::new(password))),
        kubeconfig: kubeconfig.map(Secret::new),
    }
}

fn read_bind(bind: &str) -> Result<IpAddr> {
    bind.parse().map_err(|_| Error::field("bind", format!("{bind:?} is no IP address; use 0.0.0.0 or one of the host's")))
}

fn read_subnets(subnets: &str) -> Result<Ipv4Net> {
    subnets.parse().map_err(|_| Error::field("subnets", format!("{subnets:?} is no IPv4 network such as {SUBNETS}")))
}

fn is_syslog_server(server: &str) -> bool {
    ["udp://", "tcp://", "tcp+tls://"].iter().any(|scheme| {
        server
            .strip_prefix(scheme)
            .is_some_and(|rest| rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()))
    })
}

/// The address at which users reach a host's clusters: the host part of its first network address, or this machine's own.
fn public_address(address: &str) -> String {
    let first = address.split(',').next().unwrap_or(address);
    if let Some(rest) = first.strip_prefix("tcp://").or_else(|| first.strip_prefix("https://")) {
        let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
        return host.trim_start_matches('[').trim_end_matches(']').to_owned();
    }
    own_address().unwrap_or_else(|| "127.0.0.1".to_owned())
}

/// The address of the default route: the one that the system would send from. Nothing is sent.
fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}
