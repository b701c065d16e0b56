//! From an order to the whole spec: files, ports and limits of every validator. Pure.
//!
//! Formats by `CometBFT` 0.38: `config/toml.go`, `types/genesis.go`, `privval/file.go`.

use super::{
    config::{HEALTH_PORT, P2P_PORT, RPC_PORT, config, peers},
    facts::Facts,
    keys::{Identity, Keys},
    parameters::Parameters,
};
use crate::{Layout, Order, PortNeed, Seed};
use chainpool_agent::{
    Audience, Boot, ClusterSpec, File, Limits, NodeName, NodeSpec, Port, Protocol, Secret, SpecHash,
    Variable, Volume,
};
use chainpool_api::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The port that users, probes and proofs speak to.
pub(super) const RPC: &str = "rpc";

/// The port that probes speak to when users leave them no connection at the other: it offers the same, and is in no bundle. Nodes that were
/// made before there was such a port have none.
pub(super) const HEALTH: &str = "health";

/// The role whose images an order may replace.
pub(super) const ROLE: &str = "cometbft";

/// Where the program lies in the official image and in ours.
const PROGRAM: &str = "/usr/bin/cometbft";

/// Owns the node's files and runs its process. Neither image needs a user of its own for it.
const USER: (u32, u32) = (1000, 1000);

/// The mount point of the node's volume. A new volume's top folder belongs to root, so everything lies one folder below,
/// in folders that the upload makes for the user.
const MOUNT: &str = "/cometbft";
const HOME: &str = "/cometbft/home";

/// The voting power of each validator in the genesis.
pub(super) const POWER: u64 = 1;

/// An idle validator takes about 45 MiB; the rest is for its mempool and for answers.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// Settings of the Go runtime. One processor each: the program wakes 10,000 times a second even when idle
/// (`updateRoundStateRoutine`), and with two, four idle validators took 135 ms of processor time a second instead of 70.
/// The memory limit makes it collect before the platform kills it.
const ENVIRONMENT: [(&str, &str); 2] = [("GOMAXPROCS", "1"), ("GOMEMLIMIT", "200MiB")];

/// The images that will do: the official one, then the one that `baseimage/` makes.
pub(super) fn images() -> Vec<String> {
    vec![
        "cometbft/cometbft:v0.38.21".to_owned(),
        "chainpool/cometbft:0.38.21".to_owned(),
    ]
}

/// What a network of these parameters needs of a host.
pub(super) fn layout(parameters: &Parameters) -> Layout {
    let nodes = names(parameters);
    Layout {
        size: u32::from(parameters.validators),
        memory_bytes: MEMORY_BYTES * u64::from(parameters.validators),
        ports: nodes
            .iter()
            .flat_map(|node| [need(node, RPC), need(node, HEALTH)])
            .collect(),
        together: BTreeMap::new(),
    }
}

/// Makes the spec of one generation.
pub(super) fn render(parameters: &Parameters, order: &Order, seed: &Seed) -> ClusterSpec {
    let names = names(parameters);
    let keys: Vec<(NodeName, Keys)> = names
        .iter()
        .map(|name| (name.clone(), Keys::derive(seed, name)))
        .collect();
    let validators: BTreeMap<NodeName, Identity> = keys
        .iter()
        .map(|(name, keys)| (name.clone(), keys.identity()))
        .collect();
    let genesis = genesis(&order.chain_id, order.genesis_at, &names, &validators);
    let nodes = keys
        .iter()
        .map(|(name, keys)| {
            let config = config(
                parameters,
                order.log_level,
                name,
                &peers(name, &names, &validators),
            );
            node(order, name, files(&config, &genesis, keys))
        })
        .collect();
    let facts = Facts {
        chain_id: order.chain_id.clone(),
        parameters: parameters.clone(),
        genesis,
        validators,
    };
    let boot = vec![Boot::Start(names)];
    ClusterSpec {
        nodes,
        jobs: vec![],
        boot,
        network: order.network.clone(),
        facts: facts.write(),
        keys: BTreeMap::new(),
    }
    .with_hashes()
}

