//! Rendered specs, byte by byte, and their invariants.

use super::*;
use crate::{NetworkType, PublicEndpoints, cometbft::CometBft};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::{LogConfig, NetworkSpec};
use chainpool_api::LogLevel;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fmt::Write};

fn request(parameters: &Parameters) -> RenderRequest {
    RenderRequest {
        parameters: json!(parameters),
        chain_id: "cp-0123456789ab-1".to_owned(),
        genesis_at: Timestamp(1_795_000_000_123),
        network: NetworkSpec {
            subnet: Some("10.213.0.64/26".parse().expect("a subnet")),
        },
        ports: requirements(parameters).ports.into_iter().zip(20000..).collect(),
        public_endpoints: PublicEndpoints {
            address: "192.0.2.7".to_owned(),
            loopback: false,
            machines: BTreeMap::new(),
        },
        images: BTreeMap::new(),
        log: LogConfig::default(),
        log_level: LogLevel::Info,
    }
}

fn rendered(validators: u16, seed: u8) -> ClusterSpec {
    let parameters = Parameters {
        validators,
        ..Parameters::default()
    };
    render(&parameters, &request(&parameters), &Seed::new([seed; 32]))
}

fn text(spec: &ClusterSpec, node: &str, path: &str) -> String {
    let node = spec
        .nodes
        .iter()
        .find(|n| n.name.as_str() == node)
        .expect("the node");
    let file = node
        .files
        .iter()
        .find(|f| f.path.ends_with(path))
        .expect("the file");
    String::from_utf8(file.content.expose().clone()).expect("text")
}

