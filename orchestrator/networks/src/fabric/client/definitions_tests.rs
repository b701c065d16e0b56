//! Definitions that follow a committed one.

use super::*;
use crate::fabric::proto::lossless::tests::unknown_field;
use chainpool_agent::NodeName;
use prost::encoding::{WireType, encode_key, encode_varint};

fn chaincode(version: &str) -> Chaincode {
    Chaincode {
        name: "basic".to_owned(),
        version: version.to_owned(),
        package_id: "basic:0123".to_owned(),
        package: String::new(),
        node: NodeName::parse("cc-basic").expect("a name"),
        earlier: vec![],
        overrides: false,
    }
}

/// Appends a field of bytes, text or a message.
fn bytes(message: &mut Vec<u8>, tag: u32, content: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, message);
    encode_varint(u64::try_from(content.len()).expect("short"), message);
    message.extend(content);
}

/// Appends a field of a number.
fn number(message: &mut Vec<u8>, tag: u32, value: u64) {
    encode_key(tag, WireType::Varint, message);
    encode_varint(value, message);
}

/// A collection with a field that Fabric may add later.
fn collections() -> Vec<u8> {
    [&b"\x0a\x00"[..], &unknown_field()].concat()
}

/// Appends plugins, policy, collections and initialization as the fields from this tag on.
fn settings(message: &mut Vec<u8>, first: u32) {
    bytes(message, first, b"own-escc");
    bytes(message, first + 1, b"own-vscc");
    bytes(message, first + 2, b"a policy");
    bytes(message, first + 3, &collections());
    number(message, first + 4, 1);
}

/// The committed definition as a peer reports it, by `lifecycle.proto`.
fn committed(version: &str) -> Definition {
    let mut answer = Vec::new();
    number(&mut answer, 1, 2);
    bytes(&mut answer, 2, version.as_bytes());
    settings(&mut answer, 3);
    QueryChaincodeDefinitionResult::decode(&answer[..])
        .expect("a message")
        .into()
}

/// Arguments of a commit of `basic` with the settings of the users.
fn arguments(sequence: u64, version: &str) -> Vec<u8> {
    let mut arguments = Vec::new();
    number(&mut arguments, 1, sequence);
    bytes(&mut arguments, 2, b"basic");
    bytes(&mut arguments, 3, version.as_bytes());
    settings(&mut arguments, 4);
    arguments
}

/// Those of an approval, which also names the package.
fn approval(sequence: u64, version: &str) -> Vec<u8> {
    let mut package = Vec::new();
    bytes(&mut package, 1, b"basic:0123");
    let mut source = Vec::new();
    bytes(&mut source, 2, &package);
    let mut approval = arguments(sequence, version);
    bytes(&mut approval, 9, &source);
    approval
}

#[test]
fn an_organisation_that_joins_approves_the_committed_definition_with_the_users_settings() {
    let chaincode = chaincode("1.0");
    let requested = RequestedDefinition::after(&chaincode, Some(&committed("1.0"))).expect("ours");
    assert_eq!(requested.approval(), approval(2, "1.0"));
}

#[test]
fn another_version_keeps_the_users_settings() {
    for before in ["1.0", "1.0-ours"] {
        let chaincode = chaincode("1.0").in_version("2.0", true);
        let requested = RequestedDefinition::after(&chaincode, Some(&committed(before))).expect("ours");
        assert_eq!(requested.approval(), approval(3, "2.0"));
        assert_eq!(requested.definition(), arguments(3, "2.0"));
    }
}

#[test]
fn the_first_definition_has_fabrics_defaults() {
    let chaincode = chaincode("1.0");
    let requested = RequestedDefinition::after(&chaincode, None).expect("ours");
    assert_eq!(requested.definition(), b"\x08\x01\x12\x05basic\x1a\x031.0");
}

#[test]
fn a_version_of_the_users_is_left_alone_unless_another_one_is_requested() {
    let chaincode = chaincode("1.0");
    let users = committed("1.0-ours");
    assert_eq!(RequestedDefinition::after(&chaincode, Some(&users)), None);
    let requested = Chaincode {
        overrides: true,
        ..chaincode
    };
    let next = RequestedDefinition::after(&requested, Some(&users)).expect("ours");
    assert_eq!((next.sequence, next.settings), (3, users.settings));
}
