//! Renders a request to a spec: files, ports and limits of every validator. Pure.
//!
//! Formats of `CometBFT` 0.38: `config/toml.go`, `types/genesis.go`, `privval/file.go`.

use super::{
    config::{HEALTH_PORT, P2P_PORT, RPC_PORT, config, peers},
    keys::{Identity, Keys},
    network_model::NetworkModel,
    parameters::Parameters,
};
use crate::{PortNeed, RenderRequest, Requirements, Seed};
use chainpool_agent::{
    Audience, Boot, ClusterSpec, File, Limits, NodeName, NodeSpec, Port, Protocol, Secret, SpecHash,
    Variable, Volume,
};
use chainpool_api::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Port for users, probes and proofs.
pub(super) const RPC: &str = "rpc";

/// Port for probes if users have exhausted the connections of the other. It serves the same and is in no
/// bundle. Nodes of older specs lack it.
pub(super) const HEALTH: &str = "health";

/// Role in image overrides.
pub(super) const ROLE: &str = "cometbft";

/// Path of the program in the official image and in ours.
const PROGRAM: &str = "/usr/bin/cometbft";

/// Owner of the node's files and user of its process. Neither image needs a user of its own for it.
const USER: (u32, u32) = (1000, 1000);

/// Mount point of the node's volume. A new volume's top folder belongs to root, so everything is one folder
/// below, in folders that the upload creates for the user.
const MOUNT: &str = "/cometbft";
const HOME: &str = "/cometbft/home";

/// Voting power of each validator at genesis.
pub(super) const POWER: u64 = 1;

/// An idle validator uses about 45 MiB; the rest is for its mempool and for responses.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// Settings of the Go runtime. One processor each: the program wakes up 10,000 times a second even when idle
/// (`updateRoundStateRoutine`), and with two processors four idle validators used 135 ms of CPU time a second
/// instead of 70. The memory limit triggers garbage collection before the platform kills the process.
const ENVIRONMENT: [(&str, &str); 2] = [("GOMAXPROCS", "1"), ("GOMEMLIMIT", "200MiB")];

/// Suitable images: the official one, then the one built by `baseimage/`.
pub(super) fn images() -> Vec<String> {
    vec![
        "cometbft/cometbft:v0.38.21".to_owned(),
        "chainpool/cometbft:0.38.21".to_owned(),
    ]
}

/// Host resources that a network with these parameters needs.
pub(super) fn requirements(parameters: &Parameters) -> Requirements {
    let nodes = names(parameters);
    Requirements {
        size: u32::from(parameters.validators),
        memory_bytes: MEMORY_BYTES * u64::from(parameters.validators),
        ports: nodes
            .iter()
            .flat_map(|node| [need(node, RPC), need(node, HEALTH)])
            .collect(),
        colocated: BTreeMap::new(),
    }
}

/// Renders the spec of one generation.
pub(super) fn render(parameters: &Parameters, request: &RenderRequest, seed: &Seed) -> ClusterSpec {
    let names = names(parameters);
    let keys: Vec<(NodeName, Keys)> = names
        .iter()
        .map(|name| (name.clone(), Keys::derive(seed, name)))
        .collect();
    let validators: BTreeMap<NodeName, Identity> = keys
        .iter()
        .map(|(name, keys)| (name.clone(), keys.identity()))
        .collect();
    let genesis = genesis(&request.chain_id, request.genesis_at, &names, &validators);
    let nodes = keys
        .iter()
        .map(|(name, keys)| {
            let config = config(
                parameters,
                request.log_level,
                name,
                &peers(name, &names, &validators),
            );
            node(request, name, files(&config, &genesis, keys))
        })
        .collect();
    let model = NetworkModel {
        chain_id: request.chain_id.clone(),
        parameters: parameters.clone(),
        genesis,
        validators,
    };
    let boot = vec![Boot::Start(names)];
    ClusterSpec {
        nodes,
        jobs: vec![],
        boot,
        network: request.network.clone(),
        facts: model.write(),
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

fn node(request: &RenderRequest, name: &NodeName, files: Vec<File>) -> NodeSpec {
    NodeSpec {
        name: name.clone(),
        images: request.images.get(ROLE).cloned().unwrap_or_else(images),
        command: [PROGRAM, "node", "--home", HOME].map(str::to_owned).to_vec(),
        user: Some(format!("{}:{}", USER.0, USER.1)),
        env: ENVIRONMENT
            .map(|(name, value)| (name.to_owned(), Variable::Plain(value.to_owned())))
            .into(),
        files,
        volumes: vec![Volume {
            name: "home".to_owned(),
            path: MOUNT.to_owned(),
            shared: false,
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
            published: request.ports.get(&need(name, port)).copied(),
        })
        .to_vec(),
        limits: Limits {
            memory_bytes: MEMORY_BYTES,
            processes: 512,
            cpu_millis: None,
        },
        readiness: None,
        result: false,
        read_only_root: true,
        log: request.log.clone(),
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: 10,
        machine: None,
        hash: SpecHash(String::new()),
    }
}

/// Files of a home folder. The validator's state belongs to the node from its first start on: it prevents a
/// validator from signing two blocks of one height.
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

/// The genesis file, equal for all validators. Its time is a minute in the past, because a validator whose
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
