//! Validation of settings by themselves. The façade adds the checks that need more: platforms, network types, clusters.

use crate::{
    host_settings::{
        patch::FieldErrors,
        settings::{Fill, HostLog, HostSettings, LogType},
    },
    host_text::{self, Malformed, PublicAddress, shortened},
};
use std::collections::{BTreeMap, BTreeSet};

/// The maximum number of entries of a fill policy, and of image references of one role.
const ENTRIES: usize = 64;
/// The maximum share of a fill entry.
const SHARE: u32 = 10_000;
/// The maximum capacity of a host.
const CAPACITY: u32 = 10_000;

impl HostSettings {
    /// Validates the settings, with the image roles of all network types. Unchanged settings that a previous version
    /// stored are accepted: it may be impossible to change them now.
    pub fn validate(&self, before: Option<&Self>, roles: &BTreeSet<String>) -> Result<(), FieldErrors> {
        let mut errors = self.errors(roles);
        if let Some(before) = before {
            errors.retain(|field, _| is_changed(field, before, self));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn errors(&self, roles: &BTreeSet<String>) -> FieldErrors {
        let Self {
            schedulable: _,
            autofill: _,
            capacity,
            memory_factor,
            disk_floor,
            fill,
            public_address,
            bind: _,
            ports: (first, last),
            subnets,
            log,
            mirror,
            images,
            insecure: _,
            storage_class,
        } = self;
        let mut errors = FieldErrors::new();
        let mut add = |field: &str, why: String| drop(errors.insert(field.to_owned(), why));
        if *capacity > CAPACITY {
            add("capacity", format!("{capacity} is above {CAPACITY}"));
        }
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
        if let Err(why) = public_address.parse::<PublicAddress>() {
            add("public_address", malformed(public_address, &why));
        }
        if *first < 1024 || last < first {
            add(
                "ports",
                format!("{first}-{last} is not a valid range; use FIRST-LAST with 1024 ≤ FIRST ≤ LAST"),
            );
        }
        if subnets.prefix_len() > 26 {
            add(
                "subnets",
                format!("{subnets} is too small for the /26 network of a cluster; use a larger range"),
            );
        }
        if let Some(mirror) = mirror
            && let Err(why) = host_text::registry_of_mirror(mirror)
        {
            add("mirror", malformed(mirror, &why));
        }
        if let Some(class) = storage_class
            && let Err(why) = host_text::check_storage_class(class)
        {
            add("storage_class", malformed(class, &why));
        }
        if let Err(why) = check_log(log) {
            add("log.server", why);
        }
        errors.extend(check_fill(fill));
        errors.extend(image_errors(images, roles));
        errors
    }
}

fn malformed(text: &str, why: &Malformed) -> String {
    format!("{:?} {why}", shortened(text))
}

fn check_log(log: &HostLog) -> Result<(), String> {
    match (log.kind, &log.server) {
        (LogType::Syslog, None) => Err("type syslog requires a server such as udp://10.0.0.9:514".to_owned()),
        (LogType::Syslog, Some(server)) => {
            host_text::check_syslog_server(server).map_err(|why| malformed(server, &why))
        }
        (LogType::Local, Some(_)) => Err("only type syslog takes a server; omit it".to_owned()),
        (LogType::Local, None) => Ok(()),
    }
}

/// The error of a fill policy, if any.
fn check_fill(fill: &[Fill]) -> Option<(String, String)> {
    if !(1..=ENTRIES).contains(&fill.len()) {
        return Some(("fill".to_owned(), format!("give 1 to {ENTRIES} entries")));
    }
    let (place, entry) = fill
        .iter()
        .enumerate()
        .find(|(_, entry)| !(1..=SHARE).contains(&entry.share))?;
    Some((
        format!("fill[{place}].share"),
        format!(
            "{} is not between 1 and {SHARE}; omit unwanted entries",
            entry.share
        ),
    ))
}

fn image_errors<'a>(
    images: &'a BTreeMap<String, Vec<String>>,
    roles: &'a BTreeSet<String>,
) -> impl Iterator<Item = (String, String)> + 'a {
    images.iter().filter_map(|(role, candidates)| {
        let why = if !roles.contains(role) {
            let known = roles.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("no network type has this role; valid roles: {known}")
        } else if !(1..=ENTRIES).contains(&candidates.len()) {
            format!("give 1 to {ENTRIES} image references, such as registry.example/name:tag")
        } else {
            candidates
                .iter()
                .find_map(|image| Some(malformed(image, &host_text::check_image(image).err()?)))?
        };
        Some((format!("images.{}", shortened(role)), why))
    })
}

