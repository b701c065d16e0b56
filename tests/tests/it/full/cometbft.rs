//! CometBFT networks for browsers, and for commands that wait for slow blocks.

use crate::support::{applied, rpc};
use anyhow::{Result, ensure};
use chainpool_api::Operation;
use chainpool_tests::{Bed, Options};
use reqwest::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue, ORIGIN};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_given_origins_may_use_the_rpc_port_and_a_commit_waits_for_slow_blocks() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    // Longer than the program's own timeout of a commit, 10 s.
    let parameters = json!({"cors_origins": ["https://app.example.org"], "block_interval_ms": 11_000});
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "slow", "network_type": "cometbft", "preset": "single", "parameters": parameters}),
        )
        .await?;
    bed.wait_succeeded(&create).await?;
    let (_, bundle) = applied(&bed).await?;
    let address = rpc(&bundle, 0)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    for (origin, allowed) in [
        (
            "https://app.example.org",
            Some(HeaderValue::from_static("https://app.example.org")),
        ),
        ("https://other.example.org", None),
    ] {
        let answer = client
            .get(format!("{address}/status"))
            .header(ORIGIN, origin)
            .send()
            .await?;
        let header = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
        ensure!(header == allowed.as_ref(), "{origin}: {header:?}");
    }
    // The second transaction comes right after a block, so it waits for almost a whole interval.
    for key in ["first", "second"] {
        let committed: Value = client
            .get(format!("{address}/broadcast_tx_commit?tx=%22{key}%3D1%22"))
            .send()
            .await?
            .json()
            .await?;
        ensure!(
            committed["result"]["tx_result"]["code"] == 0,
            "{key}: {committed}"
        );
    }
    bed.end().await
}
