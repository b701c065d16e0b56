//! Settings of a host on the command line: every field of `HostSettingsPatch`.

use crate::{
    args::{enum_parser, pair},
    duration,
    exit::{Exit, Failure, Result},
};
use chainpool_api::{
    Fill, HostCreate, HostLog, HostRegistry, HostSettings, HostSettingsPatch, HostTls, HostUpdate, LogLevel,
    LogType, Platform,
};
use clap::{Args, ValueHint};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Options of both `create` and `update`.
#[derive(Debug, Default, Args)]
pub(crate) struct SettingArgs {
    /// CA certificate of the engine, in PEM
    #[arg(long, requires = "tls_cert", value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Engine")]
    tls_ca: Option<PathBuf>,
    /// Client certificate for the engine, in PEM
    #[arg(long, requires = "tls_key", value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Engine")]
    tls_cert: Option<PathBuf>,
    /// Client key for the engine, in PEM
    #[arg(long, requires = "tls_ca", value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Engine")]
    tls_key: Option<PathBuf>,
    /// Kubeconfig with credentials for a Kubernetes cluster
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Engine")]
    kubeconfig: Option<PathBuf>,
    /// Storage class of volumes on Kubernetes; empty: the default class of Kubernetes
    #[arg(long, value_name = "NAME", help_heading = "Engine")]
    storage_class: Option<String>,
    /// Allow plain TCP beyond loopback
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", help_heading = "Engine")]
    insecure: Option<bool>,
    /// Place new clusters on the host and offer its free clusters
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", help_heading = "Pool")]
    schedulable: Option<bool>,
    /// Keep the host filled to its capacity
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", help_heading = "Pool")]
    autofill: Option<bool>,
    /// Maximum number of clusters
    #[arg(long, value_name = "NUMBER", help_heading = "Pool")]
    capacity: Option<u32>,
    /// Entry of the fill policy, such as type=cometbft,preset=default,share=1; repeatable
    #[arg(long, value_name = "ENTRY", value_parser = fill, help_heading = "Pool")]
    fill: Vec<Fill>,
    /// Fill policy as a JSON list, which can include parameters
    #[arg(long, value_name = "JSON", value_parser = fill_json, conflicts_with = "fill", help_heading = "Pool")]
    fill_json: Option<FillList>,
    /// Maximum sum of node memory limits, as a factor of the host's memory
    #[arg(long, value_name = "FACTOR", help_heading = "Pool")]
    memory_factor: Option<f64>,
    /// Minimum free disk space for new clusters, in percent
    #[arg(long, value_name = "PERCENT", help_heading = "Pool")]
    disk_floor: Option<u32>,
    /// Public address of its clusters
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    public_address: Option<String>,
    /// Bind address of published ports
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    bind: Option<String>,
    /// Range of published ports
    #[arg(long, value_name = "FIRST-LAST", value_parser = ports, help_heading = "Network")]
    ports: Option<(u16, u16)>,
    /// IPv4 range of the cluster networks
    #[arg(long, value_name = "CIDR", help_heading = "Network")]
    subnets: Option<String>,
    /// Log destination of new nodes
    #[arg(long, value_parser = enum_parser!(LogType), value_name = "TYPE", help_heading = "Logs")]
    log_type: Option<LogType>,
    /// Log level of new nodes
    #[arg(long, value_parser = enum_parser!(LogLevel), value_name = "LEVEL", help_heading = "Logs")]
    log_level: Option<LogLevel>,
    #[arg(help = "Syslog server, such as udp://10.0.0.9:514; with type syslog")]
    #[arg(long, value_name = "URL", help_heading = "Logs")]
    log_server: Option<String>,
    /// Registry mirror prefix for image references; empty disables it
    #[arg(long, value_name = "PREFIX", help_heading = "Images")]
    mirror: Option<String>,
    /// Image for a role, overriding the network type's; repeatable, in order of preference
    #[arg(long, value_name = "ROLE=REFERENCE", value_parser = pair, help_heading = "Images")]
    image: Vec<(String, String)>,
    #[arg(
        help = "Registry that receives the credentials, host[:port] or docker.io; default: the mirror's registry"
    )]
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "registry_user",
        help_heading = "Images"
    )]
    registry_address: Option<String>,
    /// User name for the image registry
    #[arg(
        long,
        value_name = "USER",
        requires = "registry_password_file",
        help_heading = "Images"
    )]
    registry_user: Option<String>,
    /// File with the password for the image registry
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "registry_user", help_heading = "Images")]
    registry_password_file: Option<PathBuf>,
}

