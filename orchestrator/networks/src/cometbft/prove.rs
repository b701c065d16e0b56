//! Commits a transaction through one node and reads it back from another.
//!
//! It runs right at boot, before the first block, where `broadcast_tx_commit` would time out after 10 s and
//! hold a subscription. So it submits the transaction as soon as a node accepts it, and polls another node.

use super::{
    network_model::NetworkModel,
    render::RPC,
    rpc::{Broadcast, Committed, Query, Rpc},
};
use crate::{Nodes, ProveError, client::call::CallError, retry::rest};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::NodeName;
use chainpool_api::{Proof, Timestamp};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A transaction of the proof.
struct Probe {
    key: String,
    value: String,
    hash: String,
}

impl Probe {
    /// A unique transaction. The application accepts `key=value` with exactly one `=`.
    fn new() -> Self {
        let key = format!("chainpool-{:016x}", rand::random::<u64>());
        let value = format!("{:016x}", rand::random::<u64>());
        let hash = hex::encode_upper(Sha256::digest(format!("{key}={value}")));
        Self { key, value, hash }
    }
}

/// Proves that the ledger commits.
pub(super) async fn prove(nodes: &Nodes) -> Result<Proof, ProveError> {
    let model = NetworkModel::read(&nodes.spec).map_err(|e| {
        ProveError(format!(
            "the stored spec is not a CometBFT spec: {e}; reset or delete the cluster"
        ))
    })?;
    let interval = model.parameters.block_interval();
    let policy = &nodes.policy.cometbft;
    let deadline = Instant::now() + policy.proof_timeout + 2 * interval;
    let probe = Probe::new();
    let mut last = "the network has no node".to_owned();
    while Instant::now() < deadline {
        for writer in writers(&model) {
            let accepted = timeout_at(deadline, write(nodes, writer, &probe)).await;
            if let Err(e) = accepted
                .unwrap_or_else(|_| Err(CallError::TimedOut("no response before the deadline".to_owned())))
            {
                last = format!("{writer} did not accept the transaction: {e}");
                continue;
            }
            let read_deadline = deadline.min(Instant::now() + policy.proof_read_back + interval);
            let mut why = String::new();
            match timeout_at(
                read_deadline,
                read(nodes, readers(&model, writer), &probe, &mut why),
            )
            .await
            {
                Ok((reader, height)) => return Ok(proof(probe, height, writer, reader)),
                Err(_) => {
                    last = format!("{writer} accepted the transaction, but no other node has it: {why}");
                }
            }
        }
        rest(Duration::ZERO).await;
    }
    Err(ProveError(last))
}

/// All validators, starting with the proposer of the first block, so that the block includes the transaction.
/// With equal powers it is the one with the lowest address (`types/validator.go`, `CompareProposerPriority`).
fn writers(model: &NetworkModel) -> Vec<&NodeName> {
    let mut by_address: Vec<_> = model
        .validators
        .iter()
        .map(|(name, identity)| (&identity.address, name))
        .collect();
    by_address.sort_unstable();
    by_address.into_iter().map(|(_, name)| name).collect()
}

/// All validators but the writer, or the writer if it is the only one.
fn readers<'a>(model: &'a NetworkModel, writer: &'a NodeName) -> Vec<&'a NodeName> {
    let others: Vec<_> = model.validators.keys().filter(|name| *name != writer).collect();
    if others.is_empty() { vec![writer] } else { others }
}

/// Submits the transaction to a node. Idempotent.
async fn write(nodes: &Nodes, writer: &NodeName, probe: &Probe) -> Result<(), CallError> {
    let Probe { key, value, hash: _ } = probe;
    let mut rpc = Rpc::connect(nodes, writer, RPC).await?;
    match rpc
        .get::<Broadcast>(&format!("/broadcast_tx_sync?tx=%22{key}%3D{value}%22"))
        .await
    {
        Ok(Broadcast { code: 0, log: _ }) => Ok(()),
        Ok(Broadcast { code, log }) => Err(CallError::Refused(format!("code {code} {log}"))),
        Err(CallError::Refused(why)) if why.contains("tx already exists in cache") => Ok(()),
        Err(e) => Err(e),
    }
}

/// Polls the readers until one of them has the transaction in a block and its value in the application. It
/// never gives up: the caller sets a time limit, and `why` holds the last error.
async fn read<'a>(
    nodes: &Nodes,
    readers: Vec<&'a NodeName>,
    probe: &Probe,
    why: &mut String,
) -> (&'a NodeName, u64) {
    let mut open: Vec<(&NodeName, Option<Rpc>)> = readers.into_iter().map(|name| (name, None)).collect();
    loop {
        for (name, rpc) in &mut open {
            let asked = Instant::now();
            match read_once(nodes, name, rpc, probe).await {
                Ok(height) => return (name, height),
                Err(e) => *why = format!("{name}: {e}"),
            }
            rest(asked.elapsed()).await;
        }
    }
}

/// Queries one reader. A working connection stays open.
async fn read_once(
    nodes: &Nodes,
    reader: &NodeName,
    open: &mut Option<Rpc>,
    probe: &Probe,
) -> Result<u64, CallError> {
    let mut rpc = match open.take() {
        Some(rpc) => rpc,
        None => Rpc::connect(nodes, reader, RPC).await?,
    };
    let found = query(&mut rpc, probe).await;
    if !found.as_ref().is_err_and(CallError::is_transient) {
        *open = Some(rpc);
    }
    found
}

/// Height of the transaction's block, if the application has its value too.
async fn query(rpc: &mut Rpc, probe: &Probe) -> Result<u64, CallError> {
    let Committed { height, tx_result } = rpc.get(&format!("/tx?hash=0x{}", probe.hash)).await?;
    if tx_result.code != 0 {
        return Err(CallError::Refused(format!(
            "the application rejected it with code {} {}",
            tx_result.code, tx_result.log
        )));
    }
    let Query { response } = rpc.get(&format!("/abci_query?data=%22{}%22", probe.key)).await?;
    match response.value {
        Some(value) if value == BASE64.encode(&probe.value) => Ok(height),
        other => Err(CallError::Refused(format!(
            "the block has the transaction, the application has {other:?}"
        ))),
    }
}

fn proof(probe: Probe, height: u64, writer: &NodeName, reader: &NodeName) -> Proof {
    let Probe { key, value, hash } = probe;
    Proof {
        transaction: hash,
        height,
        key,
        value,
        written_to: writer.to_string(),
        read_from: reader.to_string(),
        at: Timestamp::now(),
    }
}
