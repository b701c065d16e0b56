//! A Fabric network on any platform: create, use with its bundle from outside, amend, reset.

use crate::holder::Holder;
use anyhow::{Context, Result, ensure};
use chainpool_api::{HealthState, Host, Operation};
use chainpool_tests::{Bed, CHAINCODE, Options, TestBed};
use serde_json::json;

pub(crate) async fn lifecycle(testbed: &TestBed) -> Result<()> {
    let (_, chaincode) = CHAINCODE
        .split_once('=')
        .context("the chaincode names no image")?;
    testbed
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
    let _: Host = bed.api.post("/hosts", testbed.host_body(1)).await?;
    let new = json!({"name": "fab", "network_type": "fabric", "preset": "raft", "parameters": {"chaincodes": [CHAINCODE]}});
    let create: Operation = bed.api.post("/clusters", new).await?;
    bed.wait_succeeded(&create).await?;
    let holder = Holder::apply(&bed).await?;
    holder.put("org1", "satoshi").await?;
    holder.must_have("org2", "satoshi").await?;

    let more = json!({"parameters": {"organisations": 3, "certificate_authorities": true}});
    let amend: Operation = bed.api.post("/clusters/fab/amend", more).await?;
    bed.wait_succeeded(&amend).await?;
    let holder = Holder::with(&bed, holder.lease.clone()).await?;
    ensure!(
        holder.bundle.files.contains_key("org3/connection.json"),
        "the bundle was not updated"
    );
    holder.put("org3", "hal").await?;
    holder.must_have("org1", "hal").await?;
    holder.enrol("org3", "alice", "client").await?;
    holder
        .transact_as("alice", &["org3", "submit", "put", "name", "alice"])
        .await?;
    holder.must_have("org2", "alice").await?;

    bed.release(&holder.lease).await?;
    let again = bed.cluster("fab").await?;
    ensure!(
        again.health.state == HealthState::Healthy && again.nodes.len() == 2 + 3 + 1,
        "{again:?}"
    );
    bed.end().await
}
