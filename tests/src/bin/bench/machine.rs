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

/// Returns the resident memory of a process in MB.
pub(crate) fn resident_mb(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("a process has VmRSS")?;
    let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(f64::from(kib) * 1024.0 / 1e6)
}

/// Returns the processor time of a process in seconds, of all its threads.
pub(crate) fn processor_seconds(process: u32) -> Result<f64> {
    // proc_pid_stat(5): the name in parentheses, then utime and stime as the 14th and 15th fields, in units of
    // 1/100 s on Linux.
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("the name of a process")?;
    let times: Vec<u32> = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok(f64::from(times.iter().sum::<u32>()) / 100.0)
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
