//! Rows and a small disk, for the tests of this crate and of those above it.

use crate::{ClusterRow, HostRow, HostSettings, Json, Store, Word};
use chainpool_api::{ClusterState, HealthState, HostLog, HostState, Platform, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::Write as _,
    net::Ipv4Addr,
    path::PathBuf,
    process::Command,
};
use tempfile::TempDir;
use uuid::Uuid;

/// A host that nobody reaches, with room for ten clusters.
pub fn host(now: Timestamp) -> HostRow {
    let settings = HostSettings {
        memory_factor: 1.0,
        disk_floor: 0,
        fill: Vec::new(),
        public_address: "127.0.0.1".into(),
        bind: Ipv4Addr::LOCALHOST.into(),
        ports: (20_000, 20_100),
        subnets: "10.0.0.0/20".parse().expect("a network"),
        log: HostLog::default(),
        mirror: None,
        images: BTreeMap::new(),
        insecure: false,
        storage_class: None,
    };
    HostRow {
        id: Uuid::now_v7(),
        name: "h1".into(),
        platform: Word(Platform::Docker),
        address: "unix:///none".into(),
        engine_id: "e".into(),
        state: Word(HostState::Active),
        reason: String::new(),
        since: now.into(),
        schedulable: true,
        autofill: false,
        capacity: 10,
        settings: Json(settings),
        sealed: None,
        fill_state: Json(BTreeMap::new()),
        maintenance_until: None,
        info: None,
        created_at: now.into(),
    }
}

/// A free healthy cluster of it.
pub fn free(host: &HostRow, name: &str, now: Timestamp) -> ClusterRow {
    ClusterRow {
        id: Uuid::now_v7(),
        name: name.into(),
        host_id: host.id,
        network_type: "cometbft".into(),
        preset: "default".into(),
        version: "0.38".into(),
        consensus: "bft".into(),
        size: 4,
        parameters: Json(serde_json::Value::Null),
        made_with: None,
        labels: "{}".into(),
        state: Word(ClusterState::Ready),
        generation: 1,
        chain_id: name.into(),
        health: Word(HealthState::Healthy),
        health_reason: String::new(),
        health_since: now.into(),
        checked_at: now.into(),
        height: Some(1),
        ledger_fault: None,
        proof: None,
        leased: false,
        schedulable: true,
        operation_id: None,
        subnet: None,
        machines: Json(BTreeMap::new()),
        memory_bytes: 0,
        fill_key: None,
        stopped_nodes: Json(BTreeSet::new()),
        maintenance_until: None,
        power_at: now.into(),
        created_at: now.into(),
        ready_at: Some(now.into()),
        gone_at: None,
    }
}

/// Adds a host with free clusters of these names.
///
/// # Panics
///
/// When the store fails.
pub async fn free_clusters(store: &Store, names: &[&str]) -> Vec<ClusterRow> {
    let now = Timestamp::now();
    let host = host(now);
    let free: Vec<ClusterRow> = names.iter().map(|name| free(&host, name, now)).collect();
    let mut tx = store.begin().await.expect("a transaction");
    for row in &free {
        tx.cluster_insert(row.clone(), Vec::new())
            .await
            .expect("a cluster");
    }
    tx.host_insert(host).await.expect("a host");
    tx.commit("test").await.expect("a commit");
    free
}

/// Runs the named test, the caller, once more as a process in a mount name space of its own, where a folder is a file system of so many
/// MiB. That run gets the folder; here it is over. The file system goes with that process, however it ends. Where nobody may mount one the
/// test is skipped, and says so; with `CI` or `CHAINPOOL_CI` set it fails.
///
/// # Panics
///
/// When that run fails.
pub fn small_disk(test: &str, mebibytes: u32) -> Option<PathBuf> {
    const FOLDER: &str = "CHAINPOOL_TEST_SMALL_DISK";
    if let Some(folder) = env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let folder = TempDir::new().expect("a folder");
    let spaces = if rustix::process::geteuid().is_root() {
        "-m"
    } else {
        "-Urm"
    };
    let apart = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args([
                spaces,
                "sh",
                "-c",
                &format!("mount -t tmpfs -o size={mebibytes}m tmpfs \"$0\"{script}"),
            ])
            .arg(folder.path());
        command
    };
    if !apart("").status().is_ok_and(|status| status.success()) {
        let why = format!(
            "!!! SKIPPED, not passed: {test}, because this machine lets nobody here mount a file system (unshare {spaces})"
        );
        let must_run = ["CI", "CHAINPOOL_CI"]
            .iter()
            .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
        assert!(
            !must_run,
            "{why}; CI and CHAINPOOL_CI, when they are empty, let it be skipped"
        );
        // The macros that print are silent in a test that passes.
        drop(writeln!(std::io::stderr(), "{why}"));
        return None;
    }
    let mut again = apart(" && exec \"$@\"");
    again
        .arg(env::current_exe().expect("it runs"))
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder.path());
    let ended = again.status().expect("it runs");
    assert!(ended.success(), "{test} on a small disk: {ended}");
    None
}
