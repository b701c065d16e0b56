//! Test fixtures: rows, a count of queries and a small disk, for this crate and the crates above it.

pub use crate::query_count::queries;

use crate::{
    ClusterRow, DATABASE, EnumColumn, HostRow, Json, RowVersion, Store,
    entity::host_leader,
    store::{options, pool},
};
use chainpool_api::{ClusterState, HealthState, HostSettings, HostState, Timestamp};
use sea_orm::{
    EntityTrait,
    sea_query::{Expr, ExprTrait},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;
use uuid::Uuid;

/// An unreachable host with room for ten clusters.
pub fn host(now: Timestamp) -> HostRow {
    let settings = HostSettings {
        capacity: 10,
        disk_floor: 0,
        fill: Vec::new(),
        bind: Ipv4Addr::LOCALHOST.into(),
        ports: (20_000, 20_100),
        subnets: "10.0.0.0/20".parse().expect("a network"),
        ..HostSettings::new("cometbft", "127.0.0.1".into())
    };
    HostRow {
        id: Uuid::now_v7(),
        name: "h1".into(),
        platform: EnumColumn("docker".parse().expect("a platform")),
        address: "unix:///none".into(),
        engine_id: "e".into(),
        state: EnumColumn(HostState::Active),
        reason: String::new(),
        since: now.into(),
        settings: Json(settings),
        sealed: None,
        fill_state: Json(BTreeMap::new()),
        maintenance_until: None,
        info: None,
        created_at: now.into(),
        row_version: RowVersion::default(),
    }
}

/// A free healthy cluster on it.
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
        created_with: None,
        labels: "{}".into(),
        state: EnumColumn(ClusterState::Ready),
        generation: 1,
        chain_id: name.into(),
        health: EnumColumn(HealthState::Healthy),
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
        last_started_at: now.into(),
        created_at: now.into(),
        ready_at: Some(now.into()),
        deleted_at: None,
        row_version: RowVersion::default(),
    }
}

/// Adds a host with free clusters of these names.
///
/// # Panics
///
/// If the store fails.
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

/// Moves the leadership of every host by this number of epochs while another process has the store open, as if a
/// process with that epoch took over. The opposite number returns it.
///
/// # Panics
///
/// If the database cannot be written.
pub async fn move_leadership(folder: &Path, epochs: i64) {
    let options = options(&folder.join(DATABASE)).expect("a database");
    let connection = pool(options, 1).await.expect("a connection");
    host_leader::Entity::update_many()
        .col_expr(
            host_leader::Column::Epoch,
            Expr::col(host_leader::Column::Epoch).add(epochs),
        )
        .exec(&connection)
        .await
        .expect("a row for each host");
    connection.close().await.expect("an end");
}

/// Runs the named test (the caller) again in a child process with its own mount namespace, where a folder is
/// a file system of this many MiB. The child gets the folder; the parent gets `None` when the child has
/// exited. The file system disappears with the child. If mounting is not permitted, the test is skipped with
/// a message; with `CI` or `CHAINPOOL_CI` set it fails.
///
/// # Panics
///
/// If the child fails.
pub fn small_disk(test: &str, mebibytes: u32) -> Option<PathBuf> {
    const FOLDER: &str = "CHAINPOOL_TEST_SMALL_DISK";
    if let Some(folder) = env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let folder = TempDir::new().expect("a folder");
    let namespaces = if rustix::process::geteuid().is_root() {
        "-m"
    } else {
        "-Urm"
    };
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args([
                namespaces,
                "sh",
                "-c",
                &format!("mount -t tmpfs -o size={mebibytes}m tmpfs \"$0\"{script}"),
            ])
            .arg(folder.path());
        command
    };
    if !in_namespace("").status().is_ok_and(|status| status.success()) {
        let why = format!(
            "!!! SKIPPED, not passed: {test}, because mounting a file system is not permitted here (unshare {namespaces})"
        );
        let must_run = ["CI", "CHAINPOOL_CI"]
            .iter()
            .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
        assert!(!must_run, "{why}; to allow skipping, unset CI and CHAINPOOL_CI");
        // The print macros are captured in a passing test.
        drop(writeln!(std::io::stderr(), "{why}"));
        return None;
    }
    let mut child = in_namespace(" && exec \"$@\"");
    child
        .arg(env::current_exe().expect("the path of this test"))
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder.path());
    let status = child.status().expect("unshare ran before");
    assert!(status.success(), "{test} on a small disk: {status}");
    None
}
