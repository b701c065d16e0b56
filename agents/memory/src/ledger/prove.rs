//! Commits a transaction through one node and reads it back through another.

use super::{
    probe::ask,
    protocol::{Answer, Request},
};
use chainpool_agent::NodeName;
use chainpool_api::{Proof, Timestamp};
use chainpool_networks::{Nodes, ProveError};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes the transactions of one process distinct.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Proves that the ledger commits. The caller retries.
pub(super) async fn prove(nodes: &Nodes) -> Result<Proof, ProveError> {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let (key, value) = (
        format!("chainpool-{number}"),
        format!("{}-{number}", nodes.key.cluster),
    );
    let names: Vec<&NodeName> = nodes.spec.nodes.iter().map(|node| &node.name).collect();
    let mut last = "it has no nodes".to_owned();
    for writer in &names {
        match ask(
            nodes,
            writer,
            &Request::Put {
                key: key.clone(),
                value: value.clone(),
            },
        )
        .await
        {
            Ok(Answer::Committed { height, transaction }) => {
                let others = names.iter().filter(|name| *name != writer);
                for reader in others.chain(std::iter::once(writer).filter(|_| names.len() == 1)) {
                    match ask(nodes, reader, &Request::Get { key: key.clone() }).await {
                        Ok(Answer::Entry { value: found, .. }) if found == value => {
                            let (written_to, read_from) = (writer.to_string(), reader.to_string());
                            return Ok(Proof {
                                transaction,
                                height,
                                key,
                                value,
                                written_to,
                                read_from,
                                at: Timestamp::now(),
                            });
                        }
                        other => last = format!("{writer} has committed it, but {reader} answers {other:?}"),
                    }
                }
            }
            Ok(other) => last = format!("{writer} answers {other:?}"),
            Err(why) => last = format!("{writer} rejected the transaction: {why}"),
        }
    }
    Err(ProveError(last))
}
