//! The storage class of volumes.

use crate::{KubernetesAgent, server::CALL};
use chainpool_agent::{Error, Result};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::{ResourceExt, api::ListParams};

/// Says which class is the cluster's default.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

impl KubernetesAgent {
    /// The class that volumes are made in: the connection's, else the cluster's default. One that keeps data after the
    /// claim is gone is refused: what a holder wrote would outlive the release.
    pub(crate) async fn storage_class(&self) -> Result<String> {
        let Some(class) = self.storage_class_find().await? else {
            return Err(Error::Refused(match &self.storage_class {
                Some(name) => {
                    format!("the cluster has no storage class {name:?}: make it, or give the host another")
                }
                None => {
                    "the cluster has no default storage class: give the host one of its classes".to_owned()
                }
            }));
        };
        if class
            .reclaim_policy
            .as_deref()
            .is_some_and(|policy| policy != "Delete")
        {
            return Err(Error::Refused(format!(
                "the storage class {} keeps data after its volume is removed (reclaim policy {}): give the host a class that deletes it",
                class.name_any(),
                class.reclaim_policy.unwrap_or_default()
            )));
        }
        Ok(class.name_any())
    }

    pub(crate) async fn storage_class_find(&self) -> Result<Option<StorageClass>> {
        let api = self.server.all::<StorageClass>()?;
        let list = self
            .server
            .call(CALL, api.list(&ListParams::default()))
            .await
            .map_err(|f| f.into_error("list its storage classes"))?;
        Ok(list.items.into_iter().find(|class| match &self.storage_class {
            Some(name) => class.name_any() == *name,
            None => class
                .annotations()
                .get(DEFAULT)
                .is_some_and(|value| value == "true"),
        }))
    }
}
