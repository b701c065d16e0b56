//! Block heights of ledgers, as reported by their validators.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Client that queries validators for their heights.
pub(crate) struct Heights(reqwest::Client);

impl Heights {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(
            reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(1))
                .build()?,
        ))
    }

    /// Waits until the validator at each address has a block above this height.
    pub(crate) async fn all_above(&self, addresses: &[String], height: u64) -> Result<()> {
        let until = Instant::now() + Duration::from_mins(4);
        try_join_all(addresses.iter().map(async |address| {
            while self.of(address).await.unwrap_or(0) <= height {
                ensure!(Instant::now() < until, "{address} has no block above {height}");
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        }))
        .await?;
        Ok(())
    }

    /// Returns the height of the validator at an address.
    pub(crate) async fn of(&self, address: &str) -> Result<u64> {
        let status: Value = self
            .0
            .get(format!("http://{address}/status"))
            .send()
            .await?
            .json()
            .await?;
        Ok(status["result"]["sync_info"]["latest_block_height"]
            .as_str()
            .context("the validator reports no height")?
            .parse()?)
    }
}
