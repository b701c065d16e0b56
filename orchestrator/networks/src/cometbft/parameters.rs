//! What a user may choose of a `CometBFT` network.

use crate::{
    ParameterErrors,
    parameters::{self, boolean, number},
};
use chainpool_api::{Parameter, Preset};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// The settled choices. Every field is a parameter of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// How many validators.
    pub(super) validators: u16,
    /// Milliseconds that a validator waits after a block before the next one.
    pub(super) block_interval_ms: u32,
    /// Whether blocks are made while no transaction waits.
    pub(super) empty_blocks: bool,
    /// Seconds between two empty blocks.
    pub(super) empty_block_interval_s: u32,
}

/// Four validators carry on without one of them. An idle ledger makes a block each ten seconds: few enough for a pool
/// of many, and enough for its height to be evidence.
impl Default for Parameters {
    fn default() -> Self {
        Self {
            validators: 4,
            block_interval_ms: 1000,
            empty_blocks: true,
            empty_block_interval_s: 10,
        }
    }
}

impl Parameters {
    /// Reads settled parameters back.
    pub(super) fn read(settled: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(settled)
    }

    /// The time after a block before the next one.
    pub(super) fn block_interval(&self) -> Duration {
        Duration::from_millis(u64::from(self.block_interval_ms))
    }
}

/// The parameters as people see them; also the bounds that [`settle`] checks.
pub(super) fn parameters() -> Vec<Parameter> {
    let Parameters {
        validators,
        block_interval_ms,
        empty_blocks,
        empty_block_interval_s,
    } = Parameters::default();
    vec![
        number(
            "validators",
            "How many validators; it commits while more than two thirds take part.",
            validators.into(),
            1,
            16,
        ),
        number(
            "block_interval_ms",
            "Milliseconds from one block to the next while transactions wait.",
            block_interval_ms,
            100,
            60_000,
        ),
        boolean(
            "empty_blocks",
            "Make blocks while no transaction waits; without them a resting height is no evidence.",
            empty_blocks,
        ),
        number(
            "empty_block_interval_s",
            "Seconds from one empty block to the next, on top of the block interval; 0: no longer than other blocks.",
            empty_block_interval_s,
            0,
            3600,
        ),
    ]
}

/// Named sets of parameters. Each differs from the defaults in what it says.
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
        preset("default", "Four validators: commits without one of them.", 4),
        preset(
            "single",
            "One validator: the smallest ledger, for a first try.",
            1,
        ),
        preset("large", "Seven validators: commits without two of them.", 7),
    ]
}

/// Puts what was given on top of the preset and checks it, all fields at once.
pub(super) fn settle(preset: &str, given: &Map<String, Value>) -> Result<Value, ParameterErrors> {
    parameters::settle(
        "cometbft",
        &parameters(),
        &presets(),
        preset,
        given,
        |_, _| Ok(()),
        |_| BTreeMap::new(),
    )
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
    fn every_preset_settles_to_all_parameters() {
        for preset in presets() {
            let settled = settle(&preset.name, &Map::new()).expect("a preset is valid");
            let names: Vec<_> = settled.as_object().expect("an object").keys().cloned().collect();
            let mut known: Vec<_> = parameters().into_iter().map(|p| p.name).collect();
            known.sort();
            let mut sorted = names.clone();
            sorted.sort();
            assert_eq!(sorted, known);
            assert!(Parameters::read(&settled).is_ok());
            for parameter in parameters() {
                check(&parameter, &settled[&parameter.name]).expect("a preset's value is valid");
            }
        }
    }

    #[test]
    fn the_default_preset_is_the_default() {
        assert_eq!(
            settle("default", &Map::new()).expect("valid"),
            json!(Parameters::default())
        );
    }

    #[test]
    fn what_was_given_wins_over_the_preset() {
        let settled = settle(
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
        assert_eq!(Parameters::read(&settled).expect("readable"), expected);
    }

    #[test]
    fn each_wrong_value_is_named_with_what_would_do() {
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
                "is not a parameter of cometbft; there are: validators, block_interval_ms, empty_blocks, empty_block_interval_s",
            ),
        ];
        for (value, field, why) in cases {
            let errors = settle("default", &given(&value)).expect_err("must be refused");
            assert_eq!(errors.0, BTreeMap::from([(field.to_owned(), why.to_owned())]));
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let errors =
            settle("huge", &given(&json!({"validators": 0, "colour": "red"}))).expect_err("must be refused");
        assert_eq!(
            errors.0.keys().collect::<Vec<_>>(),
            ["colour", "preset", "validators"]
        );
        assert_eq!(
            errors.0["preset"],
            "\"huge\" is not known; use one of: default, single, large"
        );
    }

    proptest! {
        #[test]
        fn what_settles_can_be_read(validators in -2i64..20, interval in 0i64..70_000, empty: bool, every in -1i64..4000) {
            let asked = given(&json!({
                "validators": validators, "block_interval_ms": interval, "empty_blocks": empty, "empty_block_interval_s": every,
            }));
            let fits = (1..=16).contains(&validators) && (100..=60_000).contains(&interval) && (0..=3600).contains(&every);
            let settled = settle("default", &asked);
            prop_assert_eq!(settled.is_ok(), fits);
            if let Ok(settled) = settled {
                prop_assert!(Parameters::read(&settled).is_ok());
            }
        }
    }
}
