//! Rendered specs, byte by byte, and their invariants.

use super::*;
use crate::fabric::{
    fixture,
    model::{files::HOME, ports::need},
    parameters::{consensus::Consensus, version::Version},
    proto::common::Block,
};
use chainpool_agent::NetworkSpec;
use chainpool_agent::{Audience, SpecHash, Variable};
use chainpool_api::LogLevel;
use serde_json::json;
use std::collections::BTreeMap;
use std::{collections::BTreeSet, fmt::Write};

fn request(parameters: &Parameters) -> RenderRequest {
    let network = NetworkSpec {
        subnet: Some("10.213.0.64/26".parse().expect("a subnet")),
    };
    RenderRequest {
        network,
        ..fixture::request(parameters)
    }
}

fn rendered(parameters: &Parameters, seed: u8) -> ClusterSpec {
    render(parameters, &request(parameters), &Seed::new([seed; 32]))
}

fn with_chaincode() -> Parameters {
    Parameters {
        chaincodes: vec!["basic:1.0=registry.example/basic:1".to_owned()],
        ..Parameters::default()
    }
}

fn raft() -> Parameters {
    Parameters {
        orderers: 3,
        peers: 2,
        ..Parameters::default()
    }
}

fn bft() -> Parameters {
    Parameters {
        version: Version::V3_1,
        consensus: Consensus::Bft,
        orderers: 4,
        ..Parameters::default()
    }
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

fn setting<'a>(spec: &'a ClusterSpec, node: &str, name: &str) -> &'a str {
    let node = spec
        .nodes
        .iter()
        .find(|n| n.name.as_str() == node)
        .expect("the node");
    match &node.env[name] {
        Variable::Plain(text) => text,
        Variable::Secret(_) => panic!("{name} is secret"),
    }
}

