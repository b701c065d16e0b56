use super::*;
use crate::{AccountRow, EnumColumn, RowVersion, Store, TokenRow, testing};
use chainpool_api::Role;
use std::{
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    time::Duration,
};
use tempfile::TempDir;
use uuid::Uuid;

/// A stopped installation with a cluster `old`, a backup of that state, and a cluster `new` that is not in
/// the backup.
struct Fixture {
    home: TempDir,
    folder: PathBuf,
    backup: PathBuf,
}

impl Fixture {
    async fn new() -> Self {
        let home = TempDir::new().unwrap();
        let (folder, backup) = (home.path().join("data"), home.path().join("copy.db"));
        let store = Store::open(&folder, None).await.unwrap();
        signed_in(&store).await;
        testing::free_clusters(&store, &["old"]).await;
        store.copy_to(&backup).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let mut row = tx.cluster_named("old").await.unwrap().unwrap();
        row.name = "new".to_owned();
        tx.cluster_save(row).await.unwrap();
        tx.commit("test").await.unwrap();
        store.close().await.unwrap();
        Self { home, folder, backup }
    }

    /// The names of the clusters in the database.
    async fn names(&self) -> Vec<String> {
        let store = Store::open(&self.folder, None).await.unwrap();
        let names = store
            .read()
            .clusters()
            .await
            .unwrap()
            .into_iter()
            .map(|row| row.name)
            .collect();
        store.close().await.unwrap();
        names
    }

    /// The files in the folder with their content.
    fn content(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap());
        let mut content: Vec<_> = entries
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        content.sort();
        content
    }

    /// Changes the backup with SQL.
    async fn change(&self, sql: &str) {
        let connection = pool(SqliteConnectOptions::new().filename(&self.backup), 1)
            .await
            .unwrap();
        connection.execute_unprepared(sql).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Writes the backup as an older version with this many migrations wrote it: its settings, hosts and clusters.
    async fn downgrade(&self, migrations: u32) {
        let newer = self.home.path().join("newer.db");
        fs::rename(&self.backup, &newer).unwrap();
        let older = SqliteConnectOptions::new()
            .filename(&self.backup)
            .create_if_missing(true);
        let connection = pool(older, 1).await.unwrap();
        Migrator::up(&connection, Some(migrations)).await.unwrap();
        let attach = format!("ATTACH '{}' AS newer", newer.display());
        connection.execute_unprepared(&attach).await.unwrap();
        for table in ["setting", "host", "cluster"] {
            let columns = format!("SELECT name FROM pragma_table_info('{table}', 'main')");
            let values: Vec<String> = query(&connection, &columns)
                .await
                .unwrap()
                .iter()
                .map(|row| row.try_get_by_index::<String>(0).unwrap())
                .map(|column| match (table, column.as_str()) {
                    ("host", "schedulable" | "autofill" | "capacity") => {
                        format!("json_extract(settings, '$.{column}')")
                    }
                    (_, "power_at") => "last_started_at".to_owned(),
                    (_, "gone_at") => "deleted_at".to_owned(),
                    (_, "made_with") => "created_with".to_owned(),
                    _ => column,
                })
                .collect();
            let copy = format!(
                "INSERT INTO main.{table} SELECT {} FROM newer.{table}",
                values.join(", ")
            );
            connection.execute_unprepared(&copy).await.unwrap();
        }
        connection.close().await.unwrap();
    }

    /// Asserts that the backup is refused with this message and that nothing changes.
    async fn refused(&self, why: &str) {
        let before = self.content();
        let error = tokio::time::timeout(Duration::from_mins(1), restore(&self.folder, &self.backup)).await;
        let error = error.expect("it hangs").expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(names(&before), names(&self.content()), "{why}");
        assert_eq!(before, self.content(), "{why}");
    }
}

fn names(content: &[(String, Vec<u8>)]) -> Vec<&String> {
    content.iter().map(|(name, _)| name).collect()
}

