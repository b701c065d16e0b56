//! Label selectors of lists and watches.

use chainpool_agent::{ClusterId, InstanceId, LABEL_CLUSTER, LABEL_INSTANCE};
use kube::api::ListParams;

/// A label selector.
#[derive(Debug, Clone)]
pub(crate) struct Filter(String);

impl Filter {
    pub(crate) fn instance(instance: InstanceId) -> Self {
        Self(format!("{LABEL_INSTANCE}={instance}"))
    }

    pub(crate) fn cluster(instance: InstanceId, cluster: ClusterId) -> Self {
        Self::instance(instance).and(LABEL_CLUSTER, &cluster)
    }

    pub(crate) fn and(self, label: &str, value: &impl ToString) -> Self {
        Self(format!("{},{label}={}", self.0, value.to_string()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn params(&self) -> ListParams {
        ListParams::default().labels(&self.0)
    }
}