#[test]
fn rendered_bytes_do_not_change() {
    let mut spec = rendered(&with_chaincode(), 7).seal().public;
    let mut seen = String::new();
    for node in &spec.nodes {
        for file in &node.files {
            let (uid, gid) = file.owner;
            let content = if file.secret {
                "(secret)\n".to_owned()
            } else {
                text(&spec, node.name.as_str(), &file.path)
            };
            writeln!(
                seen,
                "==== {} {} {:o} {uid}:{gid} once={}\n{content}",
                node.name, file.path, file.mode, file.once
            )
            .expect("written");
        }
    }
    insta::assert_snapshot!("files", seen);
    // Blocks and packages have their own tests; a package's bytes and so its id depend on the compressor.
    for node in &mut spec.nodes {
        node.files.clear();
        if node.name.as_str().starts_with("cc-") {
            for name in ["CHAINCODE_ID", "CORE_CHAINCODE_ID_NAME"] {
                node.env
                    .insert(name.to_owned(), Variable::Plain("(id)".to_owned()));
            }
            node.hash = SpecHash("(hash)".to_owned());
        }
    }
    spec.facts["channels"][0]["genesis"] = json!("(block)");
    spec.facts["chaincodes"][0]["package"] = json!("(package)");
    spec.facts["chaincodes"][0]["package_id"] = json!("(id)");
    insta::assert_json_snapshot!("spec", spec);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_shares_no_secret() {
    assert_eq!(rendered(&raft(), 1), rendered(&raft(), 1));
    let secrets = |seed| {
        let sealed = rendered(&raft(), seed).seal();
        sealed
            .secrets
            .into_iter()
            .map(|s| s.expose().clone())
            .collect::<BTreeSet<_>>()
    };
    let (one, two) = (secrets(1), secrets(2));
    // Two keys for each of seven nodes, four for each of three organisations, and two for the control
    // authority and client.
    assert_eq!((one.len(), two.len()), (7 * 2 + 3 * 4 + 2, 7 * 2 + 3 * 4 + 2));
    assert!(one.is_disjoint(&two));
}

#[test]
fn another_seed_shares_no_certificate_and_no_block() {
    let model = |seed| NetworkModel::read(&rendered(&raft(), seed)).expect("model");
    let public = |model: &NetworkModel| {
        let of = model
            .organisations
            .iter()
            .chain([&model.ordering])
            .flat_map(|o| [&o.ca, &o.tls_ca, &o.admin, &o.user]);
        of.chain([&model.control, &model.control_ca])
            .chain(model.channels.iter().map(|c| &c.genesis))
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    let (one, two) = (public(&model(1)), public(&model(2)));
    assert_eq!(one.len(), 3 * 4 + 2 + 1);
    assert!(one.is_disjoint(&two));
}

#[test]
fn the_public_part_contains_no_secret() {
    let sealed = rendered(&with_chaincode(), 9).seal();
    let files: String = sealed
        .public
        .nodes
        .iter()
        .flat_map(|n| &n.files)
        .map(|f| String::from_utf8_lossy(f.content.expose()).into_owned())
        .collect();
    let open = serde_json::to_string(&sealed.public).expect("json") + &files;
    assert!(!open.contains("PRIVATE KEY"));
    for secret in &sealed.secrets {
        let pem = String::from_utf8(secret.expose().clone()).expect("text");
        let line = pem
            .strip_prefix("-----BEGIN PRIVATE KEY-----\n")
            .expect("PKCS#8")
            .lines()
            .next()
            .expect("a line");
        assert!(!open.contains(line), "a private key is public");
    }
}

#[test]
fn every_file_is_below_the_volume_and_belongs_to_the_user() {
    for node in &rendered(&raft(), 1).nodes {
        let [volume] = &node.volumes[..] else {
            panic!("one volume")
        };
        for file in &node.files {
            assert!(
                file.path.starts_with(&format!("{}/node/", volume.path)),
                "{}",
                file.path
            );
            assert_eq!(Some(format!("{}:{}", file.owner.0, file.owner.1)), node.user);
            let is_key = ["/keystore/key.pem", "/server.key"]
                .iter()
                .any(|name| file.path.ends_with(name));
            assert_eq!(
                (file.secret, file.mode, file.once),
                (is_key, if is_key { 0o400 } else { 0o444 }, false),
                "{}",
                file.path
            );
        }
        assert_eq!(node.files.iter().filter(|file| file.secret).count(), 2);
        assert!(node.read_only_root);
    }
}

/// Every path in a node's settings is one of its files or is in a folder that the node creates.
#[test]
fn every_path_in_the_settings_exists() {
    let spec = rendered(&raft(), 1);
    for node in &spec.nodes {
        let files: BTreeSet<&str> = node.files.iter().map(|f| f.path.as_str()).collect();
        let mut settings: Vec<String> = node
            .env
            .values()
            .map(|v| {
                if let Variable::Plain(text) = v {
                    text.clone()
                } else {
                    String::new()
                }
            })
            .collect();
        if node.name.as_str().starts_with("peer") {
            settings.extend(
                text(&spec, node.name.as_str(), "config/core.yaml")
                    .lines()
                    .map(str::to_owned),
            );
        }
        let words = settings
            .iter()
            .flat_map(|text| text.split([' ', '[', ']', ',']))
            .filter(|word| word.starts_with(HOME));
        let mut named = 0;
        for path in words {
            let folder = format!("{path}/");
            let is_own = path.starts_with(&format!("{HOME}/data"));
            assert!(
                is_own || files.contains(path) || files.iter().any(|file| file.starts_with(&folder)),
                "{}: {path}",
                node.name
            );
            named += 1;
        }
        assert!(named >= 10, "{}: {named}", node.name);
    }
}

#[test]
fn each_channel_has_its_own_genesis_block() {
    let parameters = Parameters {
        channels: vec!["one".to_owned(), "two".to_owned()],
        ..Parameters::default()
    };
    let model = NetworkModel::read(&rendered(&parameters, 1)).expect("model");
    let hash = |channel: &Channel| {
        let bytes = BASE64.decode(&channel.genesis).expect("base64");
        Block::decode(&bytes[..])
            .expect("a block")
            .header
            .expect("a header")
            .data_hash
    };
    let [one, two] = &model.channels[..] else {
        panic!("two channels")
    };
    assert_eq!((one.name.as_str(), two.name.as_str()), ("one", "two"));
    assert_ne!(hash(one), hash(two));
}

#[test]
fn gossip_starts_with_the_other_peers_of_the_organisation() {
    let spec = rendered(&raft(), 1);
    assert_eq!(
        setting(&spec, "peer0-org2", "CORE_PEER_GOSSIP_BOOTSTRAP"),
        "peer1-org2:7051"
    );
    let alone = rendered(&Parameters::default(), 1);
    assert_eq!(
        setting(&alone, "peer0-org2", "CORE_PEER_GOSSIP_BOOTSTRAP"),
        "peer0-org2:7051"
    );
    assert_eq!(setting(&alone, "peer0-org2", "CORE_PEER_LOCALMSPID"), "Org2MSP");
}

#[test]
fn the_deploy_phase_exists_only_with_chaincodes() {
    assert_eq!(
        rendered(&Parameters::default(), 1).boot[1..],
        [Boot::Init("channels".to_owned())]
    );
    let spec = rendered(&with_chaincode(), 1);
    assert_eq!(
        spec.boot[1..],
        [
            Boot::Init("channels".to_owned()),
            Boot::Init("chaincodes".to_owned())
        ]
    );
    let Boot::Start(started) = &spec.boot[0] else {
        panic!("starts first")
    };
    assert_eq!(
        started.iter().collect::<Vec<_>>(),
        spec.nodes.iter().map(|n| &n.name).collect::<Vec<_>>()
    );
    let model = NetworkModel::read(&spec).expect("model");
    assert_eq!(
        setting(&spec, "cc-basic", "CHAINCODE_ID"),
        model.chaincodes[0].package_id
    );
    assert_eq!(model.chaincodes[0].node.as_str(), "cc-basic");
}

#[test]
fn the_spec_reflects_the_request() {
    let parameters = Parameters::default();
    let mut request = request(&parameters);
    request.images = BTreeMap::from([("peer".to_owned(), vec!["registry.example/peer:1".to_owned()])]);
    request.log_level = LogLevel::Warning;
    let spec = render(&parameters, &request, &Seed::new([1; 32]));
    assert_eq!(
        spec.node(&spec.nodes[1].name).expect("a peer").images,
        ["registry.example/peer:1"]
    );
    assert_eq!(
        spec.nodes[0].images,
        [
            "hyperledger/fabric-orderer:2.5.16",
            "chainpool/fabric-orderer:2.5.0"
        ]
    );
    assert_eq!(setting(&spec, "orderer0", "FABRIC_LOGGING_SPEC"), "warning");
}

#[test]
fn version_lines_differ_only_in_images() {
    let (old, new) = (
        rendered(&raft(), 1),
        rendered(
            &Parameters {
                version: Version::V3_1,
                ..raft()
            },
            1,
        ),
    );
    for (before, after) in old.nodes.iter().zip(&new.nodes) {
        let role = if after.name.as_str().starts_with("orderer") {
            "orderer"
        } else {
            "peer"
        };
        assert_eq!(after.images, [format!("hyperledger/fabric-{role}:3.1.5")]);
        assert_eq!(
            (&before.env, &before.files, &before.ports),
            (&after.env, &after.files, &after.ports)
        );
    }
    let parameters = bft();
    let mut request = request(&parameters);
    request.images = [("orderer", "of-2.5:1"), ("orderer-3.1", "of-3.1:1")]
        .map(|(role, image)| (role.to_owned(), vec![image.to_owned()]))
        .into();
    let spec = render(&parameters, &request, &Seed::new([1; 32]));
    assert_eq!(spec.nodes[0].images, ["of-3.1:1"]);
    assert_eq!(
        setting(&spec, "orderer3", "ORDERER_CONSENSUS_WALDIR"),
        "/var/hyperledger/node/data/smartbft/wal"
    );
    assert_eq!(
        images::images().keys().collect::<Vec<_>>(),
        ["ca", "couchdb", "orderer", "orderer-3.1", "peer", "peer-3.1"]
    );
}

#[test]
fn requirements_match_the_spec() {
    for parameters in [
        Parameters::default(),
        raft(),
        bft(),
        with_chaincode(),
        Parameters {
            organisations: 8,
            peers: 4,
            orderers: 5,
            ..raft()
        },
    ] {
        let requirements = requirements::requirements(&parameters);
        let spec = rendered(&parameters, 1);
        assert_eq!(
            usize::try_from(requirements.size).expect("small"),
            spec.nodes.len()
        );
        assert_eq!(
            requirements.memory_bytes,
            spec.nodes
                .iter()
                .map(|node| node.limits.memory_bytes)
                .sum::<u64>()
        );
        let published = spec.nodes.iter().flat_map(|n| {
            n.ports
                .iter()
                .filter(|p| p.published.is_some())
                .map(|p| need(&n.name, &p.name))
        });
        assert_eq!(published.collect::<Vec<_>>(), requirements.ports);
        let closed = spec
            .nodes
            .iter()
            .flat_map(|n| &n.ports)
            .filter(|p| p.published.is_none());
        assert!(closed.into_iter().all(|port| port.audience == Audience::Peers));
    }
}
