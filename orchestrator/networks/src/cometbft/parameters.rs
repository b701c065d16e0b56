//! Parameters of `CometBFT` networks.

use crate::{
    ParameterErrors,
    parameters::{self, boolean, list, number},
};
use chainpool_api::{Parameter, Preset};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Validated parameters. Every field is a parameter of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Parameters {
    /// Number of validators.
    pub(super) validators: u16,
    /// Milliseconds between a block and the next one.
    pub(super) block_interval_ms: u32,
    /// Produce blocks without transactions.
    pub(super) empty_blocks: bool,
    /// Seconds between two empty blocks.
    pub(super) empty_block_interval_s: u32,
    /// Origins whose pages may call the RPC port in a browser.
    pub(super) cors_origins: Vec<String>,
    /// Connections that each validator's RPC port accepts at once.
    pub(super) max_open_connections: u32,
}

/// Four validators tolerate the failure of one. An idle ledger produces a block every ten seconds: few enough
/// for a large pool, and enough for its height to be evidence.
impl Default for Parameters {
    fn default() -> Self {
        Self {
            validators: 4,
            block_interval_ms: 1000,
            empty_blocks: true,
            empty_block_interval_s: 10,
            cors_origins: vec![],
            max_open_connections: 900,
        }
    }
}

impl Parameters {
    /// Parses validated parameters.
    pub(super) fn read(validated: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(validated)
    }

    /// How long `broadcast_tx_commit` waits for the block of its transaction: the transaction may just miss a block.
    pub(super) fn commit_timeout(&self) -> Duration {
        COMMIT_TIMEOUT + 2 * self.block_interval()
    }

    /// Time between a block and the next one.
    pub(super) fn block_interval(&self) -> Duration {
        Duration::from_millis(u64::from(self.block_interval_ms))
    }
}

/// The program's default timeout of `broadcast_tx_commit`.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Public descriptions of the parameters with the bounds that [`validate`] checks.
pub(super) fn parameters() -> Vec<Parameter> {
    let Parameters {
        validators,
        block_interval_ms,
        empty_blocks,
        empty_block_interval_s,
        cors_origins,
        max_open_connections,
    } = Parameters::default();
    vec![
        number(
            "validators",
            "Number of validators; the ledger commits while more than two thirds participate.",
            validators.into(),
            1,
            16,
        ),
        number(
            "block_interval_ms",
            "Milliseconds between blocks while transactions are pending.",
            block_interval_ms,
            100,
            60_000,
        ),
        boolean(
            "empty_blocks",
            "Produce blocks without transactions; if disabled, a constant height is no evidence of a stall.",
            empty_blocks,
        ),
        number(
            "empty_block_interval_s",
            "Seconds between empty blocks, on top of the block interval; 0 adds none.",
            empty_block_interval_s,
            0,
            3600,
        ),
        list(
            CORS_ORIGINS,
            "Origins whose pages may use the RPC port in a browser, such as https://app.example.org or *.",
            &cors_origins,
            0,
            20,
        ),
        number(
            "max_open_connections",
            "Connections that the RPC port of each validator accepts at once; health assessment has a port of its own.",
            max_open_connections,
            1,
            5000,
        ),
    ]
}

/// Presets.
pub(super) fn presets() -> Vec<Preset> {
    let preset = |name: &str, about: &str, validators: u16| {
        let parameters = Parameters {
            validators,
            ..Parameters::default()
        };
        Preset {
            name: name.to_owned(),
            about: about.to_owned(),
            parameters: json!(parameters),
        }
    };
    vec![
        preset("default", "Four validators: tolerates the failure of one.", 4),
        preset(
            "single",
            "One validator: the smallest ledger, for first experiments.",
            1,
        ),
        preset("large", "Seven validators: tolerates the failure of two.", 7),
    ]
}

/// Merges the given parameters into the preset and validates all of them.
pub(super) fn validate(preset: &str, given: &Map<String, Value>) -> Result<Value, ParameterErrors> {
    parameters::validate(
        "cometbft",
        &parameters(),
        &presets(),
        preset,
        given,
        check_origins,
        |_| BTreeMap::new(),
    )
}

const CORS_ORIGINS: &str = "cors_origins";

