//! Validation of a host's settings, alone and in combination.

use super::input::{self, Malformed, PublicAddress};
use crate::{
    Error, Orchestrator, Result,
    admission::{check_name, maintenance_until},
};
use chainpool_api::{self as api, HostState, Timestamp};
use chainpool_store::{EnumColumn, HostRow, HostSettings};
use ipnet::Ipv4Net;
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
/// The maximum length of an address, which may list several swarm managers.
const ADDRESS: usize = 1024;
/// The default range for the networks of a host's clusters.
const SUBNETS: &str = "10.213.0.0/16";

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
            .inner
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
            let new = self.new_of_entry(entry, place)?;
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
        let platform = self.inner.agents.find(&before.platform.0);
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

/// Validates that an address is one line of limited length, since it appears in lists and logs. The agent
/// validates its form.
pub(super) fn check_address(address: &str) -> Result<()> {
    if address.len() > ADDRESS || address.contains(|c: char| c.is_control() || c.is_whitespace()) {
        let why = format!(
            "{:?} is not a valid address; use at most {ADDRESS} characters without spaces and control characters",
            shortened(address)
        );
        return Err(Error::field("address", why));
    }
    Ok(())
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

/// Validates a public address with a bind address: ports bound to loopback are reachable only on the host
/// itself.
fn public_of_bind(given: String, bind: IpAddr) -> Result<String> {
    let parsed = given
        .parse::<PublicAddress>()
        .map_err(|why| Error::field("public_address", format!("{:?} {why}", shortened(&given))))?;
    match (bind.is_loopback(), parsed.is_loopback()) {
        (true, false) => Err(Error::field(
            "public_address",
            format!(
                "ports are bound to {bind}, so clusters are reachable only on that machine; omit {given} or bind to 0.0.0.0"
            ),
        )),
        (true, true) => Ok("127.0.0.1".to_owned()),
        (false, _) => Ok(given),
    }
}

/// Shortens a text of any length for a message.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        text.to_owned()
    } else {
        text.chars().take(SHOWN).chain(['…']).collect()
    }
}

fn read_bind(bind: &str) -> Result<IpAddr> {
    bind.parse().map_err(|_| {
        Error::field(
            "bind",
            format!("{bind:?} is not an IP address; use 0.0.0.0 or an address of the host"),
        )
    })
}

fn read_subnets(subnets: &str) -> Result<Ipv4Net> {
    subnets.parse().map_err(|_| {
        Error::field(
            "subnets",
            format!("{subnets:?} is not an IPv4 network; use one such as {SUBNETS}"),
        )
    })
}

/// The address at which users reach a host's clusters: the host part of its first network address, or the
/// server's own.
fn public_address_of(address: &str) -> String {
    let first = address.split(',').next().unwrap_or(address);
    if let Some(rest) = first
        .strip_prefix("tcp://")
        .or_else(|| first.strip_prefix("https://"))
    {
        let rest = rest.split('/').next().unwrap_or(rest);
        let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
        return host.trim_start_matches('[').trim_end_matches(']').to_owned();
    }
    own_address().unwrap_or_else(|| "127.0.0.1".to_owned())
}

