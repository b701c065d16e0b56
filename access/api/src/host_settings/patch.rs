//! Changes of settings: the fields of the requests, and their application.

use crate::{
    host_settings::settings::{Fill, HostLog, HostSettings},
    host_text::{PublicAddress, shortened},
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};
use utoipa::ToSchema;

/// Errors by field, each with its remedy.
pub type FieldErrors = BTreeMap<String, String>;

/// PEM certificates and key for mutual TLS with an engine. The key is encrypted at rest and never returned.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostTls {
    /// CA certificate of the engine.
    pub ca: String,
    /// Client certificate.
    pub cert: String,
    /// Client key.
    pub key: String,
}

impl std::fmt::Debug for HostTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostTls(***)")
    }
}

/// Credentials for an image registry. The password is encrypted at rest and never returned.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostRegistry {
    /// Registry, `host[:port]` or `docker.io`; default: the mirror's. No other registry receives the
    /// credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// User; empty removes the stored credentials.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for HostRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostRegistry(***)")
    }
}

/// Passes the fields of a patch to a macro, after the given tokens: the patch and each request that contains it have the
/// same fields.
macro_rules! setting_fields {
    ($define:ident { $($given:tt)* }) => {
        $define! {
            { $($given)* }
            /// Certificates for mutual TLS.
            tls: HostTls,
            /// `true` to allow plain TCP beyond loopback; default false.
            insecure: bool,
            /// `true` to accept new clusters and offer free ones; default true.
            schedulable: bool,
            /// `true` to keep the host filled to its capacity; default false.
            autofill: bool,
            /// Maximum number of clusters; default 3. If more exist, free clusters are deleted, leased clusters after
            /// their release.
            #[schema(maximum = 10_000)]
            capacity: u32,
            /// Maximum sum of node memory limits, as a factor of the host's memory; default 1.0.
            #[schema(minimum = 0.1, maximum = 100.0)]
            memory_factor: f64,
            /// Minimum free disk space for new clusters, in percent; default 10.
            #[schema(maximum = 90)]
            disk_floor: u32,
            /// Fill policy; default: one entry, type `cometbft`, preset `default`. An update resumes all paused entries.
            #[schema(min_items = 1)]
            fill: Vec<Fill>,
            /// Public address of its clusters: host name or IP address, no port; default: from `address`, for Swarm
            /// and Kubernetes the address of the first machine. An update requires a host without clusters.
            public_address: String,
            /// Bind address of published ports; default `0.0.0.0`. An update requires a host without clusters.
            bind: String,
            /// Range of published ports; default 20000 to 29999, on Kubernetes 30000 to 32767. An update requires a
            /// host without clusters.
            #[schema(schema_with = crate::bounds::ports)]
            ports: (u16, u16),
            /// IPv4 range of the cluster networks, in CIDR notation; default `10.213.0.0/16`. An update requires a host
            /// without clusters.
            #[schema(
                pattern = "^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])/([0-9]|1[0-9]|2[0-6])$"
            )]
            subnets: String,
            /// Logging of new nodes; default: local, info.
            log: HostLog,
            /// Registry mirror prefix for image references; default: none. Empty disables it.
            mirror: String,
            /// Image references by role; default: the network type's.
            images: BTreeMap<String, Vec<String>>,
            /// Credentials for the image registry; default: none.
            registry: HostRegistry,
            /// Kubernetes: content of a kubeconfig with Chainpool's credentials; encrypted at rest. Not with the
            /// address `in-cluster`.
            kubeconfig: String,
            /// Kubernetes: storage class of new volumes; absent by default, or empty: the default class of Kubernetes.
            #[schema(
                max_length = 253,
                pattern = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*)?$"
            )]
            storage_class: String,
        }
    };
}

pub(crate) use setting_fields;

