//! Label filters as the engine's API takes them.

use chainpool_agent::LabelFilter;
use std::collections::HashMap;

/// A label filter as the query of a listing.
pub(crate) fn as_map(filter: &LabelFilter) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([("label", filter.terms().to_vec())])
}
