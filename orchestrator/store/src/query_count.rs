//! A count of the readers' queries, for tests and the bench.

use sea_orm::DatabaseConnection;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The queries of readers, by data folder.
static QUERIES: Mutex<BTreeMap<PathBuf, Arc<AtomicU64>>> = Mutex::new(BTreeMap::new());

fn count_of(folder: &Path) -> Arc<AtomicU64> {
    let mut counts = QUERIES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(counts.entry(folder.to_owned()).or_default())
}

/// The number of queries that the readers of a data folder have run in this process.
pub fn queries(folder: &Path) -> u64 {
    count_of(folder).load(Ordering::Relaxed)
}

/// Counts the queries of a reader.
pub(crate) fn counted(mut reader: DatabaseConnection, folder: &Path) -> DatabaseConnection {
    let count = count_of(folder);
    reader.set_metric_callback(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    reader
}
