//! Commits a transaction through one node and reads it back through another.
//!
//! It is called right at boot, before the first block. `broadcast_tx_commit` would wait there for 10 s on a lost cause and hold
//! a subscription; so the transaction is handed over as soon as a node takes it, and another node is asked until it has it.

use super::{
    facts::Facts,
    render::RPC,
    rpc::{Broadcast, Committed, Query, Rpc, RpcError},
};
use crate::{Nodes, ProveError};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::NodeName;
use chainpool_api::{Proof, Timestamp};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a node is given to pass a transaction on into a block, beside the block interval.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the whole may take, beside two block intervals; then the caller decides.
const DEADLINE: Duration = Duration::from_secs(12);
/// The time between two questions.
const PERIOD: Duration = Duration::from_millis(25);
/// The same where answers take long.
const LONGEST_PERIOD: Duration = Duration::from_millis(300);

/// A transaction of ours.
struct Probe {
    key: String,
    value: String,
    hash: String,
}

impl Probe {
    /// A transaction that never was. The application takes `key=value` with exactly one `=`.
    fn new() -> Self {
        let key = format!("chainpool-{:016x}", rand::random::<u64>());
        let value = format!("{:016x}", rand::random::<u64>());
        let hash = hex::encode_upper(Sha256::digest(format!("{key}={value}")));
        Self { key, value, hash }
    }
}

/// Proves that the ledger commits.
pub(super) async fn prove(nodes: &Nodes) -> Result<Proof, ProveError> {
    let facts = Facts::read(&nodes.spec)
        .map_err(|e| ProveError(format!("the stored spec has no facts of a cometbft network: {e}")))?;
    let interval = facts.parameters.block_interval();
    let deadline = Instant::now() + DEADLINE + 2 * interval;
    let probe = Probe::new();
    let mut last = "no node was asked".to_owned();
    while Instant::now() < deadline {
        for writer in writers(&facts) {
            let taken = timeout_at(deadline, write(nodes, writer, &probe)).await;
            if let Err(e) = taken.unwrap_or_else(|_| Err(RpcError::Late("no time was left".to_owned()))) {
                last = format!("{writer} did not take the transaction: {e}");
                continue;
            }
            let patience = deadline.min(Instant::now() + PATIENCE + interval);
            let mut why = String::new();
            match timeout_at(patience, read(nodes, readers(&facts, writer), &probe, &mut why)).await {
                Ok((reader, height)) => return Ok(proof(probe, height, writer, reader)),
                Err(_) => {
                    last = format!("{writer} took the transaction, but it was not found elsewhere: {why}")
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
    Err(ProveError(last))
}

/// All validators, the proposer of the first block in front: what it holds already comes into that block. Among equal powers
/// it is the one with the least address (`types/validator.go`, `CompareProposerPriority`).
fn writers(facts: &Facts) -> Vec<&NodeName> {
    let mut by_address: Vec<_> = facts
        .validators
        .iter()
        .map(|(name, identity)| (&identity.address, name))
        .collect();
    by_address.sort_unstable();
    by_address.into_iter().map(|(_, name)| name).collect()
}

/// All but the writer; the writer itself where there is no other.
fn readers<'a>(facts: &'a Facts, writer: &'a NodeName) -> Vec<&'a NodeName> {
    let others: Vec<_> = facts.validators.keys().filter(|name| *name != writer).collect();
    if others.is_empty() { vec![writer] } else { others }
}

/// Hands the transaction to a node. One that has it already has taken it.
async fn write(nodes: &Nodes, writer: &NodeName, probe: &Probe) -> Result<(), RpcError> {
    let Probe { key, value, hash: _ } = probe;
    let mut rpc = Rpc::connect(nodes, writer, RPC).await?;
    match rpc
        .get::<Broadcast>(&format!("/broadcast_tx_sync?tx=%22{key}%3D{value}%22"))
        .await
    {
        Ok(Broadcast { code: 0, log: _ }) => Ok(()),
        Ok(Broadcast { code, log }) => Err(RpcError::Refused(format!("code {code} {log}"))),
        Err(RpcError::Refused(why)) if why.contains("tx already exists in cache") => Ok(()),
        Err(e) => Err(e),
    }
}

/// Asks the readers in turn until one of them has the transaction in a block and its value in the application. Runs without
/// end: the caller sets the limit, and finds in `why` what came last.
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
            // On a busy machine answers take long: questions must not take the time that the ledger needs.
            tokio::time::sleep(PERIOD.max(asked.elapsed() * 3).min(LONGEST_PERIOD)).await;
        }
    }
}

/// Asks one reader. A connection that works stays open for the next time.
async fn read_once(
    nodes: &Nodes,
    reader: &NodeName,
    open: &mut Option<Rpc>,
    probe: &Probe,
) -> Result<u64, RpcError> {
    let mut rpc = match open.take() {
        Some(rpc) => rpc,
        None => Rpc::connect(nodes, reader, RPC).await?,
    };
    let found = look(&mut rpc, probe).await;
    if !matches!(found, Err(RpcError::Silent(_) | RpcError::Late(_))) {
        *open = Some(rpc);
    }
    found
}

/// The height of the transaction's block, where the application has its value too.
async fn look(rpc: &mut Rpc, probe: &Probe) -> Result<u64, RpcError> {
    let Committed { height, tx_result } = rpc.get(&format!("/tx?hash=0x{}", probe.hash)).await?;
    if tx_result.code != 0 {
        return Err(RpcError::Refused(format!(
            "the application refused it with code {} {}",
            tx_result.code, tx_result.log
        )));
    }
    let Query { response } = rpc.get(&format!("/abci_query?data=%22{}%22", probe.key)).await?;
    match response.value {
        Some(value) if value == BASE64.encode(&probe.value) => Ok(height),
        other => Err(RpcError::Refused(format!(
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