/// Checks the form of each origin: `*`, or a scheme and a host with an optional port, without a path.
fn check_origins(name: &str, value: &Value) -> Result<(), String> {
    if name != CORS_ORIGINS {
        return Ok(());
    }
    let is_origin = |text: &str| {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let is_host = |host: &str| {
            !host.is_empty()
                && host
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._:[]*".contains(c))
        };
        text == "*" || (text.len() <= 300 && text.matches('*').count() <= 1 && host.is_some_and(is_host))
    };
    let origins = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    match origins.into_iter().find(|origin| !is_origin(origin)) {
        Some(origin) => Err(format!(
            "must be origins such as https://app.example.org, http://localhost:3000 or *, not {origin:?}"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::check;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn given(value: &Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn every_preset_validates_to_all_parameters() {
        for preset in presets() {
            let validated = validate(&preset.name, &Map::new()).expect("a preset is valid");
            let names: Vec<_> = validated
                .as_object()
                .expect("an object")
                .keys()
                .cloned()
                .collect();
            let mut known: Vec<_> = parameters().into_iter().map(|p| p.name).collect();
            known.sort();
            let mut sorted = names.clone();
            sorted.sort();
            assert_eq!(sorted, known);
            assert!(Parameters::read(&validated).is_ok());
            for parameter in parameters() {
                check(&parameter, &validated[&parameter.name]).expect("a preset's value is valid");
            }
        }
    }

    #[test]
    fn the_default_preset_is_the_default() {
        assert_eq!(
            validate("default", &Map::new()).expect("valid"),
            json!(Parameters::default())
        );
    }

    #[test]
    fn given_parameters_override_the_preset() {
        let validated = validate(
            "single",
            &given(&json!({"block_interval_ms": 100, "empty_blocks": false})),
        )
        .expect("valid");
        let expected = Parameters {
            validators: 1,
            block_interval_ms: 100,
            empty_blocks: false,
            ..Parameters::default()
        };
        assert_eq!(Parameters::read(&validated).expect("readable"), expected);
    }

    #[test]
    fn each_invalid_value_is_an_error_with_the_allowed_values() {
        let cases = [
            (
                json!({"validators": 0}),
                "validators",
                "must be a whole number from 1 to 16, not 0",
            ),
            (
                json!({"validators": 17}),
                "validators",
                "must be a whole number from 1 to 16, not 17",
            ),
            (
                json!({"validators": "4"}),
                "validators",
                "must be a whole number from 1 to 16, not \"4\"",
            ),
            (
                json!({"validators": 4.5}),
                "validators",
                "must be a whole number from 1 to 16, not 4.5",
            ),
            (
                json!({"validators": null}),
                "validators",
                "must be a whole number from 1 to 16, not null",
            ),
            (
                json!({"block_interval_ms": 99}),
                "block_interval_ms",
                "must be a whole number from 100 to 60000, not 99",
            ),
            (
                json!({"block_interval_ms": u64::MAX}),
                "block_interval_ms",
                "must be a whole number from 100 to 60000, not 18446744073709551615",
            ),
            (
                json!({"empty_blocks": 1}),
                "empty_blocks",
                "must be true or false, not 1",
            ),
            (
                json!({"empty_block_interval_s": 3601}),
                "empty_block_interval_s",
                "must be a whole number from 0 to 3600, not 3601",
            ),
            (
                json!({"validatorz": 4}),
                "validatorz",
                "is not a parameter of cometbft; use one of: validators, block_interval_ms, empty_blocks, empty_block_interval_s, cors_origins, max_open_connections",
            ),
            (
                json!({"cors_origins": ["https://app.example.org/path"]}),
                "cors_origins",
                "must be origins such as https://app.example.org, http://localhost:3000 or *, not \"https://app.example.org/path\"",
            ),
            (
                json!({"cors_origins": ["*", "https://a\"b"]}),
                "cors_origins",
                "must be origins such as https://app.example.org, http://localhost:3000 or *, not \"https://a\\\"b\"",
            ),
            (
                json!({"max_open_connections": 0}),
                "max_open_connections",
                "must be a whole number from 1 to 5000, not 0",
            ),
        ];
        for (value, field, why) in cases {
            let errors = validate("default", &given(&value)).expect_err("must be refused");
            assert_eq!(errors.0, BTreeMap::from([(field.to_owned(), why.to_owned())]));
        }
    }

    #[test]
    fn parameters_of_an_older_cluster_have_the_defaults_of_newer_ones() {
        let stored = json!({
            "validators": 1, "block_interval_ms": 500, "empty_blocks": false, "empty_block_interval_s": 7,
        });
        let expected = Parameters {
            validators: 1,
            block_interval_ms: 500,
            empty_blocks: false,
            empty_block_interval_s: 7,
            ..Parameters::default()
        };
        assert_eq!(Parameters::read(&stored).expect("readable"), expected);
    }

    #[test]
    fn every_form_of_an_origin_is_accepted() {
        let origins = [
            "*",
            "https://app.example.org",
            "http://localhost:3000",
            "http://[::1]:80",
            "https://*.example.org",
        ];
        let validated = validate("default", &given(&json!({ "cors_origins": origins }))).expect("valid");
        assert_eq!(
            Parameters::read(&validated).expect("readable").cors_origins,
            origins
        );
    }

    #[test]
    fn a_commit_is_waited_for_longer_than_two_blocks_take() {
        let timeout = |block_interval_ms| {
            let parameters = Parameters {
                block_interval_ms,
                ..Parameters::default()
            };
            parameters.commit_timeout().as_secs()
        };
        assert_eq!([100, 1000, 30_000, 60_000].map(timeout), [10, 12, 70, 130]);
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let errors = validate("huge", &given(&json!({"validators": 0, "colour": "red"})))
            .expect_err("must be refused");
        assert_eq!(
            errors.0.keys().collect::<Vec<_>>(),
            ["colour", "preset", "validators"]
        );
        assert_eq!(
            errors.0["preset"],
            "unknown preset \"huge\"; use one of: default, single, large"
        );
    }

    proptest! {
        #[test]
        fn validated_parameters_can_be_parsed(validators in -2i64..20, interval in 0i64..70_000, empty: bool, every in -1i64..4000) {
            let asked = given(&json!({
                "validators": validators, "block_interval_ms": interval, "empty_blocks": empty, "empty_block_interval_s": every,
            }));
            let fits = (1..=16).contains(&validators) && (100..=60_000).contains(&interval) && (0..=3600).contains(&every);
            let validated = validate("default", &asked);
            prop_assert_eq!(validated.is_ok(), fits);
            if let Ok(validated) = validated {
                prop_assert!(Parameters::read(&validated).is_ok());
            }
        }
    }
}
