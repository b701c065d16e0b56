//! Validation of parameters by Fabric's rules.

use crate::{
    ParameterErrors,
    fabric::parameters::{
        chaincode::Chaincode,
        consensus::Consensus,
        describe::{parameters, presets},
        version::Version,
    },
    parameters,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Fabric 2.5: `common/configtx/validator.go`, `MaxLength`.
const CHANNEL_MAX: usize = 249;

/// Merges the given parameters into the preset and validates all of them.
pub(crate) fn validate(preset: &str, given: &Map<String, Value>) -> Result<Value, ParameterErrors> {
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
pub(super) fn rule(name: &str, value: &Value) -> Result<(), String> {
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
pub(super) fn compatibility(validated: &Value) -> BTreeMap<String, String> {
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
