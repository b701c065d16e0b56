//! Public descriptions of the parameters and presets.

use crate::{
    fabric::parameters::{Parameters, consensus::Consensus, state_database::StateDatabase, version::Version},
    parameters::{amendable, boolean, list, number, word},
};
use chainpool_api::{Parameter, Preset};
use serde_json::json;

/// Public descriptions of the parameters with the bounds that `validate` checks.
pub(crate) fn parameters() -> Vec<Parameter> {
    let Parameters {
        version,
        consensus,
        organisations,
        peers,
        orderers,
        channels,
        chaincodes,
        batch_timeout_ms,
        batch_messages,
        certificate_days,
        certificate_authorities,
        state_database,
    } = Parameters::default();
    vec![
        word(
            "version",
            "Version line of orderers and peers.",
            version.as_str(),
            &Version::ALL.map(Version::as_str),
        ),
        word(
            "consensus",
            "Consensus protocol of the orderers; bft needs version 3.1 and 4 to 7 orderers.",
            consensus.as_str(),
            &Consensus::ALL.map(Consensus::as_str),
        ),
        amendable(number(
            "organisations",
            "Number of organisations with peers.",
            organisations.into(),
            1,
            8,
        )),
        amendable(number(
            "peers",
            "Number of peers per organisation.",
            peers.into(),
            1,
            4,
        )),
        amendable(number(
            "orderers",
            "Number of orderers: 1, 3 or 5 with Raft, which needs a majority; 4 to 7 with BFT, which tolerates one Byzantine orderer, or two of seven.",
            orderers.into(),
            1,
            7,
        )),
        amendable(list(
            "channels",
            "Channel ids; every node joins every channel.",
            &channels,
            1,
            8,
        )),
        amendable(list(
            "chaincodes",
            "Chaincodes as services on every channel: name:version=image.",
            &chaincodes,
            0,
            8,
        )),
        number(
            "batch_timeout_ms",
            "Milliseconds after which an incomplete block is cut.",
            batch_timeout_ms,
            10,
            60_000,
        ),
        number(
            "batch_messages",
            "Transactions after which a block is cut.",
            batch_messages,
            1,
            10_000,
        ),
        amendable(number(
            "certificate_days",
            "Validity of the certificates of nodes and users in days.",
            certificate_days,
            30,
            3650,
        )),
        amendable(boolean(
            "certificate_authorities",
            "Run a Fabric CA for each organisation with peers, which enrols further identities.",
            certificate_authorities,
        )),
        word(
            "state_database",
            "State database of the peers: leveldb is embedded; couchdb is a node beside each peer and supports rich queries.",
            state_database.as_str(),
            &StateDatabase::ALL.map(StateDatabase::as_str),
        ),
    ]
}

/// Presets; the first is the default.
pub(crate) fn presets() -> Vec<Preset> {
    let of = |name: &str, about: &str, parameters: Parameters| Preset {
        name: name.to_owned(),
        about: about.to_owned(),
        parameters: json!(parameters),
    };
    let preset = |name, about, organisations, orderers| {
        of(
            name,
            about,
            Parameters {
                organisations,
                orderers,
                ..Parameters::default()
            },
        )
    };
    let bft = Parameters {
        version: Version::V3_1,
        consensus: Consensus::Bft,
        orderers: 4,
        ..Parameters::default()
    };
    vec![
        preset(
            "standard",
            "Two organisations with one peer each, one orderer.",
            2,
            1,
        ),
        preset(
            "tiny",
            "One organisation with one peer, one orderer: the smallest network, for first experiments.",
            1,
            1,
        ),
        preset(
            "raft",
            "Two organisations with one peer each, three orderers: tolerates the failure of one orderer.",
            2,
            3,
        ),
        of(
            "bft",
            "Two organisations with one peer each, four orderers of Fabric 3.1: tolerates one Byzantine orderer.",
            bft,
        ),
    ]
}