/// Defines the patch.
macro_rules! patch {
    ({ $(#[$($about:tt)*])* $name:ident } $($(#[$($attribute:tt)*])* $field:ident: $type:ty,)*) => {
        $(#[$($about)*])*
        #[derive(Debug, Clone, Default, Serialize, ToSchema)]
        pub struct $name {
            $($(#[$($attribute)*])* pub $field: Option<$type>,)*
        }
    };
}

setting_fields!(patch {
    /// Settings to change, and secrets to store. Absent fields keep their value.
    HostSettingsPatch
});

impl HostSettings {
    /// Applies a patch, without its secrets. Refuses texts that cannot be parsed; the result is not validated.
    ///
    /// While the ports are bound to loopback, the public address is loopback, too. `derived` returns the address of a
    /// host that is no longer bound to it and has no other.
    pub fn apply(
        &self,
        patch: HostSettingsPatch,
        derived: impl FnOnce() -> String,
    ) -> Result<Self, FieldErrors> {
        let HostSettingsPatch {
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
            kubeconfig: _,
            storage_class,
        } = patch;
        let current = self.clone();
        let bind = bind.map_or(Ok(current.bind), |text| read_bind(&text))?;
        let public_address = match public_address {
            Some(given) => public_of_bind(given, bind)?,
            None if bind.is_loopback() => "127.0.0.1".to_owned(),
            None if current.bind.is_loopback() => derived(),
            None => current.public_address,
        };
        Ok(Self {
            schedulable: schedulable.unwrap_or(current.schedulable),
            autofill: autofill.unwrap_or(current.autofill),
            capacity: capacity.unwrap_or(current.capacity),
            memory_factor: memory_factor.unwrap_or(current.memory_factor),
            disk_floor: disk_floor.unwrap_or(current.disk_floor),
            fill: fill.unwrap_or(current.fill),
            public_address,
            bind,
            ports: ports.unwrap_or(current.ports),
            subnets: subnets.map_or(Ok(current.subnets), |text| read_subnets(&text))?,
            log: log.unwrap_or(current.log),
            mirror: text_or_none(mirror, current.mirror),
            images: images.unwrap_or(current.images),
            insecure: insecure.unwrap_or(current.insecure),
            storage_class: text_or_none(storage_class, current.storage_class),
        })
    }
}

impl HostSettingsPatch {
    /// Drops the values that the settings have already.
    #[must_use]
    pub fn without_unchanged(self, current: &HostSettings) -> Self {
        fn changed<T: PartialEq>(given: Option<T>, current: &T) -> Option<T> {
            given.filter(|given| given != current)
        }
        let HostSettings {
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
            insecure,
            storage_class,
        } = current;
        Self {
            tls: self.tls,
            insecure: changed(self.insecure, insecure),
            schedulable: changed(self.schedulable, schedulable),
            autofill: changed(self.autofill, autofill),
            capacity: changed(self.capacity, capacity),
            memory_factor: changed(self.memory_factor, memory_factor),
            disk_floor: changed(self.disk_floor, disk_floor),
            fill: changed(self.fill, fill),
            public_address: changed(self.public_address, public_address),
            bind: changed(self.bind, &bind.to_string()),
            ports: changed(self.ports, ports),
            subnets: changed(self.subnets, &subnets.to_string()),
            log: changed(self.log, log),
            mirror: changed(self.mirror, mirror.as_ref().unwrap_or(&String::new())),
            images: changed(self.images, images),
            registry: self.registry,
            kubeconfig: self.kubeconfig,
            storage_class: changed(
                self.storage_class,
                storage_class.as_ref().unwrap_or(&String::new()),
            ),
        }
    }
}

/// The new value of an optional text, where empty removes it.
fn text_or_none(given: Option<String>, current: Option<String>) -> Option<String> {
    given.map_or(current, |text| Some(text).filter(|text| !text.is_empty()))
}

fn wrong(field: &str, why: impl Into<String>) -> FieldErrors {
    FieldErrors::from([(field.to_owned(), why.into())])
}

fn read_bind(bind: &str) -> Result<IpAddr, FieldErrors> {
    bind.parse().map_err(|_| {
        wrong(
            "bind",
            format!("{bind:?} is not an IP address; use 0.0.0.0 or an address of the host"),
        )
    })
}

fn read_subnets(subnets: &str) -> Result<Ipv4Net, FieldErrors> {
    subnets.parse().map_err(|_| {
        wrong(
            "subnets",
            format!("{subnets:?} is not an IPv4 network; use one such as 10.213.0.0/16"),
        )
    })
}

/// Checks a public address with a bind address: ports bound to loopback are reachable only on the host itself.
fn public_of_bind(given: String, bind: IpAddr) -> Result<String, FieldErrors> {
    let parsed = given
        .parse::<PublicAddress>()
        .map_err(|why| wrong("public_address", format!("{:?} {why}", shortened(&given))))?;
    match (bind.is_loopback(), parsed.is_loopback()) {
        (true, false) => Err(wrong(
            "public_address",
            format!(
                "ports are bound to {bind}, so clusters are reachable only on that machine; omit {given} or bind to 0.0.0.0"
            ),
        )),
        (true, true) => Ok("127.0.0.1".to_owned()),
        (false, _) => Ok(given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> HostSettings {
        HostSettings::new("cometbft", "10.0.0.1".to_owned())
    }

    fn names(value: &impl Serialize) -> Vec<String> {
        let value = serde_json::to_value(value).unwrap();
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    }

    #[test]
    fn a_patch_has_the_fields_of_the_settings_and_the_secrets() {
        let mut expected = names(&HostSettings {
            mirror: Some("m.example".to_owned()),
            storage_class: Some("fast".to_owned()),
            ..defaults()
        });
        expected.extend(["tls", "registry", "kubeconfig"].map(str::to_owned));
        expected.sort();
        assert_eq!(names(&HostSettingsPatch::default()), expected);
    }

    #[test]
    fn an_empty_patch_changes_nothing() {
        let unchanged = defaults().apply(HostSettingsPatch::default(), || panic!("not derived"));
        assert_eq!(unchanged, Ok(defaults()));
    }

    #[test]
    fn only_changed_values_are_kept() {
        let given = HostSettingsPatch {
            capacity: Some(3),
            disk_floor: Some(11),
            bind: Some("0.0.0.0".to_owned()),
            mirror: Some(String::new()),
            kubeconfig: Some("text".to_owned()),
            ..HostSettingsPatch::default()
        };
        let changed = serde_json::to_value(given.without_unchanged(&defaults())).unwrap();
        let mut changed = changed.as_object().unwrap().clone();
        changed.retain(|_, value| !value.is_null());
        assert_eq!(
            serde_json::Value::from(changed),
            serde_json::json!({ "disk_floor": 11, "kubeconfig": "text" })
        );
    }

    #[test]
    fn an_empty_text_removes_a_setting() {
        let with = |mirror: &str| HostSettingsPatch {
            mirror: Some(mirror.to_owned()),
            ..HostSettingsPatch::default()
        };
        let set = defaults().apply(with("m.example"), String::new).unwrap();
        assert_eq!(set.mirror.as_deref(), Some("m.example"));
        assert_eq!(set.apply(with(""), String::new).unwrap().mirror, None);
    }

    #[test]
    fn a_public_address_with_a_loopback_bind_is_refused() {
        let new = |public: Option<&str>, bind: &str| {
            let patch = HostSettingsPatch {
                public_address: public.map(str::to_owned),
                bind: Some(bind.to_owned()),
                ..HostSettingsPatch::default()
            };
            defaults()
                .apply(patch, || panic!("not derived"))
                .map(|settings| settings.public_address)
        };
        assert_eq!(new(None, "127.0.0.1").expect("loopback"), "127.0.0.1");
        assert_eq!(
            new(Some("127.0.0.1"), "127.0.0.1").expect("the same"),
            "127.0.0.1"
        );
        assert_eq!(new(None, "0.0.0.0").expect("the default"), "10.0.0.1");
        assert_eq!(
            new(Some("pool.example.org"), "0.0.0.0").expect("given"),
            "pool.example.org"
        );
        for (public, bind) in [
            ("pool.example.org", "127.0.0.1"),
            ("$(id>pwn)", "0.0.0.0"),
            ("", "0.0.0.0"),
        ] {
            let errors = new(Some(public), bind).expect_err("refused");
            assert!(errors.contains_key("public_address"), "{errors:?}");
        }
    }

    #[test]
    fn a_host_that_is_no_longer_bound_to_loopback_gets_a_public_address() {
        let bound = |settings: &HostSettings, bind: &str| {
            let patch = HostSettingsPatch {
                bind: Some(bind.to_owned()),
                ..HostSettingsPatch::default()
            };
            settings.apply(patch, || "10.0.0.2".to_owned()).unwrap()
        };
        let local = bound(&defaults(), "127.0.0.1");
        assert_eq!(local.public_address, "127.0.0.1");
        assert_eq!(bound(&local, "0.0.0.0").public_address, "10.0.0.2");
    }
}
