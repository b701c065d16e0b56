//! The namespace of one generation of a cluster: its network.

use crate::{
    KubernetesAgent,
    apply::{MANAGER, labels_of},
    remove::why_it_stays,
    server::{CALL, SETTLE, look_again},
    whole,
};
use chainpool_agent::{ClusterKey, Error, Labels, NetworkSpec, Result, network_name};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    ResourceExt,
    api::{Api, PostParams},
};
use tokio::time::Instant;

impl KubernetesAgent {
    /// Makes the namespace, restricted and closed. A subnet is not ours to choose there.
    pub(crate) async fn namespace_ensure(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()> {
        if let Some(subnet) = network.subnet {
            return Err(Error::Unsupported(format!(
                "take {subnet}: the addresses of pods are the cluster's own"
            )));
        }
        self.namespace_make(&whole::namespace(self.instance, key)).await?;
        let (policy, budget) = (
            whole::closing_policy(self.instance, key),
            whole::budget(self.instance, key),
        );
        tokio::try_join!(self.server.apply(&policy), self.server.apply(&budget))?;
        Ok(())
    }

    /// Makes a namespace, or sees that ours is there. One that is going is waited for: its name is free after.
    pub(crate) async fn namespace_make(&self, wanted: &Namespace) -> Result<()> {
        let name = wanted.name_any();
        let deadline = Instant::now() + SETTLE;
        let api: Api<Namespace> = self.server.all()?;
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        loop {
            match self.server.call(CALL, api.create(&params, wanted)).await {
                Ok(_) => return Ok(()),
                Err(fault) if fault.is_taken() => {}
                Err(fault) => return Err(fault.into_error(&format!("make the namespace {name}"))),
            }
            let found = self
                .server
                .call(CALL, api.get_opt(&name))
                .await
                .map_err(|f| f.into_error(&format!("show the namespace {name}")))?;
            let why = found.as_ref().map_or_else(String::new, why_it_stays);
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
            if !look_again(deadline).await {
                return Err(Error::Busy(format!(
                    "the namespace {name} is still being removed{why}"
                )));
            }
        }
    }

    /// Whether the namespace is there; one of that name that is not ours is an error.
    pub(crate) async fn namespace_find(&self, key: &ClusterKey) -> Result<bool> {
        let name = network_name(key);
        let api: Api<Namespace> = self.server.all()?;
        let found = self
            .server
            .call(CALL, api.get_opt(&name))
            .await
            .map_err(|f| f.into_error(&format!("show the namespace {name}")))?;
        match found {
            None => Ok(false),
            Some(found) if labels_of(&found) == Some(Labels::of_cluster(self.instance, key)) => Ok(true),
            Some(_) => Err(Error::Foreign(format!("namespace {name}"))),
        }
    }
}
