//! A pool of one Fabric network: committed to by its bundle, released, and another one for the next holder.

use crate::holder::Holder;
use anyhow::{Result, ensure};
use chainpool_api::{HealthState, Operation};
use chainpool_tests::{Bed, CHAINCODE, Options};
use serde_json::json;
use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_commits_by_its_bundle_and_the_next_holder_gets_another() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let body = json!({"name": "fab", "network_type": "fabric", "preset": "standard", "parameters": {"chaincodes": [CHAINCODE]}});
    let create: Operation = bed.api.post("/clusters", body).await?;
    bed.done(&create).await?;
    let cluster = bed
        .cluster_when(bed.cluster("fab").await?.id, "offered", |now| now.offered)
        .await?;
    ensure!(
        cluster.health.state == HealthState::Healthy && cluster.proof.is_some(),
        "{cluster:?}"
    );

    let first = Holder::apply(&bed).await?;
    first.put("org1", "satoshi").await?;
    first.must_have("org2", "satoshi").await?;
    bed.released(&first.lease).await?;

    bed.all_offered().await?;
    let second = Holder::apply(&bed).await?;
    ensure!(
        second.lease.cluster_id == first.lease.cluster_id,
        "there is but one"
    );
    let is_credential = |name: &str| {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "pem")
    };
    let again =
        |name: &String, text: &String| is_credential(name) && first.bundle.files.get(name) == Some(text);
    let shared: Vec<_> = second
        .bundle
        .files
        .iter()
        .filter(|(name, text)| again(name, text))
        .map(|(name, _)| name)
        .collect();
    ensure!(
        shared.is_empty(),
        "the next network has {} keys and certificates of the one before: {shared:?}",
        shared.len()
    );
    ensure!(
        second
            .transact(&["org1", "evaluate", "get", "name"])
            .await
            .is_err(),
        "the first holder's value is in the second network"
    );
    bed.end().await
}
