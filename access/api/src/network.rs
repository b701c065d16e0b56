//! Network types: what can be made, and with which parameters.

use crate::text_enum::text_enum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

text_enum! {
    /// What a parameter's value is.
    ParameterKind {
        /// A whole number.
        Integer = "integer",
        /// Yes or no.
        Boolean = "boolean",
        /// A text.
        Text = "text",
        /// A list of texts.
        List = "list",
    }
}

/// One parameter of a network type: the form, the CLI's help and the checks come from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is for, with its unit.
    pub about: String,
    /// What its value is.
    pub kind: ParameterKind,
    /// Its value when absent.
    pub default: serde_json::Value,
    /// The least value of a number; the least length of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// The greatest value of a number; the greatest length of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// The words of which a text is one; empty where any will do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
    /// Whether it may change while a network runs.
    #[serde(default)]
    pub amendable: bool,
}

/// A named set of parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// What it is good for.
    pub about: String,
    /// Its parameters.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
}

/// A kind of blockchain network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NetworkType {
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// The ledger software's version line.
    pub version: String,
    /// How its nodes agree.
    pub consensus: String,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Its presets.
    pub presets: Vec<Preset>,
    /// Whether it has certificates, which can be renewed while a network runs.
    #[serde(default)]
    pub certificates: bool,
    /// The images that it runs, in order of preference, by role. A role's name is like no other type's.
    pub images: BTreeMap<String, Vec<String>>,
}
