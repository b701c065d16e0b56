//! Block production by elapsed time: blocks follow while enough members take part. No task runs for it; each
//! change of a node and each request first brings the ledger up to date.

use super::{
    node::{Copy, Genesis},
    protocol::{Answer, Request},
};
use crate::{
    process::{Process, Program},
    state::{Body, State},
};
use chainpool_agent::{ClusterKey, NodeName, NodeState, ObjectKind, network_name};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Returns true if this part of all members can commit.
pub(super) fn is_quorum(part: usize, all: usize) -> bool {
    all > 0 && 3 * part > 2 * all
}

/// The hash of a block. All nodes of a ledger have the same hash at a height, except forked ones.
fn block_hash(chain_id: &str, height: u64, fork: Option<&NodeName>) -> String {
    let fork = fork.map(NodeName::as_str).unwrap_or_default();
    hex::encode(&Sha256::digest(format!("{chain_id}/{height}/{fork}"))[..16])
}

/// A node as its ledger sees it.
struct Peer {
    name: NodeName,
    genesis: Arc<Genesis>,
    volume: String,
}

/// The number of these nodes that vote, and of all members.
fn votes(peers: &[Peer], copy: &Copy, genesis: &Genesis) -> (usize, usize) {
    let voting = peers
        .iter()
        .filter(|peer| copy.is_member(genesis, &peer.name))
        .count();
    (voting, copy.members(genesis))
}

impl State {
    /// The nodes of a ledger that take part.
    fn participants(&self, key: ClusterKey) -> Vec<Peer> {
        if !self
            .objects
            .contains_key(&(ObjectKind::Network, network_name(&key)))
        {
            return Vec::new();
        }
        let peer = |process: &Process| match &process.program {
            Program::Ledger(genesis) if process.key == key && process.runs() && !process.behavior.stalled => {
                Some(Peer {
                    name: process.spec.name.clone(),
                    genesis: Arc::clone(genesis),
                    volume: process
                        .spec
                        .volumes
                        .first()?
                        .object_name(&key, &process.spec.name),
                })
            }
            _ => None,
        };
        let nodes = self.objects.values().filter_map(|entity| {
            if let Body::Node(process) = &entity.body {
                Some(process)
            } else {
                None
            }
        });
        nodes.filter_map(|process| peer(process)).collect()
    }

    fn copy(&self, volume: &str) -> Option<&Copy> {
        match &self.objects.get(&(ObjectKind::Volume, volume.to_owned()))?.body {
            Body::Volume(volume) => volume.ledger.as_ref(),
            Body::Network(_) | Body::Node(_) => None,
        }
    }

    /// Adds the blocks since the last call, and gives every participant the longest copy. Call it before and
    /// after each change of a node.
    pub(crate) fn catch_up(&mut self, key: ClusterKey) {
        drop(self.caught_up(key));
    }

    /// Brings a ledger up to date, and returns the nodes that take part.
    fn caught_up(&mut self, key: ClusterKey) -> Vec<Peer> {
        let now = Instant::now() + self.ahead;
        let since = self.chains.insert(key, now).unwrap_or(now);
        let peers = self.participants(key);
        let Some(first) = peers.first() else {
            return peers;
        };
        let mut longest = peers
            .iter()
            .filter_map(|peer| self.copy(&peer.volume))
            .max_by_key(|copy| copy.height)
            .cloned()
            .unwrap_or_default();
        let (voting, all) = votes(&peers, &longest, &first.genesis);
        if is_quorum(voting, all) {
            let interval = u128::from(first.genesis.interval_ms.max(1));
            let blocks = u64::try_from((now - since).as_millis() / interval).unwrap_or(u64::MAX);
            longest.height = longest.height.saturating_add(blocks);
            let counted = Duration::from_millis(blocks.saturating_mul(first.genesis.interval_ms.max(1)));
            self.chains.insert(key, since + counted);
        }
        self.spread(&peers, &longest);
        peers
    }

    /// Brings all ledgers up to date.
    pub(crate) fn catch_up_all(&mut self) {
        let keys: Vec<_> = self.chains.keys().copied().collect();
        keys.into_iter().for_each(|key| self.catch_up(key));
    }

    fn spread(&mut self, peers: &[Peer], copy: &Copy) {
        for peer in peers {
            if let Some(volume) = self.volume_mut(peer.volume.clone()) {
                volume.ledger = Some(copy.clone());
            }
        }
    }

    /// Answers a request as this node; `None` when it does not run.
    pub(crate) fn ask(&mut self, name: &str, request: &Request) -> Option<Answer> {
        let process = self
            .process(name)
            .filter(|process| process.state == NodeState::Running)?;
        let Program::Ledger(genesis) = &process.program else {
            return None;
        };
        let (key, genesis, node) = (process.key, Arc::clone(genesis), process.spec.name.clone());
        let behavior = process.behavior.clone();
        let volume = process.spec.volumes.first()?.object_name(&key, &node);
        let peers = self.caught_up(key);
        let own = self.copy(&volume).cloned().unwrap_or_default();
        let (voting, all) = votes(&peers, &own, &genesis);
        let part = peers.iter().any(|peer| peer.name == node);
        Some(match request {
            Request::Status => Answer::Status {
                chain_id: genesis.chain_id.clone(),
                height: own.height,
                peers: if part { peers.len() - 1 } else { 0 },
                power: (voting, all),
            },
            Request::Block { height } if *height <= own.height => Answer::Block {
                hash: block_hash(&genesis.chain_id, *height, behavior.forked.then_some(&node)),
            },
            Request::Block { height } => Answer::Refused {
                why: format!("there is no block {height} yet"),
            },
            Request::Get { key } => match own.entries.get(key) {
                Some((value, height)) => Answer::Entry {
                    value: value.clone(),
                    height: *height,
                },
                None => Answer::Refused {
                    why: format!("there is no key {key:?}"),
                },
            },
            Request::Put { .. } | Request::Admit { .. }
                if !part || behavior.refuses_writes || !is_quorum(voting, all) =>
            {
                Answer::Refused {
                    why: "it cannot commit now".to_owned(),
                }
            }
            Request::Put { key, value } => {
                let mut longer = own;
                longer.height += 1;
                longer.entries.insert(key.clone(), (value.clone(), longer.height));
                self.spread(&peers, &longer);
                let transaction = hex::encode(Sha256::digest(format!("{key}={value}@{}", longer.height)));
                Answer::Committed {
                    height: longer.height,
                    transaction,
                }
            }
            Request::Admit { node } => {
                let mut longer = own;
                if !longer.is_member(&genesis, node) {
                    longer.admitted.insert(node.clone());
                    longer.height += 1;
                    self.spread(&peers, &longer);
                }
                Answer::Committed {
                    height: longer.height,
                    transaction: format!("admit {node}"),
                }
            }
        })
    }
}
