//! A Fabric network on any platform: made, used by its bundle from outside, grown while it runs, made anew for the next holder.

use crate::holder::Holder;
use anyhow::{Context, Result, ensure};
use chainpool_api::{HealthState, Host, Operation};
use chainpool_tests::{Bed, CHAINCODE, Options, TestBed};
use serde_json::json;

pub(crate) async fn life(place: &TestBed) -> Result<()> {
    let (_, chaincode) = CHAINCODE.split_once('=').context("a chaincode names its image")?;
    place
        .load(&[
            "chainpool/fabric-orderer:2.5.0",
            "chainpool/fabric-peer:2.5.0",
            "chainpool/fabric-ca:1.5.6",
            chaincode,
        ])
        .await?;
    let bed = Bed::start(Options {
        host: false,
        ..Options::default()
    })
    .await?;
    let _: Host = bed.api.post("/hosts", place.host_body(1)).await?;
    let new = json!({"name": "fab", "network_type": "fabric", "preset": "raft", "parameters": {"chaincodes": [CHAINCODE]}});
    let create: Operation = bed.api.post("/clusters", new).await?;
    bed.done(&create).await?;
    let holder = Holder::apply(&bed).await?;
    holder.put("org1", "satoshi").await?;
    holder.must_have("org2", "satoshi").await?;

    let more = json!({"parameters": {"organisations": 3, "certificate_authorities": true}});
    let amend: Operation = bed.api.post("/clusters/fab/amend", more).await?;
    bed.done(&amend).await?;
    let holder = Holder::with(&bed, holder.lease.clone()).await?;
    ensure!(
        holder.bundle.files.contains_key("org3/connection.json"),
        "the bundle is that of before"
    );
    holder.put("org3", "hal").await?;
    holder.must_have("org1", "hal").await?;
    holder.enrol("org3", "alice", "client").await?;
    holder
        .transact_as("alice", &["org3", "submit", "put", "name", "alice"])
        .await?;
    holder.must_have("org2", "alice").await?;

    bed.released(&holder.lease).await?;
    let again = bed.cluster("fab").await?;
    ensure!(
        again.health.state == HealthState::Healthy && again.nodes.len() == 2 + 3 + 1,
        "{again:?}"
    );
    bed.end().await
}
