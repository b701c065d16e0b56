//! Options and value parsers that verbs share.

use crate::duration;
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Options of every client verb.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server and output")]
pub(crate) struct Global {
    /// Print the API response as one JSON document
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[arg(help = "Server address, such as https://pool.example.org; default: the local server")]
    #[arg(long, global = true, env = "CHAINPOOL_SERVER", hide_env_values = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) server: Option<String>,
    #[arg(help = "File with an API token; default: CHAINPOOL_TOKEN, or the local administrator's token")]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// CA certificate of the server, in PEM; default: the system's CAs
    #[arg(long, global = true, env = "CHAINPOOL_SERVER_CA", hide_env_values = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) server_ca: Option<PathBuf>,
    /// Data folder of the local server
    #[arg(long, global = true, env = "CHAINPOOL_DATA", hide_env_values = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
}

/// Size of a list.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// Maximum number of items
    #[arg(long, default_value_t = 1000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

/// Options to wait for an operation.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitArgs {
    /// Wait for the operation to end and show its steps
    #[arg(long)]
    pub(crate) wait: bool,
    /// Maximum time to wait; the operation continues afterwards
    #[arg(long, requires = "wait", value_name = "TIME", value_parser = duration::seconds)]
    pub(crate) timeout: Option<u64>,
}

/// Option to skip a confirmation.
#[derive(Debug, Clone, Args)]
pub(crate) struct YesArgs {
    /// Skip the confirmation; required without a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// Parses `key=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("use the form KEY=VALUE".to_owned()),
    }
}

/// Parses `name=value` for a parameter of a network type. Numbers, booleans and lists of strings keep their
/// JSON type; everything else is a string.
pub(crate) fn parameter(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = pair(text)?;
    let value = match serde_json::from_str(&value) {
        Ok(plain @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) => plain,
        Ok(serde_json::Value::Array(list)) if list.iter().all(serde_json::Value::is_string) => list.into(),
        _ => serde_json::Value::String(value),
    };
    Ok((name, value))
}

/// A value parser for an enum of the API, which lists the values in help and completions.
macro_rules! enum_parser {
    ($name:ty) => {{
        use clap::builder::TypedValueParser as _;
        clap::builder::PossibleValuesParser::new(<$name>::ALL.iter().map(|value| value.as_str()))
            .try_map(|word| word.parse::<$name>())
    }};
}
pub(crate) use enum_parser;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbers_booleans_lists_or_strings() {
        use serde_json::json;
        for (text, value) in [
            ("a=7", json!(7)),
            ("a=true", json!(true)),
            ("a=500ms", json!("500ms")),
            ("a=", json!("")),
            ("a=[1]", json!("[1]")),
            (r#"a=["b","c"]"#, json!(["b", "c"])),
            ("a=[]", json!([])),
            ("a=null", json!("null")),
        ] {
            assert_eq!(parameter(text), Ok(("a".into(), value)), "{text}");
        }
        assert!(parameter("=7").is_err());
    }
}