/// Default settings of a new host.
fn defaults() -> String {
    let HostSettings {
        capacity,
        memory_factor,
        disk_floor,
        fill,
        bind,
        ports: (first, last),
        subnets,
        log,
        ..
    } = HostSettings::new(chainpool_orchestrator::default_network_type(), String::new());
    let fill: Vec<_> = fill
        .iter()
        .map(|entry| format!("type={},preset={}", entry.network_type, entry.preset))
        .collect();
    format!(
        "Defaults: schedulable, no autofill, capacity {capacity}, fill {}, memory factor {memory_factor:.1}, \
    disk floor {disk_floor} %, public address from the address or the machines, bind {bind}, ports {first}-{last} \
    (30000-32767 on Kubernetes), subnets {subnets}, {} logs at level {}, no mirror, the network type's images.",
        fill.join(" "),
        log.kind,
        log.level
    )
}

/// Arguments of `host create`.
#[derive(Debug, Args)]
#[command(after_help = defaults())]
pub(crate) struct CreateArgs {
    /// Host name
    name: String,
    #[arg(
        help = "Address of its API: unix:///var/run/docker.sock, tcp://host:port (swarm: all managers, separated by commas), https://host:6443 or in-cluster"
    )]
    #[arg(long, value_name = "URL")]
    address: String,
    /// Platform; default: detected. A given value must match the detected one
    #[arg(long = "type", value_parser = crate::serve::platform_parser(), value_name = "TYPE")]
    platform: Option<Platform>,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Arguments of `host update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Host name or id
    pub(crate) host: String,
    /// New name
    #[arg(long)]
    name: Option<String>,
    /// New address of its API; must lead to the same engine
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// Suspend automatic repair and autofill for this long; 0 resumes them
    #[arg(long, value_name = "TIME", value_parser = duration::short_seconds)]
    maintenance: Option<u32>,
    /// Pause all changes on the host; `false` resumes after your inspection
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    paused: Option<bool>,
    #[command(flatten)]
    settings: SettingArgs,
}

/// A fill policy in one value of the command line.
#[derive(Debug, Clone)]
pub(crate) struct FillList(Vec<Fill>);

impl CreateArgs {
    /// The request.
    pub(crate) fn build(self) -> Result<HostCreate> {
        let Self {
            name,
            address,
            platform,
            settings,
        } = self;
        let new = HostCreate {
            name,
            platform,
            address,
            ..HostCreate::default()
        };
        Ok(new.with_settings(settings.read(None)?))
    }
}

impl UpdateArgs {
    /// `true` if a logging option is given, which requires the current values of the others.
    pub(crate) fn changes_log(&self) -> bool {
        let SettingArgs {
            log_type,
            log_level,
            log_server,
            ..
        } = &self.settings;
        log_type.is_some() || log_level.is_some() || log_server.is_some()
    }

    /// The request, given the current logging.
    pub(crate) fn build(self, log: Option<HostLog>) -> Result<HostUpdate> {
        let Self {
            host: _,
            name,
            address,
            maintenance: maintenance_seconds,
            paused,
            settings,
        } = self;
        let change = HostUpdate {
            name,
            address,
            maintenance_seconds,
            paused,
            ..HostUpdate::default()
        };
        Ok(change.with_settings(settings.read(log)?))
    }
}

impl SettingArgs {
    /// Reads the files, and completes the logging options with the current ones.
    fn read(self, log: Option<HostLog>) -> Result<HostSettingsPatch> {
        let Self {
            tls_ca,
            tls_cert,
            tls_key,
            kubeconfig,
            storage_class,
            insecure,
            schedulable,
            autofill,
            capacity,
            fill,
            fill_json,
            memory_factor,
            disk_floor,
            public_address,
            bind,
            ports,
            subnets,
            log_type,
            log_level,
            log_server,
            mirror,
            image,
            registry_address,
            registry_user,
            registry_password_file,
        } = self;
        let tls = match (tls_ca, tls_cert, tls_key) {
            (Some(ca), Some(cert), Some(key)) => Some(HostTls {
                ca: text(&ca)?,
                cert: text(&cert)?,
                key: text(&key)?,
            }),
            _ => None,
        };
        let registry = match (registry_user, registry_password_file) {
            (Some(user), Some(file)) => Some(HostRegistry {
                address: registry_address,
                user,
                password: text(&file)?.trim_end_matches(['\r', '\n']).to_owned(),
            }),
            _ => None,
        };
        let mut images: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (role, reference) in image {
            images.entry(role).or_default().push(reference);
        }
        Ok(HostSettingsPatch {
            tls,
            insecure,
            schedulable,
            autofill,
            capacity,
            memory_factor,
            disk_floor,
            fill: fill_json
                .map(|list| list.0)
                .or_else(|| (!fill.is_empty()).then_some(fill)),
            public_address,
            bind,
            ports,
            subnets,
            log: changed_log((log_type, log_level, log_server), log),
            mirror,
            images: (!images.is_empty()).then_some(images),
            registry,
            kubeconfig: kubeconfig.as_deref().map(text).transpose()?,
            storage_class,
        })
    }
}

/// The current logging with these changes; `None` without changes.
fn changed_log(
    changes: (Option<LogType>, Option<LogLevel>, Option<String>),
    current: Option<HostLog>,
) -> Option<HostLog> {
    if changes == (None, None, None) {
        return None;
    }
    let (kind, level, server) = changes;
    let current = current.unwrap_or_default();
    let kind = kind.unwrap_or(current.kind);
    // The syslog server is dropped with the type `syslog`.
    let kept = current.server.filter(|_| kind == current.kind);
    Some(HostLog {
        kind,
        level: level.unwrap_or(current.level),
        server: server.or(kept),
    })
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Invalid, format!("cannot read {}: {error}", path.display())))
}

/// Parses `type=cometbft,preset=default,share=1`.
fn fill(entry: &str) -> Result<Fill, String> {
    let mut object = serde_json::Map::new();
    for part in entry.split(',') {
        let (key, value) = pair(part).map_err(|_| {
            format!("{part:?} is not KEY=VALUE; use the form type=cometbft,preset=default,share=1")
        })?;
        let value = match key.as_str() {
            "type" | "preset" => serde_json::Value::from(value),
            "share" => value
                .parse::<u32>()
                .map(serde_json::Value::from)
                .map_err(|_| format!("the share {value:?} is not a whole number"))?,
            _ => {
                return Err(format!(
                    "unknown key {key:?}; use type, preset and share, or --fill-json for parameters"
                ));
            }
        };
        if object.insert(key.clone(), value).is_some() {
            return Err(format!("{key} is given twice"));
        }
    }
    serde_json::from_value(object.into()).map_err(|error| error.to_string())
}

fn fill_json(text: &str) -> Result<FillList, String> {
    serde_json::from_str(text).map(FillList).map_err(|error| {
        format!("{error}; use the form [{{\"type\":\"cometbft\",\"preset\":\"default\",\"share\":1}}]")
    })
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let range = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)))
        .filter(|(first, last): &(u16, u16)| first <= last);
    range.ok_or_else(|| "use the form FIRST-LAST, such as 20000-29999".to_owned())
}

#[cfg(test)]
mod tests;
