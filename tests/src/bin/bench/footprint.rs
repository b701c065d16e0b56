//! Footprint of the binary: disk, memory, start time.

use crate::{
    pool::Pool,
    report::{Bar, Row},
};
use anyhow::{Context, Result};
use std::{fs, path::Path, time::Duration};
use tokio::time::sleep;

const STARTS: usize = 5;
/// Seconds for which the idle server is observed.
const WATCHED: usize = 10;

/// Measures the small binary with the pool's clusters.
pub(crate) async fn measure(pool: Pool, small: &Path) -> Result<(Pool, Vec<Row>)> {
    let bytes = u32::try_from(fs::metadata(small)?.len()).context("a binary below 4 GB")?;
    let mut pool = pool.served_by(small);
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        pool = pool.restart().await?;
        starts.push(pool.server.serving_after.as_secs_f64());
    }
    let count = pool.wait_all_offered().await?.len();
    let mut idle = 0.0_f64;
    for _ in 0..WATCHED {
        sleep(Duration::from_secs(1)).await;
        idle = idle.max(pool.server.resident_mb()?);
    }
    let rows = vec![
        Row::new("size of the binary", f64::from(bytes) / 1e6, "MB").bar(Bar::AtMost(40.0)),
        Row::new(format!("resident memory idle with {count} clusters"), idle, "MB")
            .bar(Bar::AtMost(40.0))
            .note(format!("maximum of {WATCHED} s after a restart")),
        Row::median("start to the first answer", &starts, "s")
            .bar(Bar::AtMost(0.3))
            .note(format!("from exec, with {count} clusters in the database")),
    ];
    Ok((pool, rows))
}
