//! Permissions of the agent and of its nodes.

use crate::fixture::{ANY, Fixture, key};
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

/// The service account of all these tests has only the required permissions.
pub(crate) async fn permissions_outside_rbac_yaml_are_denied(fixture: &Fixture<'_>) -> Result<()> {
    let mut config = Config::from_custom_kubeconfig(
        Kubeconfig::from_yaml(&fixture.bed.kubeconfig)?,
        &KubeConfigOptions::default(),
    )
    .await?;
    config.cluster_url = fixture.bed.address.parse()?;
    let ours = Client::try_from(config)?;
    let all = ListParams::default();
    ensure!(
        Api::<Namespace>::all(ours.clone()).list(&all).await.is_ok(),
        "not the agent's service account"
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
        "it may create roles"
    );
    let deletion = Api::<Pod>::namespaced(ours, "kube-system")
        .delete_collection(&DeleteParams::default(), &all)
        .await;
    ensure!(denied(deletion), "it may delete pod collections");
    Ok(())
}

/// The API server enforces restricted Pod Security.
pub(crate) async fn the_namespace_rejects_privileged_pods(fixture: &Fixture<'_>) -> Result<()> {
    let key = key();
    fixture.agent.ensure_network(&key, &ANY).await?;
    let namespace = Api::<Namespace>::all(fixture.bed.admin.clone())
        .get(&network_name(&key))
        .await?;
    let labels = namespace.metadata.labels.context("labels")?;
    ensure!(
        labels
            .get("pod-security.kubernetes.io/enforce")
            .is_some_and(|level| level == "restricted"),
        "{labels:?}"
    );
    let pod = json!({ "metadata": { "name": "root" }, "spec": { "containers": [{ "name": "c", "image": fixture.image.name }] } });
    let created = fixture
        .api::<Pod>(&key)
        .create(&PostParams::default(), &serde_json::from_value(pod)?)
        .await;
    ensure!(
        matches!(&created, Err(kube::Error::Api(status)) if status.message.contains("restricted")),
        "{created:?}"
    );
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}