/// Returns `true` if the setting of a wrong field was changed.
fn is_changed(field: &str, before: &HostSettings, after: &HostSettings) -> bool {
    let setting = field.split(['.', '[']).next().unwrap_or(field);
    let value = |settings: &HostSettings| {
        let settings = serde_json::to_value(settings).expect("plain fields");
        settings.get(setting).cloned()
    };
    value(before) != value(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_settings::settings::LogLevel;

    fn settings() -> HostSettings {
        HostSettings::new("cometbft", "10.0.0.1".to_owned())
    }

    fn fields(before: Option<&HostSettings>, settings: &HostSettings) -> Vec<String> {
        let roles = BTreeSet::from(["cometbft".to_owned()]);
        let errors = settings.validate(before, &roles).err().unwrap_or_default();
        errors.into_keys().collect()
    }

    fn errors(change: impl FnOnce(&mut HostSettings)) -> Vec<String> {
        let mut settings = settings();
        change(&mut settings);
        fields(None, &settings)
    }

    fn entry(share: u32) -> Fill {
        Fill {
            share,
            ..settings().fill.remove(0)
        }
    }

    #[test]
    fn every_setting_is_bounded() {
        assert!(errors(|_| {}).is_empty(), "the defaults");
        assert!(errors(|s| (s.capacity, s.disk_floor) = (CAPACITY, 90)).is_empty());
        assert_eq!(errors(|s| s.capacity = CAPACITY + 1), ["capacity"]);
        assert_eq!(errors(|s| s.disk_floor = 91), ["disk_floor"]);
        for factor in [0.0, 100.1, f64::NAN] {
            assert_eq!(errors(|s| s.memory_factor = factor), ["memory_factor"]);
        }
        for ports in [(1023, 2000), (3000, 2999)] {
            assert_eq!(errors(|s| s.ports = ports), ["ports"]);
        }
        assert_eq!(
            errors(|s| s.subnets = "10.0.0.0/27".parse().unwrap()),
            ["subnets"]
        );
        assert_eq!(errors(|s| s.mirror = Some("m.example/\"a b".into())), ["mirror"]);
        assert_eq!(
            errors(|s| s.mirror = Some(format!("m.example/{}", "a".repeat(100_000)))),
            ["mirror"]
        );
        assert_eq!(
            errors(|s| s.storage_class = Some("a b".into())),
            ["storage_class"]
        );
        assert_eq!(
            errors(|s| s.public_address = "$(id>pwn)".into()),
            ["public_address"]
        );
    }

    #[test]
    fn fill_policies_and_images_are_bounded() {
        assert!(errors(|s| s.fill = vec![entry(10_000); 64]).is_empty());
        assert_eq!(errors(|s| s.fill = vec![entry(1); 65]), ["fill"]);
        assert_eq!(errors(|s| s.fill = vec![]), ["fill"]);
        for share in [0, 10_001, u32::MAX] {
            assert_eq!(
                errors(|s| s.fill = vec![entry(1), entry(share)]),
                ["fill[1].share"]
            );
        }
        let images = |role: &str, images: Vec<String>| {
            let images = BTreeMap::from([(role.to_owned(), images)]);
            move |s: &mut HostSettings| s.images = images
        };
        assert!(errors(images("cometbft", vec!["a:1".to_owned(); 64])).is_empty());
        for bad in [
            vec!["a:1".to_owned(); 65],
            vec!["a".repeat(256)],
            vec!["a b".to_owned()],
            vec![],
        ] {
            assert_eq!(errors(images("cometbft", bad)), ["images.cometbft"]);
        }
        assert_eq!(errors(images("other", vec!["a:1".to_owned()])), ["images.other"]);
    }

    #[test]
    fn a_log_server_belongs_to_syslog() {
        let log = |kind, server: Option<&str>| {
            let log = HostLog {
                kind,
                level: LogLevel::Info,
                server: server.map(str::to_owned),
            };
            errors(|s| s.log = log)
        };
        assert!(log(LogType::Syslog, Some("udp://a:1")).is_empty());
        assert_eq!(log(LogType::Syslog, Some("udp://a\nb:1")), ["log.server"]);
        assert_eq!(log(LogType::Syslog, None), ["log.server"]);
        assert_eq!(log(LogType::Local, Some("udp://a:1")), ["log.server"]);
    }

    #[test]
    fn a_message_shows_only_the_beginning_of_a_long_text() {
        let long = HostSettings {
            mirror: Some("x ".repeat(50_000)),
            ..settings()
        };
        let errors = long.validate(None, &BTreeSet::new()).expect_err("refused");
        assert!(errors["mirror"].len() < 300, "{}", errors["mirror"].len());
    }

    /// The public address cannot change while there are clusters: an invalid one stored by a previous version
    /// must not block other changes.
    #[test]
    fn invalid_stored_settings_are_accepted_until_changed() {
        let stored = HostSettings {
            public_address: "pool_1.example:443".into(),
            fill: vec![entry(0)],
            ..settings()
        };
        let mut after = HostSettings {
            disk_floor: 5,
            ..stored.clone()
        };
        assert!(fields(Some(&stored), &after).is_empty());
        after.public_address = "a;b".into();
        after.fill.push(entry(1));
        after.disk_floor = 91;
        assert_eq!(
            fields(Some(&stored), &after),
            ["disk_floor", "fill[0].share", "public_address"]
        );
    }
}
