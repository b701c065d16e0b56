//! Label filters as the API server takes them.

use chainpool_agent::LabelFilter;
use kube::api::ListParams;

/// A label filter as a label selector.
pub(crate) fn selector(filter: &LabelFilter) -> String {
    filter.terms().join(",")
}

/// A label filter as the parameters of a list.
pub(crate) fn params(filter: &LabelFilter) -> ListParams {
    ListParams::default().labels(&selector(filter))
}
