//! One HTTP/1.1 connection to a port of a node's RPC, and the answers that we read there.
//!
//! Formats by `CometBFT` 0.38: `rpc/core`, `rpc/jsonrpc/types`. Whole numbers of 64 bits come as texts.

use crate::Nodes;
use bytes::Bytes;
use chainpool_agent::NodeName;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::{task::AbortHandle, time::timeout};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// The largest answer that is read; users decide what stands in a ledger.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Why there is no answer of use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RpcError {
    /// No connection or no answer came in time.
    #[error("{0}")]
    Late(String),
    /// The node did not answer, or not as itself.
    #[error("{0}")]
    Silent(String),
    /// The node answered that it will not do it.
    #[error("{0}")]
    Refused(String),
}

/// A connection to one node. Ends when dropped.
pub(super) struct Rpc {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
    driver: AbortHandle,
}

impl Drop for Rpc {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Rpc {
    /// Connects to a port of a node.
    pub(super) async fn connect(nodes: &Nodes, node: &NodeName, port: &str) -> Result<Self, RpcError> {
        let connect = async {
            let stream = nodes
                .dial(node, port)
                .await
                .map_err(|e| RpcError::Silent(e.to_string()))?;
            http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|e| silent(&e))
        };
        let (sender, connection) = timeout(CONNECT, connect)
            .await
            .map_err(|_| late("no connection", CONNECT))??;
        // What ends the connection also ends the request that waits on it, and is told there.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self {
            sender,
            host: node.to_string(),
            driver,
        })
    }

    /// Asks for a path with its query, such as `/status`.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, RpcError> {
        let answer = timeout(ANSWER, self.fetch(path))
            .await
            .map_err(|_| late("no answer", ANSWER))??;
        read(&answer)
    }

    async fn fetch(&mut self, path: &str) -> Result<Bytes, RpcError> {
        let request = http::Request::get(path)
            .header(http::header::HOST, &self.host)
            .body(Empty::new());
        let request = request.map_err(|e| RpcError::Refused(format!("{path}: {e}")))?;
        self.sender.ready().await.map_err(|e| silent(&e))?;
        let response = self.sender.send_request(request).await.map_err(|e| silent(&e))?;
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        Ok(body
            .map_err(|e| RpcError::Silent(format!("the answer broke off: {e}")))?
            .to_bytes())
    }
}

fn late(what: &str, limit: Duration) -> RpcError {
    RpcError::Late(format!("{what} within {} s", limit.as_secs()))
}

/// An error of the connection with its cause: hyper's own text alone often says nothing.
fn silent(error: &hyper::Error) -> RpcError {
    let cause = std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    RpcError::Silent(format!("{error}{cause}"))
}

/// Either a result or an error; which of them is decided by what is there.
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

/// Reads an answer.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RpcError> {
    let envelope: Envelope<T> = serde_json::from_slice(body)
        .map_err(|e| RpcError::Silent(format!("not an answer of CometBFT: {e}")))?;
    match (envelope.error, envelope.result) {
        (Some(Refusal { message, data }), _) if data.is_empty() => Err(RpcError::Refused(message)),
        (Some(Refusal { message, data }), _) => Err(RpcError::Refused(format!("{message}: {data}"))),
        (None, Some(result)) => Ok(result),
        (None, None) => Err(RpcError::Silent(
            "not an answer of CometBFT: neither result nor error".to_owned(),
        )),
    }
}

/// `/status`
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) node_info: NodeInfo,
    pub(super) sync_info: SyncInfo,
}

/// Who a node says it is.
#[derive(Debug, Deserialize)]
pub(super) struct NodeInfo {
    pub(super) id: String,
    pub(super) network: String,
}

/// How far a node is.
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
    /// How many there are on all pages.
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

/// What stands above a block's transactions.
#[derive(Debug, Deserialize)]
pub(super) struct BlockMeta {
    pub(super) block_id: BlockId,
    pub(super) header: Header,
}

/// A block's name.
#[derive(Debug, Deserialize)]
pub(super) struct BlockId {
    pub(super) hash: String,
}

/// The part of a block's header that tells the application's state.
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

/// What the application made of a transaction.
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
    /// The value in base64; absent while there is none.
    pub(super) value: Option<String>,
}

/// A number that is written as a text.
fn number<'de, D: serde::Deserializer<'de>, T: std::str::FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    text.parse()
        .map_err(|e| serde::de::Error::custom(format!("{text:?} is no number: {e}")))
}

#[cfg(test)]
#[path = "rpc_tests.rs"]
mod tests;
