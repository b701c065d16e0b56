//! Validation of a host's settings, alone and in combination.

use super::{
    address::{SUBNETS, check_address, public_address_of, public_of_bind, read_bind, read_subnets},
    input::{self, Malformed, PublicAddress, shortened},
};
use crate::{
    Error, Orchestrator, Result,
    facade::validation::{check_name, maintenance_until},
    placement::new_cluster::NewCluster,
};
use chainpool_api::{self as api, HostState, Timestamp};
use chainpool_store::{EnumColumn, HostRow, HostSettings};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

/// The default capacity of a host.
pub(super) const CAPACITY: u32 = 3;
/// The maximum number of entries of a fill policy, and of image references of one role.
const ENTRIES: usize = 64;
/// The maximum share of a fill entry.
const SHARE: u32 = 10_000;

impl Orchestrator {
    /// Validates the settings of a new host, or those resulting from a change of `before`. Unchanged texts
    /// stored by a previous version are accepted: it may be impossible to change them now.
    pub(super) fn check_settings(
        &self,
        settings: &HostSettings,
        capacity: u32,
        before: Option<&HostSettings>,
    ) -> Result<()> {
        let roles: BTreeSet<String> = self
            .runtime
            .registry
            .describe()
            .into_iter()
            .flat_map(|network| network.images.into_keys())
            .collect();
        let mut errors = setting_errors(settings, capacity, &roles);
        if let Some(before) = before {
            errors.retain(|field, _| is_changed(field, before, settings));
        }
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
        // An unchanged fill policy stored by a previous version is accepted too.
        if before.is_some_and(|before| before.fill == settings.fill && before.ports == settings.ports) {
            return Ok(());
        }
        let (first, last) = settings.ports;
        for (place, entry) in settings.fill.iter().enumerate() {
            let new = NewCluster::of_entry(&self.runtime.registry, entry, place)?;
            let needed = new.network.requirements(&new.parameters).ports.len();
            if usize::from(last - first) + 1 < needed {
                return Err(Error::field(
                    "ports",
                    format!(
                        "{first}-{last} has fewer than the {needed} ports required by one {} cluster of fill[{place}]",
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
            tls: _,
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
            registry: _,
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
        if let Some(address) = address {
            check_address(&address)?;
            row.address = address;
        }
        row.schedulable = schedulable.unwrap_or(row.schedulable);
        row.autofill = autofill.unwrap_or(row.autofill);
        row.capacity = capacity.map_or(row.capacity, i64::from);
        let settings = &mut row.settings.0;
        settings.insecure = insecure.unwrap_or(settings.insecure);
        settings.memory_factor = memory_factor.unwrap_or(settings.memory_factor);
        settings.disk_floor = disk_floor.unwrap_or(settings.disk_floor);
        if let Some(fill) = fill {
            settings.fill = fill;
            row.fill_state.0.clear();
        }
        let had_loopback = settings.bind.is_loopback();
        if let Some(bind) = bind {
            settings.bind = read_bind(&bind)?;
        }
        settings.public_address = match public_address {
            Some(given) => public_of_bind(given, settings.bind)?,
            None if settings.bind.is_loopback() => "127.0.0.1".to_owned(),
            None if had_loopback => public_address_of(&row.address),
            None => settings.public_address.clone(),
        };
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
        self.check_settings(
            &row.settings.0,
            u32::try_from(row.capacity).map_err(Error::internal)?,
            Some(&before.settings.0),
        )?;
        let platform = self.runtime.agents.find(&before.platform.0);
        let supported = platform.map_or(&[][..], |platform| platform.settings());
        check_platform(
            &before.platform.0,
            supported,
            kubeconfig.is_some(),
            change.storage_class.as_deref(),
        )?;
        self.change_secrets(before, &mut row, change)?;
        if let Some(seconds) = maintenance_seconds {
            row.maintenance_until = maintenance_until(seconds)?;
        }
        match paused {
            Some(true) => {
                (row.state, row.reason, row.since) = (
                    EnumColumn(HostState::Paused),
                    "paused by an operator".to_owned(),
                    now.into(),
                );
            }
            Some(false) if row.state.0 == HostState::Paused => {
                (row.state, row.reason, row.since) =
                    (EnumColumn(HostState::Active), String::new(), now.into());
            }
            _ => {}
        }
        Ok(row)
    }
}

/// Validates each setting alone; returns the errors by field.
#[expect(clippy::too_many_lines, reason = "one check per setting")]
fn setting_errors(
    settings: &HostSettings,
    capacity: u32,
    roles: &BTreeSet<String>,
) -> BTreeMap<String, String> {
    let HostSettings {
        memory_factor,
        disk_floor,
        fill,
        public_address,
        bind: _,
        ports,
        subnets,
        log,
        mirror,
        images,
        insecure: _,
        storage_class,
    } = settings;
    let mut errors = BTreeMap::new();
    let mut add = |field: &str, why: String| drop(errors.insert(field.to_owned(), why));
    let malformed = |text: &str, why: &Malformed| format!("{:?} {why}", shortened(text));
    if !(0.1..=100.0).contains(memory_factor) {
        add(
            "memory_factor",
            format!("{memory_factor} is not between 0.1 and 100"),
        );
    }
    if *disk_floor > 90 {
        add(
            "disk_floor",
            format!("{disk_floor} is not between 0 and 90 percent"),
        );
    }
    if capacity > 10_000 {
        add("capacity", format!("{capacity} is above 10000"));
    }
    if let Err(why) = public_address.parse::<PublicAddress>() {
        add("public_address", malformed(public_address, &why));
    }
    let (first, last) = *ports;
    if first < 1024 || last < first {
        add(
            "ports",
            format!("{first}-{last} is not a valid range; use first ≥ 1024 and last ≥ first"),
        );
    }
    if subnets.prefix_len() > 26 {
        add(
            "subnets",
            format!("{subnets} is too small for the /26 network of a cluster; use a larger range"),
        );
    }
    match (log.kind, &log.server) {
        (api::LogType::Syslog, None) => add(
            "log.server",
            "type syslog requires a server such as udp://10.0.0.9:514".to_owned(),
        ),
        (api::LogType::Syslog, Some(server)) => {
            if let Err(why) = input::check_syslog_server(server) {
                add("log.server", malformed(server, &why));
            }
        }
        (api::LogType::Local, Some(_)) => {
            add(
                "log.server",
                "only type syslog takes a server; omit it".to_owned(),
            );
        }
        (api::LogType::Local, None) => {}
    }
    if let Some(Err(why)) = mirror.as_deref().map(input::registry_of_mirror) {
        add("mirror", malformed(mirror.as_deref().unwrap_or_default(), &why));
    }
    if let Some(Err(why)) = storage_class.as_deref().map(input::check_storage_class) {
        add(
            "storage_class",
            malformed(storage_class.as_deref().unwrap_or_default(), &why),
        );
    }
    for (role, candidates) in images {
        let field = format!("images.{}", shortened(role));
        if !roles.contains(role) {
            let known = roles.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            add(
                &field,
                format!("no network type has this role; valid roles: {known}"),
            );
        } else if !(1..=ENTRIES).contains(&candidates.len()) {
            add(
                &field,
                format!("give 1 to {ENTRIES} image references, such as registry.example/name:tag"),
            );
        } else if let Some((image, why)) = candidates
            .iter()
            .find_map(|image| Some((image, input::check_image(image).err()?)))
        {
            add(&field, malformed(image, &why));
        }
    }
    if !(1..=ENTRIES).contains(&fill.len()) {
        add("fill", format!("give 1 to {ENTRIES} entries"));
    } else if let Some(place) = fill.iter().position(|entry| !(1..=SHARE).contains(&entry.share)) {
        add(
            &format!("fill[{place}].share"),
            format!(
                "{} is not between 1 and {SHARE}; omit unwanted entries",
                fill[place].share
            ),
        );
    }
    errors
}

/// Returns `true` if a wrong field was changed.
fn is_changed(field: &str, before: &HostSettings, after: &HostSettings) -> bool {
    match field.split(['.', '[']).next() {
        Some("public_address") => before.public_address != after.public_address,
        Some("mirror") => before.mirror != after.mirror,
        Some("storage_class") => before.storage_class != after.storage_class,
        Some("images") => before.images != after.images,
        Some("log") => before.log != after.log,
        Some("fill") => before.fill != after.fill,
        _ => true,
    }
}

/// Refuses settings that only some platforms support, unless `supported` names them.
pub(super) fn check_platform(
    platform: &api::Platform,
    supported: &[&str],
    kubeconfig: bool,
    storage_class: Option<&str>,
) -> Result<()> {
    let given = [
        ("kubeconfig", kubeconfig),
        (
            "storage_class",
            storage_class.is_some_and(|class| !class.is_empty()),
        ),
    ];
    match given
        .iter()
        .find(|(field, given)| *given && !supported.contains(field))
    {
        Some((field, _)) => Err(Error::field(
            field,
            format!("a {platform} host does not support it; omit it"),
        )),
        None => Ok(()),
    }
}

/// Reads the settings of a new host, with defaults for omitted ones.
pub(super) fn of_new_host(new: &api::HostCreate) -> Result<HostSettings> {
    check_name("name", &new.name)?;
    check_address(&new.address)?;
    let bind = new
        .bind
        .as_deref()
        .map_or(Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), read_bind)?;
    Ok(HostSettings {
        memory_factor: new.memory_factor.unwrap_or(1.0),
        disk_floor: new.disk_floor.unwrap_or(10),
        fill: new.fill.clone().unwrap_or_else(|| {
            vec![api::Fill {
                network_type: chainpool_networks::Registry::default().default_type().into(),
                preset: "default".into(),
                share: 1,
                parameters: serde_json::Map::new(),
            }]
        }),
        public_address: match &new.public_address {
            Some(given) => public_of_bind(given.clone(), bind)?,
            None if bind.is_loopback() => "127.0.0.1".to_owned(),
            None => public_address_of(&new.address),
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

#[cfg(test)]
mod tests;
