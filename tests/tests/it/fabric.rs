//! A pool of one Fabric network: transactions with its bundle, release, and a new network for the next
//! holder.

use crate::holder::Holder;
use anyhow::{Result, ensure};
use chainpool_api::{HealthState, Operation};
use chainpool_tests::{Bed, CHAINCODE, Options};
use serde_json::json;
use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_commits_with_its_bundle_and_the_next_holder_gets_a_new_network() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let body = json!({"name": "fab", "network_type": "fabric", "preset": "standard", "parameters": {"chaincodes": [CHAINCODE]}});
    let create: Operation = bed.api.post("/clusters", body).await?;
    bed.wait_succeeded(&create).await?;
    let cluster = bed
        .wait_for_cluster(bed.cluster("fab").await?.id, "offered", |now| now.offered)
        .await?;
    ensure!(
        cluster.health.state == HealthState::Healthy && cluster.proof.is_some(),
        "{cluster:?}"
    );

    let first = Holder::apply(&bed).await?;
    first.put("org1", "satoshi").await?;
    first.must_have("org2", "satoshi").await?;
    bed.release(&first.lease).await?;

    bed.wait_all_offered().await?;
    let second = Holder::apply(&bed).await?;
    ensure!(
        second.lease.cluster_id == first.lease.cluster_id,
        "the pool has only one cluster"
    );
    let is_credential = |name: &str| {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "pem")
    };
    let reused =
        |name: &String, text: &String| is_credential(name) && first.bundle.files.get(name) == Some(text);
    let shared: Vec<_> = second
        .bundle
        .files
        .iter()
        .filter(|(name, text)| reused(name, text))
        .map(|(name, _)| name)
        .collect();
    ensure!(
        shared.is_empty(),
        "the new network reuses {} keys and certificates: {shared:?}",
        shared.len()
    );
    ensure!(
        second
            .transact(&["org1", "evaluate", "get", "name"])
            .await
            .is_err(),
        "the new network has the first holder's value"
    );
    bed.end().await
}
