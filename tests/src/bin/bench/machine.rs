//! Description of the machine.

use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::Write,
    thread,
    time::Instant,
};

/// Describes processors, memory, and the time of a durable write in the benchmark's data folders.
pub(crate) fn describe() -> Result<String> {
    let cpus = thread::available_parallelism()?;
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib: u32 = text
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(1))
        .context("the size of memory")?
        .parse()?;
    let gib = f64::from(kib) / 1024.0 / 1024.0;
    Ok(format!(
        "{cpus} processors, {gib:.0} GiB, fdatasync {:.2} ms at the median",
        fdatasync_ms()?
    ))
}

/// Returns the load averages of 1, 5 and 15 minutes.
pub(crate) fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

fn fdatasync_ms() -> Result<f64> {
    let folder = tempfile::TempDir::new()?;
    let mut file = File::create(folder.path().join("probe"))?;
    let mut samples = Vec::new();
    for _ in 0..200 {
        file.write_all(&[0; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        samples.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(crate::report::median(&samples))
}
