//! Parameters of Fabric networks.

use super::{consensus::Consensus, database::StateDatabase, version::Version};
use crate::{
    ParameterErrors,
    parameters::{self, amendable, boolean, list, number, word},
};
use chainpool_agent::NodeName;
use chainpool_api::{Parameter, Preset};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Fabric 2.5: `common/configtx/validator.go`, `MaxLength`.
const CHANNEL_MAX: usize = 249;

/// A peer names a package's file after label and hash; this keeps the file name short enough.
const CHAINCODE_MAX: usize = 64;

/// Fabric 2.5: `core/chaincode/lifecycle/scc.go`, `systemChaincodeNames`.
const SYSTEM_CHAINCODES: [&str; 5] = ["cscc", "escc", "lscc", "qscc", "vscc"];

/// Validated parameters. Every field is a parameter of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// The version line of orderers and peers.
    #[serde(default)]
    pub(super) version: Version,
    /// Consensus protocol of the orderers.
    #[serde(default)]
    pub(super) consensus: Consensus,
    /// Number of organisations with peers.
    pub(super) organisations: u16,
    /// Number of peers per organisation.
    pub(super) peers: u16,
    /// Number of orderers: 1, 3 or 5 with Raft, 4 to 7 with BFT.
    pub(super) orderers: u16,
    /// The channels' ids.
    pub(super) channels: Vec<String>,
    /// Chaincodes as a service: `name:version=image`.
    pub(super) chaincodes: Vec<String>,
    /// Milliseconds after which an incomplete block is cut.
    pub(super) batch_timeout_ms: u32,
    /// Transactions after which a block is cut.
    pub(super) batch_messages: u32,
    /// Validity of certificates in days.
    pub(super) certificate_days: u32,
    /// Run a Fabric CA for each organisation with peers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) certificate_authorities: bool,
    /// State database of the peers.
    #[serde(default, skip_serializing_if = "StateDatabase::is_default")]
    pub(super) state_database: StateDatabase,
}

/// Two organisations, because a single one needs no ledger. The batch timeout is 200 ms: with the two seconds
/// of Fabric's sample commits appear slow.
impl Default for Parameters {
    fn default() -> Self {
        Self {
            version: Version::default(),
            consensus: Consensus::default(),
            organisations: 2,
            peers: 1,
            orderers: 1,
            channels: vec!["main".to_owned()],
            chaincodes: vec![],
            batch_timeout_ms: 200,
            batch_messages: 500,
            certificate_days: 365,
            certificate_authorities: false,
            state_database: StateDatabase::default(),
        }
    }
}

impl Parameters {
    /// Parses validated parameters.
    pub(super) fn read(validated: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(validated)
    }

    /// The parsed chaincodes.
    pub(super) fn chaincodes(&self) -> Vec<Chaincode> {
        self.chaincodes
            .iter()
            .map(|text| Chaincode::parse(text).expect("validated"))
            .collect()
    }
}

/// A chaincode that runs as a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chaincode {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) image: String,
}

impl Chaincode {
    /// Parses `name:version=image` by Fabric's rules.
    fn parse(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('=')
            .and_then(|(left, image)| Some((left.split_once(':')?, image)));
        let Some(((name, version), image)) = parts else {
            return Err(format!("{text:?} must be written as name:version=image"));
        };
        let is_name = name
            .split(['-', '_'])
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric()));
        if !is_name {
            return Err(format!(
                "{name:?} is not a valid chaincode name: use letters and digits with single - or _ between them"
            ));
        }
        if SYSTEM_CHAINCODES.contains(&name) {
            return Err(format!(
                "{name:?} is a system chaincode of Fabric; choose another name"
            ));
        }
        if version.is_empty()
            || !version
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c))
        {
            return Err(format!(
                "{version:?} is not a valid chaincode version: use letters, digits, _ . + and -"
            ));
        }
        if let Some(long) = [name, version]
            .into_iter()
            .find(|part| part.len() > CHAINCODE_MAX)
        {
            return Err(format!(
                "{long:?} is too long: at most {CHAINCODE_MAX} characters"
            ));
        }
        if image.is_empty()
            || !image
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c))
        {
            return Err(format!("{image:?} is not a valid image reference"));
        }
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            image: image.to_owned(),
        })
    }

    /// Its node: `cc-<name>`, or with a part of the name's hash if that is not a valid node name.
    pub(super) fn node(&self) -> NodeName {
        NodeName::parse(&format!("cc-{}", self.name)).unwrap_or_else(|_| {
            let plain: String = self
                .name
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(8)
                .collect();
            let hash = hex::encode(&Sha256::digest(&self.name)[..4]);
            NodeName::parse(&format!("cc-{}-{hash}", plain.to_ascii_lowercase()))
                .expect("20 characters at most, the last a digit of the hash")
        })
    }
}

/// Public descriptions of the parameters with the bounds that [`validate`] checks.
pub(super) fn parameters() -> Vec<Parameter> {
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
pub(super) fn presets() -> Vec<Preset> {
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

/// Merges the given parameters into the preset and validates all of them.
pub(super) fn validate(preset: &str, given: &Map<String, Value>) -> Result<Value, ParameterErrors> {
    parameters::validate(
        "fabric",
        &parameters(),
        &presets(),
        preset,
        given,
        rule,
        compatibility,
    )
}

/// Fabric's rules for a value beyond its type and range.
fn rule(name: &str, value: &Value) -> Result<(), String> {
    let texts = || value.as_array().into_iter().flatten().filter_map(Value::as_str);
    match name {
        "channels" => {
            texts().try_for_each(channel_rule)?;
            each_once(texts(), "a channel's id")
        }
        "chaincodes" => {
            let chaincodes = texts().map(Chaincode::parse).collect::<Result<Vec<_>, _>>()?;
            each_once(
                chaincodes.iter().map(|chaincode| chaincode.name.as_str()),
                "a chaincode's name",
            )
        }
        _ => Ok(()),
    }
}

/// Fabric's rules for combinations of valid values.
fn compatibility(validated: &Value) -> BTreeMap<String, String> {
    let (version, consensus) = (
        field::<Version>(validated, "version"),
        field::<Consensus>(validated, "consensus"),
    );
    let orderers = validated
        .get("orderers")
        .and_then(Value::as_u64)
        .map_or(Ok(()), |orderers| consensus.check_orderer_count(orderers));
    let found = [
        ("consensus", consensus.check_version(version)),
        ("orderers", orderers),
    ];
    found
        .into_iter()
        .filter_map(|(name, fits)| Some((name.to_owned(), fits.err()?)))
        .collect()
}

/// A value by name; the default if it is missing because the preset is unknown.
fn field<T: DeserializeOwned + Default>(validated: &Value, name: &str) -> T {
    validated
        .get(name)
        .and_then(|value| serde_json::from_value(value.clone()).ok())
        .unwrap_or_default()
}

/// Fabric 2.5: `common/configtx/validator.go`, `validateChannelID`.
fn channel_rule(id: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if !id.starts_with(|c: char| c.is_ascii_lowercase()) || !id.chars().all(fits) {
        return Err(format!(
            "{id:?} is not a valid channel id: use a-z, 0-9, . and -, starting with a letter"
        ));
    }
    if id.len() > CHANNEL_MAX {
        return Err(format!(
            "an id of {} characters is too long: at most {CHANNEL_MAX}",
            id.len()
        ));
    }
    Ok(())
}

fn each_once<'a>(mut names: impl Iterator<Item = &'a str>, what: &str) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match names.find(|name| !seen.insert(*name)) {
        Some(twice) => Err(format!("{twice:?} is given twice: {what} must be unique")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::check;

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
}
