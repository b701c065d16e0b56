use super::*;
use crate::{
    DATABASE, RowVersion, Store,
    store::{options, pool},
};
use chainpool_api::{HostSettings, LeaseState};
use std::{fmt::Write, process::Command};
use tempfile::TempDir;
use uuid::Uuid;

/// A database of version 3 with these leases: id, holder, and the author in the audit log, if any.
async fn database_of_version_3(folder: &TempDir, leases: &[(Uuid, &str, Option<&str>)]) {
    let connection = pool(
        options(&folder.path().join(DATABASE))
            .unwrap()
            .create_if_missing(true),
        1,
    )
    .await
    .unwrap();
    Migrator::up(&connection, Some(3)).await.unwrap();
    for (id, holder, author) in leases {
        let (hex, cluster) = (id.simple(), Uuid::now_v7().simple());
        let mut sql = format!(
            "INSERT INTO lease (id, cluster_id, holder, filter, single, state, created_at) VALUES (x'{hex}', x'{cluster}', '{holder}', '[]', FALSE, 'active', 1);"
        );
        if let Some(author) = author {
            let line = Uuid::now_v7().simple();
            write!(
                sql,
                "INSERT INTO audit (id, at, author, verb, subject, detail) VALUES (x'{line}', 1, '{author}', 'lease_apply', 'c', 'lease {id} for {holder}');"
            )
            .unwrap();
        }
        connection.execute_unprepared(&sql).await.unwrap();
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn migrated_leases_belong_to_the_author_in_the_audit_log() {
    let folder = TempDir::new().unwrap();
    let [of_portal, own, unknown] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    database_of_version_3(
        &folder,
        &[
            (of_portal, "dave", Some("portal")),
            (own, "ann", Some("ann")),
            (unknown, "bob", None),
        ],
    )
    .await;
    let store = Store::open(folder.path(), None).await.unwrap();
    for (id, holder, applied_by) in [
        (of_portal, "dave", "portal"),
        (own, "ann", "ann"),
        (unknown, "bob", "bob"),
    ] {
        let row = store.read().lease(id).await.unwrap().unwrap();
        assert_eq!(
            (row.holder.as_str(), row.applied_by.as_str(), row.state.0),
            (holder, applied_by, LeaseState::Active)
        );
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn rows_of_a_previous_version_can_be_saved() {
    let folder = TempDir::new().unwrap();
    let id = Uuid::now_v7();
    database_of_version_3(&folder, &[(id, "ann", None)]).await;
    let store = Store::open(folder.path(), None).await.unwrap();
    let row = store.read().lease(id).await.unwrap().unwrap();
    assert_eq!(row.row_version, RowVersion::default());
    let mut tx = store.begin().await.unwrap();
    let saved = tx.lease_save(row).await.unwrap();
    assert_eq!(tx.lease(id).await.unwrap(), Some(saved));
    drop(tx);
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_settings_of_a_migrated_host_are_kept() {
    let folder = TempDir::new().unwrap();
    let database = options(&folder.path().join(DATABASE)).unwrap();
    let connection = pool(database.create_if_missing(true), 1).await.unwrap();
    Migrator::up(&connection, Some(10)).await.unwrap();
    let id = Uuid::now_v7();
    let settings = r#"{"memory_factor":1.5,"disk_floor":5,"fill":[],"public_address":"a.example","bind":"0.0.0.0","ports":[20000,20999],"subnets":"10.0.0.0/16","log":{"type":"local","level":"info"},"mirror":null,"images":{},"insecure":false}"#;
    let sql = format!(
        "INSERT INTO host (id, name, platform, address, engine_id, state, reason, since, schedulable, autofill, capacity, settings, fill_state, created_at) VALUES (x'{}', 'h1', 'docker', 'unix:///x', 'e', 'active', '', 1, FALSE, TRUE, 7, '{settings}', '{{}}', 1);",
        id.simple()
    );
    connection.execute_unprepared(&sql).await.unwrap();
    connection.close().await.unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    let host = store.read().host(id).await.unwrap().unwrap();
    let expected = HostSettings {
        schedulable: false,
        autofill: true,
        capacity: 7,
        memory_factor: 1.5,
        disk_floor: 5,
        fill: Vec::new(),
        ports: (20_000, 20_999),
        subnets: "10.0.0.0/16".parse().unwrap(),
        ..HostSettings::new("cometbft", "a.example".to_owned())
    };
    assert_eq!(host.settings.0, expected);
    store.close().await.unwrap();
}

/// The database of a pool that a previous version filled; see tests/fixtures/README.md.
#[tokio::test]
async fn the_rows_of_a_recorded_database_can_be_saved() {
    let folder = TempDir::new().unwrap();
    let unpacked = Command::new("tar")
        .args([
            "-xzf",
            concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../tests/fixtures/922f4bb/data.tar.gz"
            ),
            "-C",
        ])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(unpacked.success());
    let store = Store::open(folder.path(), None).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let (hosts, clusters) = (tx.hosts().await.unwrap(), tx.clusters().await.unwrap());
    let (leases, accounts) = (tx.leases_active().await.unwrap(), tx.accounts().await.unwrap());
    assert!(!hosts.is_empty() && !clusters.is_empty() && !leases.is_empty() && !accounts.is_empty());
    for row in hosts {
        tx.host_save(row).await.unwrap();
    }
    for row in clusters {
        tx.cluster_save(row).await.unwrap();
    }
    for row in leases {
        tx.lease_save(row).await.unwrap();
    }
    for row in accounts {
        tx.account_save(row).await.unwrap();
    }
    tx.commit("test").await.unwrap();
    store.close().await.unwrap();
}