#[test]
fn rendered_bytes_do_not_change() {
    let spec = rendered(3, 7).seal().public;
    let mut seen = String::new();
    for node in &spec.nodes {
        for file in &node.files {
            let content = if file.secret {
                "(secret)\n".to_owned()
            } else {
                text(&spec, node.name.as_str(), &file.path)
            };
            let (uid, gid) = file.owner;
            writeln!(
                seen,
                "==== {} {} {:o} {uid}:{gid} once={}\n{content}",
                node.name, file.path, file.mode, file.once
            )
            .expect("written");
        }
    }
    insta::assert_snapshot!("files", seen);
    let mut spec = spec;
    for node in &mut spec.nodes {
        node.files.clear();
    }
    insta::assert_json_snapshot!("spec", spec);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_shares_no_secret() {
    assert_eq!(rendered(4, 1), rendered(4, 1));
    let secrets = |seed| {
        let sealed = rendered(16, seed).seal();
        sealed
            .secrets
            .into_iter()
            .map(|s| s.expose().clone())
            .collect::<BTreeSet<_>>()
    };
    let (one, two) = (secrets(1), secrets(2));
    assert_eq!((one.len(), two.len()), (32, 32));
    assert!(one.is_disjoint(&two));
}

#[test]
fn the_public_part_contains_no_secret() {
    let sealed = rendered(2, 9).seal();
    let open = serde_json::to_string(&sealed.public).expect("json") + &render_texts(&sealed.public);
    for secret in &sealed.secrets {
        let file: Value = serde_json::from_slice(secret.expose()).expect("json");
        let private = file["priv_key"]["value"].as_str().expect("a key");
        assert!(!open.contains(private), "a private key is public");
    }
}

fn render_texts(spec: &ClusterSpec) -> String {
    spec.nodes
        .iter()
        .flat_map(|n| &n.files)
        .map(|f| String::from_utf8_lossy(f.content.expose()).into_owned())
        .collect()
}

#[test]
fn every_file_is_below_the_volume_and_belongs_to_the_user() {
    for node in &rendered(4, 1).nodes {
        let [volume] = &node.volumes[..] else {
            panic!("one volume")
        };
        for file in &node.files {
            assert!(
                file.path.starts_with(&format!("{}/home/", volume.path)),
                "{}",
                file.path
            );
            assert_eq!(Some(format!("{}:{}", file.owner.0, file.owner.1)), node.user);
        }
        let of = |name: &str| {
            node.files
                .iter()
                .find(|f| f.path.ends_with(name))
                .map(|f| (f.secret, f.once, f.mode))
        };
        assert_eq!(of("/node_key.json"), Some((true, false, 0o400)));
        assert_eq!(of("/priv_validator_key.json"), Some((true, false, 0o400)));
        assert_eq!(of("/priv_validator_state.json"), Some((false, true, 0o600)));
    }
}

#[test]
fn node_ids_are_those_of_the_keys() {
    let spec = rendered(4, 5);
    let model = NetworkModel::read(&spec).expect("model");
    for (name, identity) in &model.validators {
        let key: Value = serde_json::from_str(&text(&spec, name.as_str(), "node_key.json")).expect("json");
        let pair = BASE64
            .decode(key["priv_key"]["value"].as_str().expect("text"))
            .expect("base64");
        let (private, public) = pair.split_at(32);
        let derived =
            ed25519_dalek::SigningKey::from_bytes(private.try_into().expect("32 bytes")).verifying_key();
        assert_eq!(derived.as_bytes(), public);
        assert_eq!(identity.node_id, hex::encode(&Sha256::digest(public)[..20]));
    }
}

#[test]
fn every_validator_has_all_others_as_peers() {
    for validators in [1, 2, 4, 7, 16] {
        let spec = rendered(validators, 3);
        let model = NetworkModel::read(&spec).expect("model");
        for node in &spec.nodes {
            let config = text(&spec, node.name.as_str(), "config.toml");
            let line = config
                .lines()
                .find_map(|l| l.strip_prefix("persistent_peers = "))
                .expect("the line");
            let named: BTreeSet<&str> = line
                .trim_matches('"')
                .split(',')
                .filter(|entry| !entry.is_empty())
                .collect();
            let others = model.validators.iter().filter(|(name, _)| **name != node.name);
            let expected: Vec<String> = others
                .map(|(name, identity)| format!("{}@{name}:26656", identity.node_id))
                .collect();
            assert_eq!(named, expected.iter().map(String::as_str).collect());
        }
    }
}

#[test]
fn the_spec_reflects_the_request() {
    let parameters = Parameters {
        validators: 1,
        block_interval_ms: 250,
        empty_blocks: false,
        empty_block_interval_s: 0,
        cors_origins: vec!["*".to_owned(), "https://app.example.org".to_owned()],
        max_open_connections: 30,
    };
    let mut request = request(&parameters);
    request.images = BTreeMap::from([(
        "cometbft".to_owned(),
        vec!["registry.example/cometbft:1".to_owned()],
    )]);
    let seed = Seed::new([1; 32]);
    for (level, word) in [
        (LogLevel::Debug, "debug"),
        (LogLevel::Info, "info"),
        (LogLevel::Warning, "error"),
        (LogLevel::Error, "error"),
    ] {
        request.log_level = level;
        let spec = CometBft.render(&request, &seed);
        assert!(text(&spec, "v0", "config.toml").contains(&format!("log_level = \"{word}\"\n")));
    }
    let spec = CometBft.render(&request, &seed);
    let config = text(&spec, "v0", "config.toml");
    assert!(
        config.contains(
            "timeout_commit = \"250ms\"\ncreate_empty_blocks = false\ncreate_empty_blocks_interval = \"0s\"\n"
        ),
        "{config}"
    );
    assert!(
        config.contains(
            "cors_allowed_origins = [\"*\",\"https://app.example.org\"]\nmax_open_connections = 30\ntimeout_broadcast_tx_commit = \"10500ms\"\n"
        ),
        "{config}"
    );
    assert_eq!(spec.nodes[0].images, ["registry.example/cometbft:1"]);
}

#[test]
fn every_validator_needs_two_ports() {
    let requirements = CometBft.requirements(&json!(Parameters {
        validators: 7,
        ..Parameters::default()
    }));
    assert_eq!(
        (
            requirements.size,
            requirements.ports.len(),
            requirements.memory_bytes
        ),
        (7, 14, 7 * 256 * 1024 * 1024)
    );
}

#[test]
fn the_bundle_writes_through_one_node_and_reads_through_another() {
    let public_endpoints = |address: &str| PublicEndpoints {
        address: address.to_owned(),
        loopback: false,
        machines: BTreeMap::new(),
    };
    let parts = CometBft.bundle(&rendered(4, 1).seal().public, &public_endpoints("10.0.0.5"));
    assert_eq!(
        parts.write,
        r#"curl -s 'http://10.0.0.5:20000/broadcast_tx_commit?tx="name=satoshi"'"#
    );
    assert_eq!(
        parts.read,
        r#"curl -s 'http://10.0.0.5:20002/abci_query?data="name"'"#
    );
    assert_eq!(parts.nodes.len(), 4);
    let node = &parts.nodes[3];
    assert_eq!(
        (
            node.name.as_str(),
            node.endpoints.len(),
            node.endpoints[0].address.as_str()
        ),
        ("v3", 1, "10.0.0.5:20006")
    );
    assert_eq!(
        node.identities.keys().collect::<Vec<_>>(),
        ["node_id", "validator_address", "validator_public_key"]
    );
    let genesis: Value = serde_json::from_str(&parts.files["genesis.json"]).expect("json");
    assert_eq!(genesis["chain_id"], "cp-0123456789ab-1");

    let alone = CometBft.bundle(&rendered(1, 1), &public_endpoints("fd00::5"));
    assert_eq!(
        alone.read,
        r#"curl -s 'http://[fd00::5]:20000/abci_query?data="name"'"#
    );
}
