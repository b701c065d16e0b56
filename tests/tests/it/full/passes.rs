//! Full passes of the watchdog.

use anyhow::Result;
use chainpool_api::Status;
use chainpool_tests::{Bed, within};
use std::time::Duration;

/// Waits for this many further full passes to end.
pub(crate) async fn wait_for_passes(bed: &Bed, passes: u32) -> Result<()> {
    for _ in 0..passes {
        let before = bed.api.get::<Status>("/status").await?.watchdog.last_pass_at;
        within(Duration::from_mins(2), "a full pass", async || {
            let now = bed.api.get::<Status>("/status").await?.watchdog.last_pass_at;
            Ok(if now == before {
                Err(format!("the last pass ended at {now:?}"))
            } else {
                Ok(())
            })
        })
        .await?;
    }
    Ok(())
}
