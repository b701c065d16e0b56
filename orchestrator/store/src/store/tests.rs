use super::*;
use crate::{ClusterQuery, restore, testing};
use chainpool_api::HostFilter;
use std::io::{Seek, SeekFrom, Write};
use tempfile::TempDir;

/// Names that would be read as URLs, escapes or queries if a path were parsed as a URL.
const ODD: [&str; 9] = [
    "f%2Fl",
    "a%20b",
    "w?n",
    "h#x",
    "with space",
    "ümläut",
    "file:x",
    "a&b=c?mode=memory",
    "-x'y\"z",
];

#[tokio::test]
async fn a_data_folder_may_have_any_name() {
    for name in ODD {
        let home = TempDir::new().unwrap();
        let folder = home.path().join(name);
        let store = Store::open(&folder, None)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let instance = store.instance();
        let backup = folder.join("copy.db");
        store
            .copy_to(&backup)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        store.close().await.unwrap();
        assert!(folder.join(DATABASE).is_file(), "{name}");
        restore(&folder, &backup)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let store = Store::open(&folder, None).await.unwrap();
        assert_eq!(store.instance(), instance, "{name}: another database was opened");
        store.close().await.unwrap();
        let beside: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(beside, [name], "nothing is created elsewhere");
    }
}

#[tokio::test]
async fn a_path_that_is_not_utf8_is_refused_with_a_reason() {
    use std::os::unix::ffi::OsStrExt;
    let home = TempDir::new().unwrap();
    let folder = home.path().join(std::ffi::OsStr::from_bytes(b"a\xffb"));
    let Err(error) = Store::open(&folder, None).await else {
        panic!("SQLite accepts only UTF-8 paths")
    };
    assert!(
        matches!(&error, Error::Folder(why) if why.contains("UTF-8")),
        "{error:?}"
    );
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_search_text_has_no_wildcards() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    testing::free_clusters(&store, &["a-1", "a_1", "b%2", "b-2", "c!3"]).await;
    for (search, expected) in [
        ("_", vec!["a_1"]),
        ("%", vec!["b%2"]),
        ("!", vec!["c!3"]),
        ("A-", vec!["a-1"]),
        ("-", vec!["b-2", "a-1"]),
    ] {
        let query = ClusterQuery {
            search: Some(search.to_owned()),
            ..ClusterQuery::default()
        };
        let mut found: Vec<String> = store
            .read()
            .cluster_page(&query)
            .await
            .unwrap()
            .into_iter()
            .map(|row| row.name)
            .collect();
        found.sort_by(|a, b| b.cmp(a));
        assert_eq!(found, expected, "{search}");
    }
    for (search, expected) in [("h", 1), ("%", 0), ("_", 0)] {
        let filter = HostFilter {
            search: Some(search.to_owned()),
            ..HostFilter::default()
        };
        assert_eq!(
            store.read().host_page(&filter).await.unwrap().len(),
            expected,
            "{search}"
        );
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_integrity_check_finds_damage() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    assert_eq!(store.check().await.unwrap(), "ok");
    let root = Statement::from_string(
        store.inner.read.get_database_backend(),
        "SELECT rootpage FROM sqlite_schema WHERE name = 'audit'",
    );
    let root: i64 = store
        .inner
        .read
        .query_one_raw(root)
        .await
        .unwrap()
        .unwrap()
        .try_get_by_index(0)
        .unwrap();
    store.close().await.unwrap();

    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join(DATABASE))
        .unwrap();
    file.seek(SeekFrom::Start(u64::try_from(root - 1).unwrap() * 4096))
        .unwrap();
    file.write_all(&[0xa5; 4096]).unwrap();
    drop(file);
    let store = Store::open(folder.path(), None).await.unwrap();
    let found = store.check().await;
    assert!(found.as_ref().map_or(true, |found| found != "ok"), "{found:?}");
    store
        .check_write()
        .await
        .expect("another table can still be written to");
    store.close().await.unwrap();
}

#[tokio::test]
async fn only_leftovers_of_an_interrupted_backup_are_removed() {
    let folder = TempDir::new().unwrap();
    let left = [
        format!("backup-{}.tmp", Uuid::now_v7()),
        "restore.tmp".to_owned(),
        "restore.tmp-wal".to_owned(),
    ];
    let kept = ["backup-of-mine.tmp", "backup-2026.db", "notes.txt"];
    for name in left.iter().map(String::as_str).chain(kept) {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    let store = Store::open(folder.path(), None).await.unwrap();
    assert!(left.iter().all(|name| !folder.path().join(name).exists()));
    assert!(kept.iter().all(|name| folder.path().join(name).exists()));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_partially_written_key_is_ignored() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("master.key.tmp"), "half").unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    assert_eq!(fs::metadata(folder.path().join("master.key")).unwrap().len(), 32);
    assert!(!folder.path().join("master.key.tmp").exists());
    store.close().await.unwrap();
}

#[tokio::test]
async fn files_in_the_data_folder_are_readable_only_by_their_owner() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("master.key"), [7; 32]).unwrap();
    fs::set_permissions(
        folder.path().join("master.key"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    for name in [
        "master.key",
        "lock",
        DATABASE,
        "chainpool.db-wal",
        "chainpool.db-shm",
    ] {
        let mode = fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    store.close().await.unwrap();
}
