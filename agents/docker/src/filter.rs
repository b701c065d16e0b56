//! Label filters of listings and event streams.

use chainpool_agent::{ClusterId, InstanceId, LABEL_CLUSTER, LABEL_INSTANCE};
use std::collections::HashMap;

/// Label filters.
#[derive(Debug, Clone)]
pub(crate) struct Filter(Vec<String>);

impl Filter {
    pub(crate) fn instance(instance: InstanceId) -> Self {
        Self(vec![format!("{LABEL_INSTANCE}={instance}")])
    }

    pub(crate) fn cluster(instance: InstanceId, cluster: ClusterId) -> Self {
        Self::instance(instance).and(LABEL_CLUSTER, &cluster)
    }

    pub(crate) fn and(mut self, label: &str, value: &impl ToString) -> Self {
        self.0.push(format!("{label}={}", value.to_string()));
        self
    }

    pub(crate) fn as_map(&self) -> HashMap<&'static str, Vec<String>> {
        HashMap::from([("label", self.0.clone())])
    }
}