/// `v0`, `v1` …
fn names(parameters: &Parameters) -> Vec<NodeName> {
    (0..parameters.validators)
        .map(|n| NodeName::parse(&format!("v{n}")).expect("a letter and at most five digits"))
        .collect()
}

fn need(node: &NodeName, port: &str) -> PortNeed {
    PortNeed {
        node: node.clone(),
        port: port.to_owned(),
    }
}

fn node(order: &Order, name: &NodeName, files: Vec<File>) -> NodeSpec {
    NodeSpec {
        name: name.clone(),
        images: order.images.get(ROLE).cloned().unwrap_or_else(images),
        command: [PROGRAM, "node", "--home", HOME].map(str::to_owned).to_vec(),
        user: Some(format!("{}:{}", USER.0, USER.1)),
        env: ENVIRONMENT
            .map(|(name, value)| (name.to_owned(), Variable::Plain(value.to_owned())))
            .into(),
        files,
        volumes: vec![Volume {
            name: "home".to_owned(),
            path: MOUNT.to_owned(),
        }],
        ports: [
            (RPC, RPC_PORT, Audience::User),
            (HEALTH, HEALTH_PORT, Audience::Control),
            ("p2p", P2P_PORT, Audience::Peers),
        ]
        .map(|(port, inside, audience)| Port {
            name: port.to_owned(),
            inside,
            protocol: Protocol::Tcp,
            audience,
            published: order.ports.get(&need(name, port)).copied(),
        })
        .to_vec(),
        limits: Limits {
            memory_bytes: MEMORY_BYTES,
            processes: 512,
        },
        read_only_root: true,
        log: order.log.clone(),
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: 10,
        machine: None,
        hash: SpecHash(String::new()),
    }
}

/// The files of a home folder. The validator's state is the node's own from its first start on: with it, a validator never
/// signs two blocks of one height.
fn files(config: &str, genesis: &str, keys: &Keys) -> Vec<File> {
    let file = |path: &str, content: Secret<Vec<u8>>, mode: u32| File {
        path: format!("{HOME}/{path}"),
        content,
        mode,
        owner: USER,
        secret: false,
        once: false,
    };
    let plain = |text: &str| Secret::new(text.as_bytes().to_vec());
    let state = r#"{"height":"0","round":0,"step":0}"#;
    vec![
        file("config/config.toml", plain(config), 0o444),
        file("config/genesis.json", plain(genesis), 0o444),
        File {
            secret: true,
            ..file("config/node_key.json", keys.node_key_file(), 0o400)
        },
        File {
            secret: true,
            ..file("config/priv_validator_key.json", keys.validator_key_file(), 0o400)
        },
        File {
            once: true,
            ..file("data/priv_validator_state.json", plain(state), 0o600)
        },
    ]
}

/// The first block, as every validator must know it. It begins a minute before it was ordered, because a validator whose
/// clock is behind waits for it.
fn genesis(
    chain_id: &str,
    at: Timestamp,
    names: &[NodeName],
    validators: &BTreeMap<NodeName, Identity>,
) -> String {
    let validators: Vec<Value> = names
        .iter()
        .map(|name| {
            let Identity {
                node_id: _,
                address,
                public_key,
            } = &validators[name];
            let public_key = json!({"type": "tendermint/PubKeyEd25519", "value": public_key});
            json!({"address": address, "pub_key": public_key, "power": POWER.to_string(), "name": name})
        })
        .collect();
    let genesis = json!({
        "genesis_time": at.plus_seconds(-60),
        "chain_id": chain_id,
        "initial_height": "1",
        "consensus_params": {
            "block": {"max_bytes": "22020096", "max_gas": "-1"},
            "evidence": {"max_age_num_blocks": "100000", "max_age_duration": "172800000000000", "max_bytes": "1048576"},
            "validator": {"pub_key_types": ["ed25519"]},
            "version": {"app": "0"},
            "abci": {"vote_extensions_enable_height": "0"},
        },
        "validators": validators,
        "app_hash": "",
    });
    format!("{genesis:#}\n")
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
