//! Hosts: the machines that clusters run on.

use crate::{
    Fill, HostLog, HostRegistry, HostSettings, HostSettingsPatch, HostTls, Platform, Timestamp,
    host_settings::setting_fields, text_enum::text_enum,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

text_enum! {
    /// Availability of a host.
    HostState {
        /// Reachable.
        Active = "active",
        /// Unreachable.
        Unreachable = "unreachable",
        /// No changes until an operator resumes it; see `reason`.
        Paused = "paused",
    }
}

/// Facts reported by the platform at the last check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostPlatform {
    /// Version.
    pub version: String,
    /// API version in use.
    pub api_version: String,
    /// Storage driver.
    pub storage_driver: String,
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Free bytes on the disk of the containers; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// Total bytes of that disk; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_total_bytes: Option<u64>,
    /// Clock skew in milliseconds, host minus server; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<i64>,
    /// Machines of the platform; empty if there is only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<HostMachine>,
    /// Time of the check.
    pub checked_at: Timestamp,
}

/// One machine of a platform with several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostMachine {
    /// Permanent id assigned by the platform.
    pub id: String,
    /// Host name.
    pub name: String,
    /// Address of its published ports.
    pub address: String,
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Reason that it accepts no new nodes; absent if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// One or several machines that run clusters.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Unique identifier.
    pub id: Uuid,
    /// Unique name.
    pub name: String,
    /// Platform.
    #[serde(rename = "type")]
    pub platform: Platform,
    /// Address of its API.
    pub address: String,
    /// Identity reported by the platform.
    pub engine_id: String,
    /// Availability.
    pub state: HostState,
    /// Reason for the state, if not active.
    pub reason: String,
    /// Time of the last change of state.
    pub since: Timestamp,
    /// Settings.
    #[serde(flatten)]
    #[schema(inline)]
    pub settings: HostSettings,
    /// Paused fill entries: index in `fill` to reason.
    pub fill_paused: BTreeMap<String, String>,
    /// End of the suspension of automatic repair and autofill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<Timestamp>,
    /// Facts last reported by the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<HostPlatform>,
    /// Number of existing clusters.
    pub clusters: u32,
    /// Number of clusters available for lease.
    pub offered: u32,
    /// Number of leased clusters.
    pub leased: u32,
    /// Operation in progress on the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<Uuid>,
    /// Registration time.
    pub created_at: Timestamp,
}

/// Defines a request with these fields of its own and all fields of a patch. They are fields of one struct, because
/// serde's `flatten` loses the paths of errors.
macro_rules! host_request {
    (
        { $(#[$($about:tt)*])* $name:ident { $($own:tt)* } }
        $($(#[$($attribute:tt)*])* $field:ident: $type:ty,)*
    ) => {
        $(#[$($about)*])*
        #[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($own)*
            $($(#[$($attribute)*])* pub $field: Option<$type>,)*
        }

        impl $name {
            /// Returns the patch of the settings.
            pub fn settings(&self) -> HostSettingsPatch {
                HostSettingsPatch { $($field: self.$field.clone(),)* }
            }

            /// Replaces the patch of the settings.
            #[must_use]
            pub fn with_settings(self, patch: HostSettingsPatch) -> Self {
                let HostSettingsPatch { $($field,)* } = patch;
                Self { $($field,)* ..self }
            }
        }
    };
}

setting_fields!(host_request {
    /// A new host, with defaults for absent fields. The server probes it first and stores nothing if the probe
    /// fails.
    HostCreate {
        /// Name.
        #[schema(
            required = true,
            min_length = 1,
            max_length = 40,
            pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$"
        )]
        pub name: String,
        /// Platform; default: detected. A given value must match the detected one.
        #[serde(rename = "type")]
        pub platform: Option<Platform>,
        /// Address of its API: `unix:///var/run/docker.sock`, `tcp://host:port` (swarm: all managers, separated
        /// by commas), `https://host:6443` or `in-cluster`.
        #[schema(required = true, pattern = "^((unix|tcp|https)://.+|in-cluster)$")]
        pub address: String,
    }
});

setting_fields!(host_request {
    /// New settings of a host. Absent fields keep their value; the defaults are those of a new host.
    HostUpdate {
        /// Name.
        #[schema(min_length = 1, max_length = 40, pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$")]
        pub name: Option<String>,
        /// Address of its API; must lead to the same engine.
        #[schema(pattern = "^((unix|tcp|https)://.+|in-cluster)$")]
        pub address: Option<String>,
        /// Seconds to suspend automatic repair and autofill, at most 365 days; 0 resumes them.
        #[schema(maximum = 31_536_000)]
        pub maintenance_seconds: Option<u32>,
        /// `true` to pause all changes on the host; `false` to resume after inspection.
        pub paused: Option<bool>,
    }
});

/// Filter for hosts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HostFilter {
    /// Availability.
    pub state: Option<HostState>,
    /// Platform.
    #[serde(rename = "type")]
    pub platform: Option<Platform>,
    /// Part of the name.
    #[param(max_length = 200)]
    pub search: Option<String>,
    /// Cursor: `next` of the previous page.
    pub after: Option<String>,
    /// Maximum number of items, 1 to 500; default 100.
    #[serde(default, deserialize_with = "crate::bounds::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// Confirmation to forget a permanently lost host.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HostForget {
    /// Name of the host, as confirmation: forgets an unreachable host with all its clusters and leases.
    pub forget: Option<String>,
}

/// Unclaimed clusters to adopt for deletion.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostAdopt {
    /// Cluster ids from the objects' labels.
    #[schema(min_items = 1)]
    pub clusters: Vec<Uuid>,
}

/// Objects with this instance's label whose cluster or generation is not in the database. Chainpool leaves
/// them untouched until an operator adopts them or resets the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unclaimed {
    /// Host name.
    pub host: String,
    /// Cluster id from the labels.
    pub cluster_id: Uuid,
    /// Newest generation from the labels.
    pub generation: u32,
    /// Object names.
    pub objects: Vec<String>,
}
