use super::*;
use super::{
    describe::{parameters, presets},
    validate::{compatibility, rule, validate},
};
use crate::parameters::check;
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::collections::BTreeSet;

fn given(value: &Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

#[test]
fn every_preset_validates_to_all_parameters() {
    for preset in presets() {
        let validated = validate(&preset.name, &Map::new()).expect("a preset is valid");
        let names: BTreeSet<_> = validated
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        assert_eq!(names, parameters().into_iter().map(|p| p.name).collect());
        assert!(Parameters::read(&validated).is_ok());
        for parameter in parameters() {
            let value = &validated[&parameter.name];
            check(&parameter, value)
                .and_then(|()| rule(&parameter.name, value))
                .expect("a preset's value is valid");
        }
        assert_eq!(compatibility(&validated), BTreeMap::new());
    }
}

#[test]
fn the_first_preset_is_the_default() {
    let meant = crate::NetworkType::preset(&crate::fabric::Fabric, "default");
    assert_eq!(meant, "standard");
    let validated = validate(&meant, &Map::new()).expect("valid");
    assert_eq!(
        Parameters::read(&validated).expect("readable"),
        Parameters::default()
    );
}

#[test]
fn given_parameters_override_the_preset() {
    let asked = json!({"peers": 2, "channels": ["a", "b.c-1"], "chaincodes": ["basic:1.0=registry.example:5000/basic@sha256:ab"]});
    let validated = validate("raft", &given(&asked)).expect("valid");
    let read = Parameters::read(&validated).expect("readable");
    assert_eq!((read.organisations, read.peers, read.orderers), (2, 2, 3));
    assert_eq!(read.channels, ["a", "b.c-1"]);
    let [Chaincode { name, version, image }] = &read.chaincodes()[..] else {
        panic!("one chaincode")
    };
    assert_eq!(
        (name.as_str(), version.as_str(), image.as_str()),
        ("basic", "1.0", "registry.example:5000/basic@sha256:ab")
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn each_invalid_value_is_an_error_with_the_rule() {
    let long = "c".repeat(250);
    let cases = [
        (
            json!({"organisations": 9}),
            "must be a whole number from 1 to 8, not 9",
        ),
        (json!({"peers": 0}), "must be a whole number from 1 to 4, not 0"),
        (
            json!({"orderers": 8}),
            "must be a whole number from 1 to 7, not 8",
        ),
        (
            json!({"orderers": 7}),
            "must be 1, 3 or 5, not 7: more orderers slow Raft down; use BFT for more",
        ),
        (json!({"version": "2.4"}), "must be 2.5 or 3.1, not \"2.4\""),
        (json!({"version": true}), "must be 2.5 or 3.1, not true"),
        (
            json!({"consensus": "kafka"}),
            "must be raft or bft, not \"kafka\"",
        ),
        (
            json!({"orderers": 4}),
            "must be 1, 3 or 5, not 4: Raft needs a majority of the orderers, so 4 tolerate no more failures than 3",
        ),
        (
            json!({"channels": []}),
            "must be a list of 1 to 8 strings, not []",
        ),
        (
            json!({"channels": "main"}),
            "must be a list of 1 to 8 strings, not \"main\"",
        ),
        (
            json!({"channels": ["a", 1]}),
            "must be a list of 1 to 8 strings, not [\"a\",1]",
        ),
        (
            json!({"channels": ["1a"]}),
            "\"1a\" is not a valid channel id: use a-z, 0-9, . and -, starting with a letter",
        ),
        (
            json!({"channels": ["Main"]}),
            "\"Main\" is not a valid channel id: use a-z, 0-9, . and -, starting with a letter",
        ),
        (
            json!({"channels": [""]}),
            "\"\" is not a valid channel id: use a-z, 0-9, . and -, starting with a letter",
        ),
        (
            json!({"channels": [long]}),
            "an id of 250 characters is too long: at most 249",
        ),
        (
            json!({"channels": ["a", "b", "a"]}),
            "\"a\" is given twice: a channel's id must be unique",
        ),
        (
            json!({"chaincodes": ["basic"]}),
            "\"basic\" must be written as name:version=image",
        ),
        (
            json!({"chaincodes": ["basic=1:x"]}),
            "\"basic=1:x\" must be written as name:version=image",
        ),
        (
            json!({"chaincodes": ["a--b:1=x"]}),
            "\"a--b\" is not a valid chaincode name: use letters and digits with single - or _ between them",
        ),
        (
            json!({"chaincodes": ["qscc:1=x"]}),
            "\"qscc\" is a system chaincode of Fabric; choose another name",
        ),
        (
            json!({"chaincodes": ["a:1 0=x"]}),
            "\"1 0\" is not a valid chaincode version: use letters, digits, _ . + and -",
        ),
        (
            json!({"chaincodes": ["a:=x"]}),
            "\"\" is not a valid chaincode version: use letters, digits, _ . + and -",
        ),
        (
            json!({"chaincodes": ["a:1="]}),
            "\"\" is not a valid image reference",
        ),
        (
            json!({"chaincodes": ["a:1=x", "a:2=x"]}),
            "\"a\" is given twice: a chaincode's name must be unique",
        ),
        (
            json!({"batch_timeout_ms": 9}),
            "must be a whole number from 10 to 60000, not 9",
        ),
        (
            json!({"batch_messages": 10_001}),
            "must be a whole number from 1 to 10000, not 10001",
        ),
        (
            json!({"state_database": "mysql"}),
            "must be leveldb or couchdb, not \"mysql\"",
        ),
        (
            json!({"certificate_authorities": "org1"}),
            "must be true or false, not \"org1\"",
        ),
        (
            json!({"certificate_days": 29}),
            "must be a whole number from 30 to 3650, not 29",
        ),
    ];
    for (value, why) in cases {
        let asked = given(&value);
        let field = asked.keys().next().expect("one field").clone();
        let errors = validate("tiny", &asked).expect_err("must be refused");
        assert_eq!(errors.0, BTreeMap::from([(field, why.to_owned())]));
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    let errors =
        validate("solo", &given(&json!({"orderers": 2, "colour": "red"}))).expect_err("must be refused");
    assert_eq!(
        errors.0.keys().collect::<Vec<_>>(),
        ["colour", "orderers", "preset"]
    );
    assert_eq!(
        errors.0["preset"],
        "unknown preset \"solo\"; use one of: standard, tiny, raft, bft"
    );
}

#[test]
fn version_consensus_and_orderers_must_be_compatible() {
    let old = "Fabric 2.5 does not support BFT; set version to 3.1 or consensus to raft";
    let bft = |count: u64| {
        format!(
            "must be 4 to 7, not {count}: BFT needs 3f+1 orderers to tolerate f Byzantine ones: 4 for one, 7 for two"
        )
    };
    let raft = |count: u64| {
        format!(
            "must be 1, 3 or 5, not {count}: Raft needs a majority of the orderers, so {count} tolerate no more failures than {}",
            count - 1
        )
    };
    let refused =
        |preset: &str, asked: Value| validate(preset, &given(&asked)).expect_err("must be refused").0;
    let expected = |errors: &[(&str, &str)]| {
        errors
            .iter()
            .map(|(name, why)| ((*name).to_owned(), (*why).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(
        refused("standard", json!({"consensus": "bft"})),
        expected(&[("consensus", old), ("orderers", &bft(1))])
    );
    assert_eq!(
        refused("bft", json!({"version": "2.5"})),
        expected(&[("consensus", old)])
    );
    assert_eq!(
        refused("bft", json!({"orderers": 3})),
        expected(&[("orderers", &bft(3))])
    );
    assert_eq!(
        refused("bft", json!({"consensus": "raft"})),
        expected(&[("orderers", &raft(4))])
    );
    assert_eq!(
        refused("raft", json!({"version": "3.1", "orderers": 4})),
        expected(&[("orderers", &raft(4))])
    );
    for (preset, asked) in [
        ("raft", json!({"version": "3.1"})),
        (
            "standard",
            json!({"version": "3.1", "consensus": "bft", "orderers": 7}),
        ),
        (
            "bft",
            json!({"version": "2.5", "consensus": "raft", "orderers": 5}),
        ),
        ("bft", json!({"orderers": 6})),
    ] {
        validate(preset, &given(&asked)).expect("it fits");
    }
}

#[test]
fn a_version_may_be_given_as_a_number() {
    let validated = validate("bft", &given(&json!({"version": 3.1}))).expect("valid");
    assert_eq!(validated["version"], "3.1");
    let errors = validate("bft", &given(&json!({"version": 3}))).expect_err("must be refused");
    assert_eq!(errors.0["version"], "must be 2.5 or 3.1, not \"3\"");
}

#[test]
fn default_values_of_later_parameters_are_not_stored() {
    let stored = json!(Parameters::default());
    let optional = ["certificate_authorities", "state_database"];
    assert!(
        optional.iter().all(|name| stored.get(name).is_none()),
        "an existing spec would change"
    );
    let validated = validate("tiny", &given(&json!({"certificate_authorities": true}))).expect("valid");
    assert!(
        Parameters::read(&validated)
            .expect("readable")
            .certificate_authorities
    );
    let validated = validate("tiny", &Map::new()).expect("valid");
    assert_eq!(
        (
            &validated["certificate_authorities"],
            &validated["state_database"]
        ),
        (&json!(false), &json!("leveldb"))
    );
    for database in StateDatabase::ALL {
        assert_eq!(json!(database), database.as_str());
    }
}

#[test]
fn stored_parameters_without_version_and_consensus_are_valid() {
    let mut stored = json!(Parameters {
        orderers: 3,
        ..Parameters::default()
    });
    let fields = stored.as_object_mut().expect("an object");
    assert!(fields.remove("version").is_some() && fields.remove("consensus").is_some());
    let read = Parameters::read(&stored).expect("readable");
    assert_eq!(
        (read.version, read.consensus, read.orderers),
        (Version::V2_5, Consensus::Raft, 3)
    );
}

#[test]
fn every_chaincode_has_its_own_node() {
    let long = "A".repeat(64);
    let names = [
        "basic",
        "Basic",
        "a_b",
        "a-b",
        "seventeen-letters",
        "eighteen-letters-x",
        &long,
    ];
    let node = |name: &str| {
        Chaincode {
            name: name.to_owned(),
            version: "1".to_owned(),
            image: "x".to_owned(),
        }
        .node()
    };
    let nodes: BTreeSet<_> = names.iter().map(|name| node(name).to_string()).collect();
    assert_eq!(nodes.len(), names.len());
    assert!(
        nodes.contains("cc-basic") && nodes.contains("cc-a-b") && nodes.contains("cc-seventeen-letters"),
        "{nodes:?}"
    );
}
