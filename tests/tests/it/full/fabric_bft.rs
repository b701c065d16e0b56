//! A real Fabric network whose orderers agree by BFT. Its images are made by nobody but Fabric, so it is not run everywhere, and where
//! it is not run it is not counted as passed.

use super::loss;
use crate::holder::Holder;
use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, HealthState, Operation};
use chainpool_tests::{Bed, CHAINCODE, Engine, Options};
use serde_json::json;

/// What it runs.
const IMAGES: [&str; 2] = [
    "hyperledger/fabric-orderer:3.1.5",
    "hyperledger/fabric-peer:3.1.5",
];

/// Fails, in the words of the reason, where one of the images is missing.
async fn images(engine: &Engine) -> Result<()> {
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
#[ignore = "not run: wants hyperledger/fabric-orderer:3.1.5 and hyperledger/fabric-peer:3.1.5 on the engine"]
async fn a_bft_network_commits_by_its_bundle_without_one_orderer_and_tells_the_truth_without_two()
-> Result<()> {
    images(&Engine::local().await?).await?;
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let body = json!({"name": "fab", "network_type": "fabric", "preset": "bft", "parameters": {"chaincodes": [CHAINCODE]}});
    let create: Operation = bed.api.post("/clusters", body).await?;
    bed.done(&create).await?;
    let cluster: Cluster = bed.cluster("fab").await?;
    ensure!(
        cluster.offered && cluster.health.state == HealthState::Healthy && cluster.proof.is_some(),
        "{cluster:?}"
    );
    bed.judged(
        cluster.id,
        HealthState::Healthy,
        &["all 4 orderers take part", "1 more orderer"],
    )
    .await?;
    let holder = Holder::apply(&bed).await?;
    holder.put("org1", "satoshi").await?;
    holder.must_have("org2", "satoshi").await?;

    // The leader is the first one, and stays: what a change of the view takes is Fabric's to tell.
    loss::bears_one(&bed, &holder, ["orderer3", "orderer2"], "no BFT quorum").await?;
    bed.end().await
}
