//! Settings that the holder of a Fabric network changed: amendments keep them.

use crate::holder::{Holder, run};
use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, HealthState, Operation};
use chainpool_tests::{Bed, CHAINCODE, Engine, Options};
use serde_json::{Value, json};
use std::{env, fs, os::unix::fs::PermissionsExt, path::Path};
use tempfile::TempDir;
use tokio::process::Command;

/// The holder's private data collections, for the `peer` program.
const COLLECTIONS: &str = r#"[{"name": "secrets", "policy": "OR('Org1MSP.member', 'Org2MSP.member')", "requiredPeerCount": 0,
    "maxPeerCount": 1, "blockToLive": 7, "memberOnlyRead": true, "memberOnlyWrite": true}]"#;

/// Options of the holder's definition for approvals and the commit.
const DEFINITION: &str = r#"-o $ORDERER_ADDRESS --tls --cafile $ORDERER_CA -C main -n basic -v 1.0 --sequence 2 \
    --signature-policy "OR('Org1MSP.member')" --collections-config $PWD/collections.json"#;

/// Copies the `peer` program from a peer's container into a folder.
async fn peer_program(bed: &Bed, cluster: &Cluster) -> Result<TempDir> {
    let folder = TempDir::new()?;
    let container = Engine::container(cluster, "peer0-org1");
    let program = folder.path().join("peer");
    fs::write(
        &program,
        bed.engine.file(&container, "/usr/local/bin/peer").await?,
    )?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// Runs a command of the `peer` program as an organisation's administrator, as the bundle's README describes.
async fn peer(holder: &Holder, programs: &Path, organisation: &str, command: &str) -> Result<String> {
    let path = format!("{}:{}", programs.display(), env::var("PATH")?);
    run(Command::new("bash")
        .args(["-c", &format!(". {organisation}/env && peer {command}")])
        .env("PATH", path)
        .current_dir(holder.folder.path()))
    .await
}

/// Returns the committed definition as an organisation's peer reports it.
async fn committed(holder: &Holder, programs: &Path, organisation: &str) -> Result<Value> {
    let query = "lifecycle chaincode querycommitted -C main -n basic -O json";
    Ok(serde_json::from_str(
        &peer(holder, programs, organisation, query).await?,
    )?)
}

/// Returns the part of a definition that Chainpool never changes.
fn settings(mut definition: Value) -> Result<Value> {
    let fields = definition.as_object_mut().context("an object")?;
    for field in ["sequence", "version", "approvals"] {
        fields.remove(field).with_context(|| format!("no {field}"))?;
    }
    Ok(definition)
}

/// Commits a definition in the same version with another endorsement policy and with collections.
async fn redefine(holder: &Holder, programs: &Path) -> Result<()> {
    fs::write(holder.folder.path().join("collections.json"), COLLECTIONS)?;
    let package = "$(peer lifecycle chaincode queryinstalled | grep -o 'basic[^ ,]*:[0-9a-f]*')";
    for organisation in ["org1", "org2"] {
        let approve = format!("lifecycle chaincode approveformyorg {DEFINITION} --package-id {package}");
        peer(holder, programs, organisation, &approve).await?;
    }
    let peers = ["org1", "org2"].map(|organisation| {
        let address = format!("$(. {organisation}/env; echo $CORE_PEER_ADDRESS)");
        format!("--peerAddresses {address} --tlsRootCertFiles $PWD/{organisation}/tlsca.pem")
    });
    let commit = format!("lifecycle chaincode commit {DEFINITION} {}", peers.join(" "));
    peer(holder, programs, "org1", &commit).await.map(drop)
}

async fn amend(bed: &Bed, parameters: Value) -> Result<()> {
    let change = json!({ "parameters": parameters });
    let amend: Operation = bed.api.post("/clusters/fab/amend", change).await?;
    bed.wait_succeeded(&amend).await?;
    let id = amend.cluster_id.context("an amendment names its cluster")?;
    bed.wait_for_cluster(id, "healthy", |now| now.health.state == HealthState::Healthy)
        .await
        .map(drop)
}

/// Proves the network, which raises its batch timeout by a millisecond; returns the new one in milliseconds.
async fn raised_batch_timeout(bed: &Bed) -> Result<u64> {
    let prove: Operation = bed.api.post_empty("/clusters/fab/prove").await?;
    bed.wait_succeeded(&prove).await?;
    let proof = bed.cluster("fab").await?.proof.context("a proof")?;
    let number = proof.value.strip_suffix("ms").context("milliseconds")?;
    Ok(number.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn amendments_keep_the_holders_chaincode_definition_and_batch_settings() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let body = json!({"name": "fab", "network_type": "fabric", "parameters": {"chaincodes": [CHAINCODE]}});
    let create: Operation = bed.api.post("/clusters", body).await?;
    bed.wait_succeeded(&create).await?;
    let cluster = bed.cluster("fab").await?;
    let holder = Holder::apply(&bed).await?;
    let programs = peer_program(&bed, &cluster).await?;
    let programs = programs.path();
    let ours = committed(&holder, programs, "org1").await?;
    redefine(&holder, programs).await?;
    let theirs = committed(&holder, programs, "org1").await?;
    ensure!(
        theirs["sequence"] == 2
            && theirs["validation_parameter"] != ours["validation_parameter"]
            && theirs["collections"] != ours["collections"],
        "{ours} {theirs}"
    );
    holder.put("org1", "satoshi").await?;
    for _ in 0..3 {
        raised_batch_timeout(&bed).await?;
    }
    let timeout = raised_batch_timeout(&bed).await?;

    amend(&bed, json!({"organisations": 3, "orderers": 3})).await?;
    let holder = Holder::with(&bed, holder.lease.clone()).await?;
    let grown = committed(&holder, programs, "org3").await?;
    ensure!(
        grown["sequence"] == 2 && grown["version"] == "1.0" && grown["approvals"]["Org3MSP"] == true,
        "{grown}"
    );
    ensure!(
        settings(grown.clone())? == settings(theirs.clone())?,
        "{theirs} {grown}"
    );
    holder.put("org3", "hal").await?;
    holder.must_have("org2", "hal").await?;
    let later = raised_batch_timeout(&bed).await?;
    ensure!(
        later > timeout,
        "the batch timeout fell from {timeout} to {later} ms"
    );

    let upgrade = CHAINCODE.replace("basic:1.0", "basic:1.1");
    amend(&bed, json!({"chaincodes": [upgrade]})).await?;
    let upgraded = committed(&holder, programs, "org3").await?;
    ensure!(
        upgraded["sequence"] == 3 && upgraded["version"] == "1.1",
        "{upgraded}"
    );
    ensure!(
        settings(upgraded.clone())? == settings(theirs.clone())?,
        "{theirs} {upgraded}"
    );
    holder.put("org3", "nick").await?;
    holder.must_have("org1", "nick").await?;
    bed.end().await
}