/// An account with a link, a session and a token.
async fn signed_in(store: &Store) {
    let now = Timestamp::now();
    let id = Uuid::now_v7();
    let mut tx = store.begin().await.unwrap();
    let account = AccountRow {
        id,
        name: "ann".into(),
        role: EnumColumn(Role::User),
        password: None,
        link: Some(vec![1]),
        link_expires_at: Some(now.plus_seconds(3600).into()),
        created_at: now.into(),
        row_version: RowVersion::default(),
    };
    tx.account_insert(account).await.unwrap();
    for (number, session) in [(1, true), (2, false)] {
        let row = TokenRow {
            id: Uuid::now_v7(),
            account_id: id,
            name: "t".into(),
            digest: vec![number],
            session,
            lease_any: false,
            created_at: now.into(),
            expires_at: None,
        };
        tx.token_insert(row).await.unwrap();
    }
    tx.commit("test").await.unwrap();
}

#[tokio::test]
async fn a_restore_keeps_the_previous_database_and_revokes_sessions_and_links() {
    let fixture = Fixture::new().await;
    for number in ["", "-2"] {
        let restored = restore(&fixture.folder, &fixture.backup).await.unwrap();
        let kept = fixture
            .folder
            .join(format!("chainpool.db.before-restore{number}"));
        assert_eq!(
            restored,
            Restored {
                kept: Some(kept.clone())
            }
        );
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fixture.names().await, ["old"]);
    }
    let store = Store::open(&fixture.folder, None).await.unwrap();
    let read = store.read();
    assert_eq!(read.setting("paused").await.unwrap().as_deref(), Some("true"));
    assert!(
        read.token_of(&[1]).await.unwrap().is_none(),
        "the session is still valid"
    );
    assert!(read.token_of(&[2]).await.unwrap().is_some(), "a token is kept");
    assert!(
        read.account_of_link(&[1]).await.unwrap().is_none(),
        "the link is still valid"
    );
    store.close().await.unwrap();

    // Undo the restore.
    fs::rename(
        fixture.folder.join("chainpool.db.before-restore"),
        fixture.folder.join(DATABASE),
    )
    .unwrap();
    assert_eq!(fixture.names().await, ["new"]);
    assert!(
        fixture
            .content()
            .iter()
            .all(|(name, _)| !name.contains("restore.tmp")),
        "{:?}",
        names(&fixture.content())
    );
}

/// After a `kill -9` the latest changes are in the WAL file.
#[tokio::test]
async fn the_kept_database_includes_the_wal_of_a_killed_server() {
    let fixture = Fixture::new().await;
    let left = TempDir::new().unwrap();
    let store = Store::open(&fixture.folder, None).await.unwrap();
    let tx = store.begin().await.unwrap();
    tx.setting_put("newest", "1").await.unwrap();
    tx.commit("test").await.unwrap();
    for name in [DATABASE, "chainpool.db-wal"] {
        fs::copy(fixture.folder.join(name), left.path().join(name)).unwrap();
    }
    store.close().await.unwrap();
    for name in [DATABASE, "chainpool.db-wal"] {
        fs::copy(left.path().join(name), fixture.folder.join(name)).unwrap();
    }
    let kept = restore(&fixture.folder, &fixture.backup)
        .await
        .unwrap()
        .kept
        .unwrap();
    let store = Store::open(&fixture.folder, None).await.unwrap();
    assert_eq!(
        store.read().setting("newest").await.unwrap(),
        None,
        "the new database contains changes of the old one"
    );
    store.close().await.unwrap();
    fs::rename(kept, fixture.folder.join(DATABASE)).unwrap();
    let store = Store::open(&fixture.folder, None).await.unwrap();
    assert_eq!(
        store.read().setting("newest").await.unwrap().as_deref(),
        Some("1")
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_database_is_kept_unchanged_and_replaced() {
    let fixture = Fixture::new().await;
    fs::write(fixture.folder.join(DATABASE), "no database").unwrap();
    let kept = restore(&fixture.folder, &fixture.backup)
        .await
        .unwrap()
        .kept
        .unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), "no database");
    assert_eq!(fixture.names().await, ["old"]);
}

#[tokio::test]
async fn a_restore_into_a_new_folder_requires_the_master_key() {
    let fixture = Fixture::new().await;
    let other = fixture.home.path().join("other");
    fs::create_dir(&other).unwrap();
    let error = restore(&other, &fixture.backup).await.unwrap_err();
    assert!(error.to_string().contains("there is no master.key"), "{error}");
    assert!(!other.join("master.key").exists() && !other.join(DATABASE).exists());

    fs::write(other.join("master.key"), [7; 32]).unwrap();
    let error = restore(&other, &fixture.backup).await.unwrap_err();
    assert!(error.to_string().contains("does not belong"), "{error}");
    fs::copy(fixture.folder.join("master.key"), other.join("master.key")).unwrap();
    assert_eq!(
        restore(&other, &fixture.backup).await.unwrap(),
        Restored { kept: None }
    );
}

