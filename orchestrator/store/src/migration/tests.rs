use super::*;
use crate::{
    DATABASE, Store,
    store::{options, pool},
};
use chainpool_api::LeaseState;
use std::fmt::Write;
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
