//! Amended specs and their boot phases.

mod certificates;

use super::*;
use crate::fabric::{
    fixture::{self, NOW, changed, changed_after, request_at},
    organisations::member,
    parameters::version::Version,
    proto::common::Block,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::NodeName;
use prost::Message;
use std::{fs, path::Path, process::Command};

fn rendered(parameters: &Parameters) -> ClusterSpec {
    fixture::rendered(parameters, 1)
}

fn small() -> Parameters {
    Parameters {
        organisations: 1,
        chaincodes: vec!["basic:1.0=example/basic:1".to_owned()],
        ..Parameters::default()
    }
}

fn large() -> Parameters {
    Parameters {
        organisations: 2,
        peers: 2,
        orderers: 3,
        channels: vec!["main".to_owned(), "two".to_owned()],
        chaincodes: vec![
            "other:1=example/other:1".to_owned(),
            "basic:1.0=example/basic:1".to_owned(),
        ],
        ..Parameters::default()
    }
}

fn model(spec: &ClusterSpec) -> NetworkModel {
    NetworkModel::read(spec).expect("model")
}

fn node<'a>(spec: &'a ClusterSpec, name: &str) -> &'a NodeSpec {
    spec.nodes
        .iter()
        .find(|node| node.name.as_str() == name)
        .expect("the node")
}

fn names<'a>(nodes: impl IntoIterator<Item = &'a NodeName>) -> Vec<&'a str> {
    nodes.into_iter().map(NodeName::as_str).collect()
}

fn init(action: &str) -> Boot {
    Boot::Init(action.to_owned())
}

#[test]
fn new_nodes_are_added_and_existing_ones_stay_byte_identical() {
    let old = rendered(&small());
    let new = changed(&old, &large(), false).unwrap();
    for before in &old.nodes {
        assert_eq!(new.node(&before.name), Some(before), "{}", before.name);
    }
    let added = [
        "orderer1",
        "orderer2",
        "peer1-org1",
        "peer0-org2",
        "peer1-org2",
        "cc-other",
    ];
    let Boot::Start(started) = &new.boot[0] else {
        panic!("{:?}", new.boot)
    };
    assert_eq!(
        names(started),
        names(new.nodes.iter().map(|node| &node.name)),
        "existing nodes are not restarted"
    );
    assert_eq!(
        new.boot[1..],
        [init("channels"), init("members"), init("chaincodes")]
    );
    assert_eq!(new.nodes.len(), old.nodes.len() + added.len());
    let whole = rendered(&large());
    assert_eq!(
        new.nodes.iter().map(|node| &node.name).collect::<Vec<_>>(),
        whole.nodes.iter().map(|node| &node.name).collect::<Vec<_>>()
    );
    for name in &added[..5] {
        assert_eq!(node(&new, name).env, node(&whole, name).env, "{name}");
        assert_eq!(node(&new, name).ports, node(&whole, name).ports, "{name}");
    }

    let (before, after) = (model(&old), model(&new));
    assert_eq!(after.parameters, large());
    assert_eq!(after.channels[0], before.channels[0]);
    let block = Block::decode(&BASE64.decode(&after.channels[1].genesis).unwrap()[..]).unwrap();
    let text = String::from_utf8_lossy(&block.data.unwrap().data[0]).into_owned();
    for name in ["orderer0", "orderer2", "Org1MSP", "Org2MSP"] {
        assert!(text.contains(name), "the new channel lacks {name}");
    }
    assert_eq!(names(&after.organisations[0].nodes), ["peer0-org1", "peer1-org1"]);
    assert_eq!(
        (&after.organisations[0].admin, &after.control),
        (&before.organisations[0].admin, &before.control)
    );
    assert_eq!(
        after.chaincodes.iter().find(|c| c.name == "basic"),
        before.chaincodes.first()
    );
    for (name, key) in &old.keys {
        assert_eq!(new.keys.get(name), Some(key), "{name}");
    }
    assert!(new.keys.contains_key("org2/admin") && new.keys.contains_key("org2/tlsca"));
}

#[test]
fn repeating_a_change_completes_it() {
    let new = changed(&rendered(&small()), &large(), false).unwrap();
    let again = changed(&new, &large(), false).unwrap();
    assert_eq!(
        (&again.nodes, &again.facts, &again.keys),
        (&new.nodes, &new.facts, &new.keys)
    );
    assert_eq!(again.boot, new.boot);
}