#[tokio::test]
async fn a_damaged_backup_changes_nothing() {
    let fixture = Fixture::new().await;
    let whole = fs::read(&fixture.backup).unwrap();
    // Damage some inner pages, as a bad disk does.
    let mut file = fs::OpenOptions::new().write(true).open(&fixture.backup).unwrap();
    for page in 6..30 {
        file.seek(SeekFrom::Start(page * 4096 + 8)).unwrap();
        file.write_all(&[0xa5; 3000]).unwrap();
    }
    drop(file);
    fixture.refused("damaged").await;

    fs::write(&fixture.backup, &whole[..whole.len() / 2]).unwrap();
    fixture.refused("damaged").await;
    for junk in [&b""[..], b"junk", &whole[..50]] {
        fs::write(&fixture.backup, junk).unwrap();
        fixture.refused("backup").await;
    }
    assert_eq!(fixture.names().await, ["new"]);
}

#[tokio::test]
async fn a_backup_with_another_schema_changes_nothing() {
    for (sql, why) in [
        (
            "INSERT INTO seaql_migrations VALUES ('m9999_future', 0)",
            "written by a newer chainpool (m9999_future)",
        ),
        (
            "DELETE FROM seaql_migrations WHERE version LIKE 'm0001%'",
            "schema migrations are missing",
        ),
        ("DROP TABLE seaql_migrations", "no such table"),
        (
            "CREATE TRIGGER t AFTER UPDATE ON cluster BEGIN DELETE FROM account; END",
            "its trigger t",
        ),
        ("CREATE VIEW v AS SELECT 1", "its view v"),
        ("DROP INDEX lease_cluster", "its index lease_cluster"),
        ("ALTER TABLE account ADD COLUMN more TEXT", "its table account"),
        ("UPDATE cluster SET state = 'dancing'", "damaged"),
        (
            "DELETE FROM setting WHERE name = 'master_key_id'",
            "master.key does not belong",
        ),
    ] {
        let fixture = Fixture::new().await;
        fixture.change(sql).await;
        fixture.refused(why).await;
        assert_eq!(fixture.names().await, ["new"], "{sql}");
    }
}

#[tokio::test]
async fn a_backup_with_fewer_migrations_is_migrated() {
    let fixture = Fixture::new().await;
    fixture.downgrade(5).await;
    let before = fs::read(&fixture.backup).unwrap();
    restore(&fixture.folder, &fixture.backup).await.unwrap();
    assert_eq!(fixture.names().await, ["old"]);
    assert_eq!(
        fs::read(&fixture.backup).unwrap(),
        before,
        "the backup itself is only read"
    );
}

#[tokio::test]
async fn a_special_file_is_refused_without_blocking() {
    let fixture = Fixture::new().await;
    fs::remove_file(&fixture.backup).unwrap();
    fixture.refused("cannot be read").await;
    fs::create_dir(&fixture.backup).unwrap();
    fixture.refused("not a regular file").await;
    fs::remove_dir(&fixture.backup).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fixture.backup,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    fixture.refused("not a regular file").await;
    fs::remove_file(&fixture.backup).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &fixture.backup).unwrap();
    fixture.refused("not a regular file").await;

    // The key file is untrusted too.
    let key = fixture.folder.join("master.key");
    fs::remove_file(&key).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &key).unwrap();
    let Err(error) = Store::open(&fixture.folder, None).await else {
        panic!("a device was accepted as a key")
    };
    assert!(matches!(error, Error::File(_)), "{error:?}");
}

#[tokio::test]
async fn a_running_installation_cannot_be_restored() {
    let fixture = Fixture::new().await;
    let store = Store::open(&fixture.folder, None).await.unwrap();
    assert!(matches!(
        restore(&fixture.folder, &fixture.backup).await,
        Err(Error::Locked(_))
    ));
    store.close().await.unwrap();
}
