//! The result of a probe in the terms of the API.

use chainpool_agent::{Machine, PlatformKind, Probe};
use chainpool_api::{self as api, Timestamp};

/// The public name of a platform kind.
pub(crate) fn platform_of(kind: PlatformKind) -> api::Platform {
    kind.as_str().parse().expect("both have the same form")
}

/// Converts a probe to its stored form.
pub(crate) fn info(probe: &Probe, now: Timestamp) -> api::HostPlatform {
    api::HostPlatform {
        version: probe.version.clone(),
        api_version: probe.api_version.clone(),
        storage_driver: probe.storage_driver.clone(),
        architecture: probe.architecture.clone(),
        cpus: probe.cpus,
        memory_bytes: probe.memory_bytes,
        disk_free_bytes: probe.disk.map(|(free, _)| free),
        disk_total_bytes: probe.disk.map(|(_, total)| total),
        skew_ms: probe.skew_ms,
        machines: probe.machines.iter().map(machine).collect(),
        checked_at: now,
    }
}

fn machine(machine: &Machine) -> api::HostMachine {
    let Machine {
        id,
        name,
        address,
        cpus,
        memory_bytes,
        closed,
    } = machine.clone();
    api::HostMachine {
        id,
        name,
        address,
        cpus,
        memory_bytes,
        closed,
    }
}
