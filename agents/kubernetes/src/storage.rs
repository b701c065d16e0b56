//! The storage class of volumes.

use crate::{KubernetesAgent, server::CALL};
use chainpool_agent::{Error, Result};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::{ResourceExt, api::ListParams};

/// Annotation of the default class.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

impl KubernetesAgent {
    /// The class of volumes: the connection's, else the cluster's default. Refuses a class that keeps data
    /// after deletion of the claim, because data of a lease holder must not outlive the release.
    pub(crate) async fn storage_class(&self) -> Result<String> {
        let Some(class) = self.storage_class_find().await? else {
            return Err(Error::Refused(match &self.storage_class {
                Some(name) => {
                    format!(
                        "the cluster has no storage class {name:?}: create it, or set another for the host"
                    )
                }
                None => {
                    "the cluster has no default storage class: set one of its classes for the host".to_owned()
                }
            }));
        };
        if class
            .reclaim_policy
            .as_deref()
            .is_some_and(|policy| policy != "Delete")
        {
            return Err(Error::Refused(format!(
                "the storage class {} keeps data after deletion of the claim (reclaim policy {}): set a class with reclaim policy Delete for the host",
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
            .map_err(|f| f.into_error("list storage classes"))?;
        Ok(list.items.into_iter().find(|class| match &self.storage_class {
            Some(name) => class.name_any() == *name,
            None => class
                .annotations()
                .get(DEFAULT)
                .is_some_and(|value| value == "true"),
        }))
    }
}