/// The source address of the default route. Nothing is sent.
fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> HostSettings {
        of_new_host(&api::HostCreate {
            name: "h1".into(),
            address: "tcp://10.0.0.1:2376".into(),
            ..api::HostCreate::default()
        })
        .expect("defaults")
    }

    fn errors(change: impl FnOnce(&mut HostSettings)) -> Vec<String> {
        let mut settings = settings();
        change(&mut settings);
        setting_errors(&settings, 3, &BTreeSet::from(["cometbft".to_owned()]))
            .into_keys()
            .collect()
    }

    fn entry(share: u32) -> api::Fill {
        api::Fill {
            network_type: "cometbft".into(),
            preset: "single".into(),
            share,
            parameters: serde_json::Map::new(),
        }
    }

    #[test]
    fn every_setting_is_bounded() {
        assert!(errors(|_| {}).is_empty(), "the defaults");
        assert!(errors(|s| s.fill = vec![entry(10_000); 64]).is_empty());
        assert_eq!(errors(|s| s.fill = vec![entry(1); 65]), ["fill"]);
        assert_eq!(errors(|s| s.fill = vec![]), ["fill"]);
        for share in [0, 10_001, u32::MAX] {
            assert_eq!(
                errors(|s| s.fill = vec![entry(1), entry(share)]),
                ["fill[1].share"]
            );
        }
        let images = |images: Vec<String>| {
            move |s: &mut HostSettings| s.images = BTreeMap::from([("cometbft".to_owned(), images)])
        };
        assert!(errors(images(vec!["a:1".to_owned(); 64])).is_empty());
        for bad in [
            vec!["a:1".to_owned(); 65],
            vec!["a".repeat(256)],
            vec!["a b".to_owned()],
            vec![],
        ] {
            assert_eq!(errors(images(bad)), ["images.cometbft"]);
        }
        assert_eq!(errors(|s| s.mirror = Some("m.example/\"a b".into())), ["mirror"]);
        assert_eq!(
            errors(|s| s.mirror = Some(format!("m.example/{}", "a".repeat(100_000)))),
            ["mirror"]
        );
        assert_eq!(
            errors(|s| s.storage_class = Some("a b".into())),
            ["storage_class"]
        );
        let server = |server: &str| api::HostLog {
            kind: api::LogType::Syslog,
            level: api::LogLevel::Info,
            server: Some(server.to_owned()),
        };
        assert_eq!(errors(|s| s.log = server("udp://a\nb:1")), ["log.server"]);
        assert_eq!(
            errors(|s| s.public_address = "$(id>pwn)".into()),
            ["public_address"]
        );
    }

    #[test]
    fn a_message_shows_only_the_beginning_of_a_long_text() {
        let long = setting_errors(
            &HostSettings {
                mirror: Some("x ".repeat(50_000)),
                ..settings()
            },
            3,
            &BTreeSet::new(),
        );
        assert!(long["mirror"].len() < 300, "{}", long["mirror"].len());
    }

    /// The public address cannot change while there are clusters: an invalid one stored by a previous version
    /// must not block other changes.
    #[test]
    fn invalid_stored_settings_are_accepted_until_changed() {
        let stored = HostSettings {
            public_address: "pool_1.example:443".into(),
            ..settings()
        };
        assert!(!is_changed(
            "public_address",
            &stored,
            &HostSettings {
                disk_floor: 5,
                ..stored.clone()
            }
        ));
        assert!(is_changed(
            "public_address",
            &stored,
            &HostSettings {
                public_address: "a;b".into(),
                ..stored.clone()
            }
        ));
        assert!(is_changed("disk_floor", &stored, &stored));
        assert!(is_changed(
            "fill[0].share",
            &stored,
            &HostSettings {
                fill: vec![entry(0)],
                ..stored.clone()
            }
        ));
    }

    #[test]
    fn a_public_address_with_a_loopback_bind_is_refused() {
        let new = |public: Option<&str>, bind: &str| {
            let public_address = public.map(str::to_owned);
            let new = api::HostCreate {
                public_address,
                bind: Some(bind.to_owned()),
                name: "h1".into(),
                ..api::HostCreate::default()
            };
            of_new_host(&api::HostCreate {
                address: "tcp://10.0.0.1:2376".into(),
                ..new
            })
            .map(|settings| settings.public_address)
        };
        assert_eq!(new(None, "127.0.0.1").expect("loopback"), "127.0.0.1");
        assert_eq!(
            new(Some("127.0.0.1"), "127.0.0.1").expect("the same"),
            "127.0.0.1"
        );
        assert_eq!(
            new(None, "0.0.0.0").expect("derived from its address"),
            "10.0.0.1"
        );
        assert_eq!(
            new(Some("pool.example.org"), "0.0.0.0").expect("given"),
            "pool.example.org"
        );
        for (public, bind) in [
            ("pool.example.org", "127.0.0.1"),
            ("$(id>pwn)", "0.0.0.0"),
            ("", "0.0.0.0"),
        ] {
            let Err(Error::Invalid(problem)) = new(Some(public), bind) else {
                panic!("{public} was accepted")
            };
            assert!(problem.fields.contains_key("public_address"), "{problem:?}");
        }
    }

    #[test]
    fn the_public_address_is_the_host_part_of_the_address() {
        for (address, public) in [
            ("tcp://[fd00::5]:2376", "fd00::5"),
            ("https://h.example/k8s/clusters/c-m-7xk2", "h.example"),
            ("https://h.example:6443", "h.example"),
        ] {
            assert_eq!(public_address_of(address), public);
        }
    }

    #[test]
    fn settings_that_the_platform_does_not_support_are_refused() {
        let platform: api::Platform = "docker".parse().expect("a platform");
        let check =
            |supported: &[&str], kubeconfig, class| check_platform(&platform, supported, kubeconfig, class);
        assert!(check(&[], true, None).is_err() && check(&[], false, Some("fast")).is_err());
        assert!(check(&[], false, Some("")).is_ok());
        assert!(check(&["storage_class"], true, Some("fast")).is_err());
        assert!(check(&["kubeconfig", "storage_class"], true, Some("fast")).is_ok());
    }

    #[test]
    fn an_address_is_one_line() {
        assert!(
            check_address("unix:///x\n2026-01-01 ERROR").is_err()
                && check_address(&"a".repeat(ADDRESS + 1)).is_err()
        );
        assert!(check_address("tcp://a:1,tcp://b:1").is_ok());
    }
}
