//! State database nodes and the settings of their peers.

use super::*;
use crate::{
    NetworkType,
    fabric::{
        Fabric,
        fixture::{changed, rendered, request},
        parameters::{Parameters, state_database::StateDatabase},
        render::requirements::requirements,
    },
};
use chainpool_agent::ClusterSpec;

fn with_databases() -> Parameters {
    Parameters {
        state_database: StateDatabase::CouchDb,
        ..Parameters::default()
    }
}

fn of<'a>(spec: &'a ClusterSpec, node: &str) -> &'a NodeSpec {
    spec.node(&NodeName::parse(node).expect("a name"))
        .expect("it is there")
}

fn password<'a>(node: &'a NodeSpec, variable: &str) -> &'a str {
    match &node.env[variable] {
        Variable::Secret(text) => text.expose(),
        Variable::Plain(_) => panic!("{variable} is not secret"),
    }
}

const OF_PEER: &str = "CORE_LEDGER_STATE_COUCHDBCONFIG_PASSWORD";

#[test]
fn rendered_bytes_do_not_change() {
    let spec = rendered(&with_databases(), 7).seal().public;
    let (without, mut peer) = (
        rendered(&Parameters::default(), 7),
        of(&spec, "peer0-org1").clone(),
    );
    peer.env
        .retain(|name, _| !of(&without, "peer0-org1").env.contains_key(name));
    insta::assert_json_snapshot!("database", (of(&spec, "db0-org1"), peer.env));
}

#[test]
fn only_the_peer_knows_the_password_of_its_database() {
    let parameters = Parameters {
        peers: 2,
        certificate_authorities: true,
        ..with_databases()
    };
    let spec = rendered(&parameters, 1);
    let mut passwords = std::collections::BTreeSet::new();
    for peer in ["peer0-org1", "peer1-org1", "peer0-org2", "peer1-org2"] {
        let database = of(&spec, names::database(&NodeName::parse(peer).unwrap()).as_str());
        let secret = password(of(&spec, peer), OF_PEER);
        assert_eq!((secret, password(database, "COUCHDB_PASSWORD")), (secret, secret));
        assert_eq!(
            of(&spec, peer).env["CORE_LEDGER_STATE_COUCHDBCONFIG_COUCHDBADDRESS"],
            Variable::Plain(format!("{}:5984", database.name))
        );
        assert!(
            secret.len() == 32 && passwords.insert(secret.to_owned()),
            "{peer}"
        );
    }
    assert!(
        passwords
            .is_disjoint(&[password(of(&rendered(&parameters, 2), "peer0-org1"), OF_PEER).to_owned()].into())
    );
    let open = serde_json::to_string(&spec.clone().seal().public).unwrap();
    assert!(passwords.iter().all(|password| !open.contains(password)));

    let requirements = requirements(&parameters);
    assert_eq!(usize::try_from(requirements.size).unwrap(), spec.nodes.len());
    assert_eq!(
        requirements.memory_bytes,
        spec.nodes
            .iter()
            .map(|node| node.limits.memory_bytes)
            .sum::<u64>()
    );
    assert!(
        requirements
            .ports
            .iter()
            .all(|need| !need.node.as_str().starts_with("db")),
        "a database is published"
    );
    let bundle = Fabric.bundle(&spec, &request(&parameters).public_endpoints);
    assert!(
        bundle
            .nodes
            .iter()
            .filter(|node| node.name.starts_with("db"))
            .all(|node| node.endpoints.is_empty() && node.identities.is_empty())
    );
    let told: String = bundle.files.values().map(String::as_str).collect();
    assert!(
        passwords.iter().all(|password| !told.contains(password)),
        "only the peer needs it"
    );
}

#[test]
fn only_peers_differ_from_a_network_without_databases() {
    let (without, with) = (
        rendered(&Parameters::default(), 1),
        rendered(&with_databases(), 1),
    );
    for node in without
        .nodes
        .iter()
        .filter(|node| !node.name.as_str().starts_with("peer"))
    {
        assert_eq!(with.node(&node.name), Some(node));
    }
    assert_eq!(of(&with, "peer0-org1").files, of(&without, "peer0-org1").files);
    assert_eq!(with.facts["channels"], without.facts["channels"]);
}

#[test]
fn new_peers_get_databases_and_existing_ones_keep_theirs() {
    let small = Parameters {
        organisations: 1,
        ..with_databases()
    };
    let large = Parameters {
        peers: 2,
        ..with_databases()
    };
    let old = rendered(&small, 1);
    let new = changed(&old, &large, false).unwrap();
    for before in &old.nodes {
        assert_eq!(new.node(&before.name), Some(before), "{}", before.name);
    }
    assert_eq!(
        new.nodes.iter().map(|node| &node.name).collect::<Vec<_>>(),
        rendered(&large, 1)
            .nodes
            .iter()
            .map(|node| &node.name)
            .collect::<Vec<_>>()
    );
    for (peer, database) in [
        ("peer1-org1", "db1-org1"),
        ("peer0-org2", "db0-org2"),
        ("peer1-org2", "db1-org2"),
    ] {
        assert_eq!(
            password(of(&new, peer), OF_PEER),
            password(of(&new, database), "COUCHDB_PASSWORD")
        );
    }
    let again = changed(&new, &large, false).unwrap();
    assert_eq!(again.nodes, new.nodes);
    let renewed = changed(&new, &large, true).unwrap();
    assert!(
        renewed
            .nodes
            .iter()
            .filter(|node| node.name.as_str().starts_with("db"))
            .all(|node| new.node(&node.name) == Some(node))
    );
    assert_eq!(of(&renewed, "peer1-org2").env, of(&new, "peer1-org2").env);
    let errors = changed(
        &old,
        &Parameters {
            organisations: 1,
            ..Parameters::default()
        },
        false,
    )
    .expect_err("must be refused");
    assert_eq!(
        errors.0["state_database"],
        "cannot change in a running network; create another cluster"
    );
}
