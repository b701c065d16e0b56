//! What several nouns' tests need.

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chainpool_api::{Bundle, Lease};
use chainpool_tests::{Bed, within};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a node may take to follow the others, on a busy machine and after an outage.
const SOON: Duration = Duration::from_mins(3);

/// Applies and answers the lease with its bundle.
pub(crate) async fn applied(bed: &Bed) -> Result<(Lease, Bundle)> {
    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    let bundle = bed.api.get(&format!("/leases/{}/bundle", lease.id)).await?;
    Ok((lease, bundle))
}

/// The RPC address of a bundle's node.
pub(crate) fn rpc(bundle: &Bundle, node: usize) -> Result<String> {
    let node = bundle.nodes.get(node).context("the bundle has such a node")?;
    let endpoint = node
        .endpoints
        .iter()
        .find(|e| e.name == "rpc")
        .context("the node has an rpc endpoint")?;
    Ok(format!("http://{}", endpoint.address))
}

/// Commits `key=value` through one node of the bundle.
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
        "the ledger refused: {answer}"
    );
    Ok(())
}

/// Reads a key through one node of the bundle.
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

/// Waits until one node of the bundle has this value.
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
