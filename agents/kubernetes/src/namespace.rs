//! The namespace of one generation of a cluster, which is its network.

use crate::{
    KubernetesAgent,
    apply::{FIELD_MANAGER, labels_of},
    namespace_objects,
    remove::deletion_blocker_text,
    server::{CALL, SETTLE, already_exists, wait_for_retry},
};
use chainpool_agent::{ClusterKey, Error, Labels, NetworkSpec, Result, network_name};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    ResourceExt,
    api::{Api, PostParams},
};
use tokio::time::Instant;

impl KubernetesAgent {
    /// Creates the restricted, isolated namespace. Kubernetes does not allow a choice of subnet.
    pub(crate) async fn namespace_ensure(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()> {
        if let Some(subnet) = network.subnet {
            return Err(Error::Unsupported(format!(
                "use subnet {subnet}: the Kubernetes cluster assigns pod addresses"
            )));
        }
        self.namespace_create(&namespace_objects::namespace(self.instance, key))
            .await?;
        let (policy, budget) = (
            namespace_objects::isolation_policy(self.instance, key),
            namespace_objects::budget(self.instance, key),
        );
        tokio::try_join!(self.server.apply(&policy), self.server.apply(&budget))?;
        Ok(())
    }

    /// Creates a namespace, or finds the existing one of ours. Waits while an old one is being deleted.
    pub(crate) async fn namespace_create(&self, wanted: &Namespace) -> Result<()> {
        let name = wanted.name_any();
        let deadline = Instant::now() + SETTLE;
        let api: Api<Namespace> = self.server.all()?;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        loop {
            match self.server.call(CALL, api.create(&params, wanted)).await {
                Ok(_) => return Ok(()),
                Err(error) if already_exists(&error) => {}
                Err(error) => return Err(error.into_error(&format!("create the namespace {name}"))),
            }
            let found = self
                .server
                .call(CALL, api.get_opt(&name))
                .await
                .map_err(|f| f.into_error(&format!("get the namespace {name}")))?;
            let blocker = found.as_ref().map_or_else(String::new, deletion_blocker_text);
            match found {
                Some(found)
                    if wanted
                        .labels()
                        .iter()
                        .any(|(name, value)| found.labels().get(name) != Some(value)) =>
                {
                    return Err(Error::Foreign(format!("namespace {name}")));
                }
                Some(found) if found.metadata.deletion_timestamp.is_none() => return Ok(()),
                _ => {}
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!(
                    "the namespace {name} is still being deleted{blocker}"
                )));
            }
        }
    }

    /// Returns true if the namespace exists. A foreign namespace of that name is an error.
    pub(crate) async fn namespace_find(&self, key: &ClusterKey) -> Result<bool> {
        let name = network_name(key);
        let api: Api<Namespace> = self.server.all()?;
        let found = self
            .server
            .call(CALL, api.get_opt(&name))
            .await
            .map_err(|f| f.into_error(&format!("get the namespace {name}")))?;
        match found {
            None => Ok(false),
            Some(found) if labels_of(&found) == Some(Labels::of_cluster(self.instance, key)) => Ok(true),
            Some(_) => Err(Error::Foreign(format!("namespace {name}"))),
        }
    }
}
