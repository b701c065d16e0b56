//! The body of every error response.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// An error and its remedy. The request changed nothing, except with `timed_out`: check the state before a
/// retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Machine-readable code, such as `host_not_empty`.
    pub code: String,
    /// Human-readable error and remedy.
    pub message: String,
    /// Errors of fields, by path in the request.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Id of the request in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
