//! Network types, their parameters and presets.

use crate::text_enum::text_enum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

text_enum! {
    /// Type of a parameter.
    ParameterKind {
        /// A whole number.
        Integer = "integer",
        /// `true` or `false`.
        Boolean = "boolean",
        /// A string.
        Text = "text",
        /// A list of strings.
        List = "list",
    }
}

/// One parameter of a network type; source of the dashboard's form, the CLI's help and the validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// Description, with the unit.
    pub about: String,
    /// Type.
    pub kind: ParameterKind,
    /// Default value.
    pub default: serde_json::Value,
    /// Minimum value of a number; minimum length of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// Maximum value of a number; maximum length of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// Allowed strings; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
    /// `true` if a running cluster can change it.
    #[serde(default)]
    pub amendable: bool,
}

/// A named set of parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Preset {
    /// Name.
    pub name: String,
    /// Description.
    pub about: String,
    /// Parameters.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
}

/// A kind of blockchain network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NetworkType {
    /// Name.
    pub name: String,
    /// Description.
    pub about: String,
    /// Version line of the ledger software.
    pub version: String,
    /// Consensus protocol.
    pub consensus: String,
    /// Parameters.
    pub parameters: Vec<Parameter>,
    /// Presets.
    pub presets: Vec<Preset>,
    /// `true` if it has certificates, which a running cluster can renew.
    #[serde(default)]
    pub certificates: bool,
    /// Images by role, in order of preference. Role names are unique across types.
    pub images: BTreeMap<String, Vec<String>>,
}
