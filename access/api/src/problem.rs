//! The one body of every refusal.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Why a request was refused and what to do next. Nothing was changed, but for `timed_out`: look first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// A closed word for programs, such as `host_not_empty`.
    pub code: String,
    /// For people: what is wrong and what to do next.
    pub message: String,
    /// What is wrong with which field, by its path in the request.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Names this request in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
