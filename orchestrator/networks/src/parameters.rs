//! Parameters of any network type: descriptions and validation.

use crate::ParameterErrors;
use chainpool_api::{Parameter, ParameterKind, Preset};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An integer parameter.
pub(crate) fn number(name: &str, about: &str, default: u32, min: i64, max: i64) -> Parameter {
    parameter(
        name,
        about,
        ParameterKind::Integer,
        json!(default),
        Some((min, max)),
    )
}

/// A parameter with a list of strings.
pub(crate) fn list(name: &str, about: &str, default: &[String], min: i64, max: i64) -> Parameter {
    parameter(name, about, ParameterKind::List, json!(default), Some((min, max)))
}

/// A parameter with a choice of values.
pub(crate) fn word(name: &str, about: &str, default: &str, words: &[&str]) -> Parameter {
    let one_of = words.iter().map(|word| (*word).to_owned()).collect();
    Parameter {
        one_of,
        ..parameter(name, about, ParameterKind::Text, json!(default), None)
    }
}

/// A boolean parameter.
pub(crate) fn boolean(name: &str, about: &str, default: bool) -> Parameter {
    parameter(name, about, ParameterKind::Boolean, json!(default), None)
}

fn parameter(
    name: &str,
    about: &str,
    kind: ParameterKind,
    default: Value,
    range: Option<(i64, i64)>,
) -> Parameter {
    let (min, max) = range.unzip();
    Parameter {
        name: name.to_owned(),
        about: about.to_owned(),
        kind,
        default,
        min,
        max,
        one_of: vec![],
        amendable: false,
    }
}

/// Makes a parameter amendable in a running network.
pub(crate) fn amendable(parameter: Parameter) -> Parameter {
    Parameter {
        amendable: true,
        ..parameter
    }
}

/// Merges the given parameters into the preset and the defaults and validates all of them. `rule` checks the
/// type's rules for a value of valid kind and range. `compatibility` returns errors of combinations by
/// parameter.
pub(crate) fn validate(
    network_type: &str,
    parameters: &[Parameter],
    presets: &[Preset],
    preset: &str,
    given: &Map<String, Value>,
    rule: impl Fn(&str, &Value) -> Result<(), String>,
    compatibility: impl Fn(&Value) -> BTreeMap<String, String>,
) -> Result<Value, ParameterErrors> {
    let mut errors = BTreeMap::new();
    let found = presets.iter().find(|p| p.name == preset);
    let mut validated = found.map_or_else(|| json!({}), |preset| preset.parameters.clone());
    if found.is_none() {
        let known = listed(presets.iter().map(|p| &p.name));
        errors.insert(
            "preset".to_owned(),
            format!("unknown preset {preset:?}; use one of: {known}"),
        );
    }
    for (name, value) in given {
        let unknown = || {
            format!(
                "is not a parameter of {network_type}; use one of: {}",
                listed(parameters.iter().map(|p| &p.name))
            )
        };
        let parameter = parameters.iter().find(|p| &p.name == name).ok_or_else(unknown);
        let checked = parameter.and_then(|parameter| {
            let value = coerced(parameter, value);
            check(parameter, &value)
                .and_then(|()| rule(name, &value))
                .map(|()| value)
        });
        match checked {
            Ok(value) => validated[name] = value,
            Err(why) => {
                errors.insert(name.clone(), why);
            }
        }
    }
    if found.is_some() {
        let unnamed: Vec<&Parameter> = parameters
            .iter()
            .filter(|parameter| validated.get(&parameter.name).is_none())
            .collect();
        for parameter in unnamed {
            validated[&parameter.name] = parameter.default.clone();
        }
    }
    for (name, why) in compatibility(&validated) {
        errors.entry(name).or_insert(why);
    }
    if errors.is_empty() {
        Ok(validated)
    } else {
        Err(ParameterErrors(errors))
    }
}

/// Accepts a number for a string parameter: command lines send `version=3.1` as a number.
fn coerced(parameter: &Parameter, value: &Value) -> Value {
    match (parameter.kind, value) {
        (ParameterKind::Text, Value::Number(number)) => Value::String(number.to_string()),
        _ => value.clone(),
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Checks kind and range of a value.
pub(crate) fn check(parameter: &Parameter, value: &Value) -> Result<(), String> {
    let (fits, expected) = match (parameter.kind, parameter.min, parameter.max) {
        (ParameterKind::Integer, Some(min), Some(max)) => (
            value.as_i64().is_some_and(|n| (min..=max).contains(&n)),
            format!("a whole number from {min} to {max}"),
        ),
        (ParameterKind::List, Some(min), Some(max)) => {
            let fits = |list: &Vec<Value>| {
                list.iter().all(Value::is_string)
                    && i64::try_from(list.len()).is_ok_and(|length| (min..=max).contains(&length))
            };
            (
                value.as_array().is_some_and(fits),
                format!("a list of {min} to {max} strings"),
            )
        }
        (ParameterKind::Boolean, ..) => (value.is_boolean(), "true or false".to_owned()),
        (ParameterKind::List, ..) => (
            value
                .as_array()
                .is_some_and(|list| list.iter().all(Value::is_string)),
            "a list of strings".to_owned(),
        ),
        (ParameterKind::Integer, ..) => (value.as_i64().is_some(), "a whole number".to_owned()),
        (ParameterKind::Text, ..) if parameter.one_of.is_empty() => {
            (value.is_string(), "a string".to_owned())
        }
        (ParameterKind::Text, ..) => (
            value
                .as_str()
                .is_some_and(|text| parameter.one_of.iter().any(|word| word == text)),
            parameter.one_of.join(" or "),
        ),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("must be {expected}, not {value}"))
    }
}