#[test]
fn a_node_whose_port_is_in_use_moves_to_another_port() {
    let old = rendered(&small());
    // Ports as of a new network: they differ for every node but the first.
    let change = Amendment {
        request: request_at(&large(), NOW),
        renew_certificates: false,
        previous: PreviousChange::Completed,
    };
    let new = amend(&old, &change, &large(), &Seed::new([2; 32])).unwrap();
    let (before, after) = (node(&old, "peer0-org1"), node(&new, "peer0-org1"));
    assert!(before.ports[0].published != after.ports[0].published && before.hash != after.hash);
    assert_eq!(
        NodeSpec {
            ports: before.ports.clone(),
            hash: before.hash.clone(),
            ..after.clone()
        },
        *before
    );
    assert_eq!(node(&old, "orderer0"), node(&new, "orderer0"));
}

#[test]
fn a_chaincode_is_upgraded_on_its_node() {
    let old = rendered(&small());
    let with = |text: &str| Parameters {
        chaincodes: vec![text.to_owned()],
        ..small()
    };
    let known = |spec: &ClusterSpec| model(spec).chaincodes[0].clone();
    let image = changed(&old, &with("basic:1.0=example/basic:2"), false).unwrap();
    assert_eq!(
        (known(&image), node(&image, "cc-basic").images.join(" ")),
        (known(&old), "example/basic:2".to_owned())
    );
    assert_ne!(node(&image, "cc-basic").hash, node(&old, "cc-basic").hash);
    assert_eq!(node(&image, "cc-basic").env, node(&old, "cc-basic").env);

    let version = changed(&old, &with("basic:2.0=example/basic:1"), false).unwrap();
    let second = || model::Chaincode {
        version: "2.0".to_owned(),
        earlier: vec!["1.0".to_owned()],
        ..known(&old)
    };
    assert_eq!(
        known(&version),
        model::Chaincode {
            overrides: true,
            ..second()
        }
    );
    assert_eq!(node(&version, "cc-basic"), node(&old, "cc-basic"));
    // Only the change that requests a version overrides a definition by the users.
    let more = Parameters {
        peers: 2,
        ..with("basic:2.0=example/basic:1")
    };
    for before in [PreviousChange::Unfinished, PreviousChange::InProgress] {
        assert_eq!(
            known(&changed_after(&version, &more, false, before).unwrap()),
            known(&version)
        );
    }
    assert_eq!(known(&changed(&version, &more, false).unwrap()), second());
    let back = known(&changed(&version, &with("basic:1.0=example/basic:1"), false).unwrap());
    assert_eq!(
        (back.version.as_str(), back.earlier),
        ("1.0", vec!["2.0".to_owned()])
    );
    let own = |version: &str| second().is_user_defined(version);
    assert_eq!([own("1.0"), own("2.0"), own("2.0-mine")], [false, false, true]);
}

#[test]
fn an_unfinished_change_must_complete_before_one_of_another_kind() {
    let old = rendered(&small());
    let more = Parameters { peers: 2, ..small() };
    let why = |spec: &ClusterSpec, parameters: &Parameters, renew: bool| {
        changed_after(spec, parameters, renew, PreviousChange::Unfinished)
            .expect_err("must be refused")
            .0["renew_certificates"]
            .clone()
    };
    let renewed = changed(&old, &small(), true).unwrap();
    assert_eq!(
        why(&renewed, &more, false),
        "the previous certificate renewal did not complete: repeat it alone first"
    );
    assert_eq!(
        changed_after(&renewed, &small(), true, PreviousChange::Unfinished)
            .unwrap()
            .boot,
        renewed.boot
    );
    let grown = changed(&old, &more, false).unwrap();
    assert_eq!(
        why(&grown, &more, true),
        "the previous change did not complete: repeat that change first"
    );
    let most = Parameters { peers: 3, ..small() };
    assert_eq!(
        changed_after(&grown, &most, false, PreviousChange::Unfinished)
            .unwrap()
            .boot[1..],
        grown.boot[1..]
    );
    // Without a known previous change both are allowed.
    assert!(
        changed_after(&old, &small(), true, PreviousChange::Unfinished).is_ok()
            && changed_after(&old, &more, false, PreviousChange::Unfinished).is_ok()
    );
}

