//! CometBFT transactions for several test modules.

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chainpool_api::{Bundle, Lease};
use chainpool_tests::{Bed, within};
use serde_json::{Value, json};
use std::time::Duration;

/// Deadline for a node to catch up, on a busy machine and after an outage.
const SOON: Duration = Duration::from_mins(3);

/// Leases a cluster; returns the lease with its bundle.
pub(crate) async fn applied(bed: &Bed) -> Result<(Lease, Bundle)> {
    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    let bundle = bed.api.get(&format!("/leases/{}/bundle", lease.id)).await?;
    Ok((lease, bundle))
}

/// Returns the RPC URL of a bundle's node.
pub(crate) fn rpc(bundle: &Bundle, node: usize) -> Result<String> {
    let node = bundle.nodes.get(node).context("the bundle has no such node")?;
    let endpoint = node
        .endpoints
        .iter()
        .find(|e| e.name == "rpc")
        .context("the node has no rpc endpoint")?;
    Ok(format!("http://{}", endpoint.address))
}

/// Commits `key=value` through a node of the bundle.
pub(crate) async fn commit(bundle: &Bundle, node: usize, key: &str, value: &str) -> Result<()> {
    let url = format!(
        "{}/broadcast_tx_commit?tx=%22{key}={value}%22",
        rpc(bundle, node)?
    );
    let answer: Value = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .get(url)
        .send()
        .await?
        .json()
        .await?;
    ensure!(
        answer["result"]["tx_result"]["code"] == 0,
        "the ledger rejected the transaction: {answer}"
    );
    Ok(())
}

/// Reads a key through a node of the bundle.
pub(crate) async fn read(bundle: &Bundle, node: usize, key: &str) -> Result<Option<String>> {
    let url = format!("{}/abci_query?data=%22{key}%22", rpc(bundle, node)?);
    let answer: Value = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .get(url)
        .send()
        .await?
        .json()
        .await?;
    let value = answer["result"]["response"]["value"]
        .as_str()
        .map(|v| STANDARD.decode(v))
        .transpose()?;
    Ok(value.map(String::from_utf8).transpose()?)
}

/// Waits until a node of the bundle has this value.
pub(crate) async fn read_back(bundle: &Bundle, node: usize, key: &str, value: &str) -> Result<()> {
    within(SOON, "the value on another node", async || {
        let found = read(bundle, node, key)
            .await
            .map_err(|error| format!("{error:#}"));
        Ok(if found == Ok(Some(value.to_owned())) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        })
    })
    .await
}
