//! RPC of a node over one HTTP/1.1 connection.
//!
//! Formats of `CometBFT` 0.38: `rpc/core`, `rpc/jsonrpc/types`. 64-bit integers are strings.

use crate::{
    Nodes,
    client::{
        call::{CallError, connected},
        http::Http,
    },
};
use chainpool_agent::NodeName;
use serde::{Deserialize, de::DeserializeOwned};

/// A connection to one node. Dropping it closes the connection.
pub(super) struct Rpc(Http);

impl Rpc {
    /// Connects to a port of a node.
    pub(super) async fn connect(nodes: &Nodes, node: &NodeName, port: &str) -> Result<Self, CallError> {
        let connect = async {
            let stream = nodes.dial(node, port).await;
            Http::start(stream.map_err(|e| CallError::Unavailable(e.to_string()))?, node).await
        };
        connected(connect).await.map(Self)
    }

    /// Sends a GET request for a path with its query, such as `/status`. An error has a body too.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, CallError> {
        let (_, body) = self.0.get(path).await?;
        read(&body)
    }
}

/// A result or an error.
#[derive(Deserialize)]
struct Envelope<T> {
    result: Option<T>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
    #[serde(default)]
    data: String,
}

/// Parses a response.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    let envelope: Envelope<T> = serde_json::from_slice(body)
        .map_err(|e| CallError::Unavailable(format!("not a CometBFT response: {e}")))?;
    match (envelope.error, envelope.result) {
        (Some(Refusal { message, data }), _) if data.is_empty() => Err(CallError::Refused(message)),
        (Some(Refusal { message, data }), _) => Err(CallError::Refused(format!("{message}: {data}"))),
        (None, Some(result)) => Ok(result),
        (None, None) => Err(CallError::Unavailable(
            "not a CometBFT response: neither result nor error".to_owned(),
        )),
    }
}

/// `/status`
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) node_info: NodeInfo,
    pub(super) sync_info: SyncInfo,
}

/// Identity of a node.
#[derive(Debug, Deserialize)]
pub(super) struct NodeInfo {
    pub(super) id: String,
    pub(super) network: String,
}

/// Sync status of a node.
#[derive(Debug, Deserialize)]
pub(super) struct SyncInfo {
    #[serde(deserialize_with = "number")]
    pub(super) latest_block_height: u64,
    pub(super) latest_block_time: chainpool_api::Timestamp,
    pub(super) catching_up: bool,
}

/// `/net_info`
#[derive(Debug, Deserialize)]
pub(super) struct NetInfo {
    #[serde(deserialize_with = "number")]
    pub(super) n_peers: u32,
    pub(super) peers: Vec<Peer>,
}

/// A connected peer.
#[derive(Debug, Deserialize)]
pub(super) struct Peer {
    pub(super) node_info: NodeInfo,
}

/// `/validators?page=…`
#[derive(Debug, Deserialize)]
pub(super) struct Validators {
    pub(super) validators: Vec<Validator>,
    /// Number on all pages.
    #[serde(deserialize_with = "number")]
    pub(super) total: usize,
}

/// A validator and its voting power.
#[derive(Debug, Deserialize)]
pub(super) struct Validator {
    pub(super) address: String,
    #[serde(deserialize_with = "number")]
    pub(super) voting_power: u64,
}

/// `/blockchain?minHeight=h&maxHeight=h`: a block's hashes without its transactions.
#[derive(Debug, Deserialize)]
pub(super) struct Blockchain {
    pub(super) block_metas: Vec<BlockMeta>,
}

/// Metadata of a block.
#[derive(Debug, Deserialize)]
pub(super) struct BlockMeta {
    pub(super) block_id: BlockId,
    pub(super) header: Header,
}

/// Id of a block.
#[derive(Debug, Deserialize)]
pub(super) struct BlockId {
    pub(super) hash: String,
}

/// The application hash of a block's header.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) app_hash: String,
}

/// `/broadcast_tx_sync`
#[derive(Debug, Deserialize)]
pub(super) struct Broadcast {
    pub(super) code: u32,
    pub(super) log: String,
}

/// `/tx?hash=…`
#[derive(Debug, Deserialize)]
pub(super) struct Committed {
    #[serde(deserialize_with = "number")]
    pub(super) height: u64,
    pub(super) tx_result: TxResult,
}

/// The application's result of a transaction.
#[derive(Debug, Deserialize)]
pub(super) struct TxResult {
    pub(super) code: u32,
    pub(super) log: String,
}

/// `/abci_query?data=…`
#[derive(Debug, Deserialize)]
pub(super) struct Query {
    pub(super) response: QueryResponse,
}

/// The application's answer to a query.
#[derive(Debug, Deserialize)]
pub(super) struct QueryResponse {
    /// The value in base64; absent if there is none.
    pub(super) value: Option<String>,
}

/// Deserializes a number from a string.
fn number<'de, D: serde::Deserializer<'de>, T: std::str::FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    text.parse()
        .map_err(|e| serde::de::Error::custom(format!("{text:?} is not a number: {e}")))
}

#[cfg(test)]
#[path = "rpc_tests.rs"]
mod tests;