#[test]
fn unsupported_changes_are_refused_by_parameter_name() {
    let old = rendered(&large());
    let cases: [(Parameters, bool, &str, &str); 9] = [
        (
            Parameters {
                organisations: 1,
                ..large()
            },
            false,
            "organisations",
            "cannot decrease from 2 to 1 in a running network; create another cluster",
        ),
        (
            Parameters { peers: 1, ..large() },
            false,
            "peers",
            "cannot decrease from 2 to 1 in a running network; create another cluster",
        ),
        (
            Parameters {
                orderers: 1,
                ..large()
            },
            false,
            "orderers",
            "cannot decrease from 3 to 1 in a running network; create another cluster",
        ),
        (
            Parameters {
                channels: vec!["main".to_owned()],
                ..large()
            },
            false,
            "channels",
            "must start with the existing channels (main, two): append new ones; to remove a channel create another cluster",
        ),
        (
            Parameters {
                channels: vec!["two".to_owned(), "main".to_owned()],
                ..large()
            },
            false,
            "channels",
            "must start with the existing channels (main, two): append new ones; to remove a channel create another cluster",
        ),
        (
            Parameters {
                chaincodes: vec!["basic:1.0=example/basic:1".to_owned()],
                ..large()
            },
            false,
            "chaincodes",
            "cannot remove other: chaincode definitions are permanent; create another cluster",
        ),
        (
            Parameters {
                certificate_days: 90,
                ..large()
            },
            false,
            "certificate_days",
            "cannot change from 365 to 90 for existing certificates; renew the certificates too",
        ),
        (
            Parameters { peers: 3, ..large() },
            true,
            "renew_certificates",
            "cannot be combined with another change; do one after the other",
        ),
        (
            Parameters {
                peers: 1,
                certificate_days: 90,
                ..large()
            },
            true,
            "peers",
            "cannot decrease from 2 to 1 in a running network; create another cluster",
        ),
    ];
    for (parameters, renew, name, why) in cases {
        let errors = changed(&old, &parameters, renew).expect_err("must be refused");
        assert_eq!(errors.0, BTreeMap::from([(name.to_owned(), why.to_owned())]));
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

#[test]
fn a_bft_network_grows_and_keeps_version_and_consensus() {
    let old = rendered(&bft());
    let refused = |parameters: &Parameters| changed(&old, parameters, false).expect_err("must be refused").0;
    let only = |name: &str, why: &str| BTreeMap::from([(name.to_owned(), why.to_owned())]);
    let why = "cannot change in a running network; create another cluster";
    assert_eq!(
        refused(&Parameters {
            version: Version::V2_5,
            ..bft()
        }),
        only("version", why)
    );
    assert_eq!(
        refused(&Parameters {
            consensus: Consensus::Raft,
            ..bft()
        }),
        only("consensus", why)
    );

    let larger = Parameters {
        organisations: 3,
        peers: 2,
        orderers: 5,
        channels: vec!["main".to_owned(), "two".to_owned()],
        ..bft()
    };
    let new = changed(&old, &larger, false).unwrap();
    assert_eq!(new.boot[1..], [init("channels"), init("members")]);
    assert_eq!(node(&new, "peer0-org3").images, ["hyperledger/fabric-peer:3.1.5"]);
    for before in &old.nodes {
        assert_eq!(new.node(&before.name), Some(before), "{}", before.name);
    }
    let renewed = changed(&old, &bft(), true).unwrap();
    let started = renewed
        .boot
        .iter()
        .filter_map(|phase| {
            if let Boot::Start(names) = phase {
                Some(names)
            } else {
                None
            }
        })
        .flatten();
    assert_eq!(
        names(started),
        [
            "orderer3",
            "orderer2",
            "orderer1",
            "orderer0",
            "peer0-org1",
            "peer0-org2"
        ],
        "the leader restarts last"
    );
    assert_eq!(model(&renewed).channels, model(&old).channels);
}

#[test]
fn a_stored_network_without_version_and_consensus_grows_as_raft_2_5() {
    let mut old = rendered(&small());
    let stored = old.facts["parameters"].as_object_mut().expect("an object");
    assert!(stored.remove("version").is_some() && stored.remove("consensus").is_some());
    let new = changed(&old, &large(), false).unwrap();
    assert_eq!(node(&new, "orderer2").images, node(&old, "orderer0").images);
    assert_eq!(new.node(&old.nodes[0].name), Some(&old.nodes[0]));
}

#[test]
fn a_network_without_the_keys_of_its_authorities_cannot_change() {
    let mut old = rendered(&small());
    old.keys.remove("org1/ca");
    let errors = changed(&old, &large(), false).expect_err("must be refused");
    assert_eq!(
        errors.0["parameters"],
        "the keys of its certificate authorities were not kept when it was created: create another cluster"
    );
}
