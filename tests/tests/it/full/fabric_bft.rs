//! A real Fabric network with BFT orderers. Only Fabric publishes its images, so the test does not run
//! everywhere. A test that did not run is not counted as passed.

use super::loss;
use crate::holder::Holder;
use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, HealthState, Operation};
use chainpool_tests::{Bed, CHAINCODE, Engine, Options};
use serde_json::json;

/// Required images.
const IMAGES: [&str; 2] = [
    "hyperledger/fabric-orderer:3.1.5",
    "hyperledger/fabric-peer:3.1.5",
];

/// Fails if a required image is missing.
async fn require_images(engine: &Engine) -> Result<()> {
    for image in IMAGES {
        engine
            .docker()
            .inspect_image(image)
            .await
            .with_context(|| format!("not run: {image} is not on the engine"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not run: requires hyperledger/fabric-orderer:3.1.5 and hyperledger/fabric-peer:3.1.5 on the engine"]
async fn a_bft_network_commits_without_one_orderer_and_is_broken_without_two() -> Result<()> {
    require_images(&Engine::local().await?).await?;
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let body = json!({"name": "fab", "network_type": "fabric", "preset": "bft", "parameters": {"chaincodes": [CHAINCODE]}});
    let create: Operation = bed.api.post("/clusters", body).await?;
    bed.wait_succeeded(&create).await?;
    let cluster: Cluster = bed.cluster("fab").await?;
    ensure!(
        cluster.offered && cluster.health.state == HealthState::Healthy && cluster.proof.is_some(),
        "{cluster:?}"
    );
    bed.wait_for_health(
        cluster.id,
        HealthState::Healthy,
        &["all 4 orderers participate", "1 further orderer failure"],
    )
    .await?;
    let holder = Holder::apply(&bed).await?;
    holder.put("org1", "satoshi").await?;
    holder.must_have("org2", "satoshi").await?;

    // The first orderer stays the leader, because the duration of a view change depends on Fabric.
    loss::survives_one_loss(&bed, &holder, ["orderer3", "orderer2"], "no BFT quorum").await?;
    bed.end().await
}
