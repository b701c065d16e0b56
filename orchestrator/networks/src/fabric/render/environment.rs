//! Environment variables of nodes.

use chainpool_agent::Variable;
use chainpool_api::LogLevel;
use std::collections::BTreeMap;

pub(crate) fn environment<'a>(
    settings: impl IntoIterator<Item = (&'a str, String)>,
) -> BTreeMap<String, Variable> {
    settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Variable::Plain(value)))
        .collect()
}

/// Fabric's name of a log level.
pub(crate) fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warning => "warning",
        LogLevel::Error => "error",
    }
}
