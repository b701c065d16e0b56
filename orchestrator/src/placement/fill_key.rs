//! Identity and name of a fill entry.

use chainpool_api as api;

/// Identifies a fill entry; a changed entry has another key and no failures.
pub(crate) fn fill_key(entry: &api::Fill) -> String {
    serde_json::json!([entry.network_type, entry.preset, entry.parameters]).to_string()
}

/// The human-readable name of a fill entry.
pub(crate) fn entry_name(entry: &api::Fill) -> String {
    let parameters = entry
        .parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(", ");
    let with = if parameters.is_empty() {
        String::new()
    } else {
        format!(" with {parameters}")
    };
    format!("{} {}{with}", entry.network_type, entry.preset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_a_human_readable_name() {
        let mut entry = api::Fill {
            network_type: "cometbft".into(),
            preset: "single".into(),
            share: 1,
            parameters: serde_json::Map::new(),
        };
        assert_eq!(entry_name(&entry), "cometbft single");
        entry.parameters.insert("block_interval_ms".into(), 500.into());
        assert_eq!(entry_name(&entry), "cometbft single with block_interval_ms=500");
    }
}
