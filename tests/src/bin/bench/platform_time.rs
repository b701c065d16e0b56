//! A platform's own time for the same objects.

use crate::heights::Heights;
use anyhow::Result;
use std::time::Instant;

/// The platform's own time, in seconds.
pub(crate) struct PlatformTime {
    /// Until all processes had started.
    pub(crate) started: f64,
    /// Until all validators had a new block.
    pub(crate) block: f64,
    /// Description of the created objects.
    pub(crate) what: &'static str,
}

/// Clock for [`PlatformTime`].
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Waits for blocks above a height on all validators.
pub(crate) async fn blocks(addresses: &[String], above: u64) -> Result<()> {
    Heights::new()?.all_above(addresses, above).await
}
