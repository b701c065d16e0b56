//! What the agent may, and what its nodes may.

use crate::yard::{ANY, Yard, key};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{Agent, network_name};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Pod, Secret},
    rbac::v1::ClusterRole,
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

fn denied<T>(result: Result<T, kube::Error>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 403)
}

/// The rights under which all these tests run reach no further than they must.
pub(crate) async fn what_rbac_does_not_give_is_denied(yard: &Yard<'_>) -> Result<()> {
    let mut config = Config::from_custom_kubeconfig(
        Kubeconfig::from_yaml(&yard.bed.kubeconfig)?,
        &KubeConfigOptions::default(),
    )
    .await?;
    config.cluster_url = yard.bed.address.parse()?;
    let ours = Client::try_from(config)?;
    let all = ListParams::default();
    ensure!(
        Api::<Namespace>::all(ours.clone()).list(&all).await.is_ok(),
        "the account is not the agent's"
    );
    ensure!(
        denied(Api::<Secret>::all(ours.clone()).list(&all).await),
        "it may list secrets"
    );
    ensure!(
        denied(
            Api::<Secret>::namespaced(ours.clone(), "kube-system")
                .get("any")
                .await
        ),
        "it may read secrets"
    );
    ensure!(
        denied(Api::<ConfigMap>::all(ours.clone()).list(&all).await),
        "it may list config maps"
    );
    ensure!(
        denied(Api::<ClusterRole>::all(ours.clone()).list(&all).await),
        "it may list roles"
    );
    let role = serde_json::from_value(json!({ "metadata": { "name": "chainpool-test" }, "rules": [] }))?;
    ensure!(
        denied(
            Api::<ClusterRole>::all(ours.clone())
                .create(&PostParams::default(), &role)
                .await
        ),
        "it may make roles"
    );
    let exec = Api::<Pod>::namespaced(ours, "kube-system")
        .delete_collection(&DeleteParams::default(), &all)
        .await;
    ensure!(denied(exec), "it may remove all pods at once");
    Ok(())
}

/// Restricted Pod Security is the server's word, not only ours.
pub(crate) async fn the_namespace_refuses_privileges(yard: &Yard<'_>) -> Result<()> {
    let key = key();
    yard.agent.ensure_network(&key, &ANY).await?;
    let namespace = Api::<Namespace>::all(yard.bed.admin.clone())
        .get(&network_name(&key))
        .await?;
    let labels = namespace.metadata.labels.context("labels")?;
    ensure!(
        labels
            .get("pod-security.kubernetes.io/enforce")
            .is_some_and(|level| level == "restricted"),
        "{labels:?}"
    );
    let pod = json!({ "metadata": { "name": "root" }, "spec": { "containers": [{ "name": "c", "image": yard.image.name }] } });
    let made = yard
        .api::<Pod>(&key)
        .create(&PostParams::default(), &serde_json::from_value(pod)?)
        .await;
    ensure!(
        matches!(&made, Err(kube::Error::Api(status)) if status.message.contains("restricted")),
        "{made:?}"
    );
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}
