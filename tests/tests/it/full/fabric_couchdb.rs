//! A real Fabric network whose peers keep their state in `CouchDB`. Only `CouchDB` publishes its image, so
//! the test does not run everywhere. A test that did not run is not counted as passed.

use crate::holder::Holder;
use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, HealthState, Operation};
use chainpool_tests::{Bed, CHAINCODE, Engine, Options};
use serde_json::{Value, json};

/// Required image.
const IMAGE: &str = "couchdb:3.4.2";

/// Reads a path from a database like its peer does. Address and credentials come from the engine.
async fn read_database(bed: &Bed, cluster: &Cluster, node: &str, path: &str) -> Result<Value> {
    let found = bed
        .engine
        .docker()
        .inspect_container(&Engine::container(cluster, node), None)
        .await?;
    let env = found
        .config
        .and_then(|config| config.env)
        .context("a container has an environment")?;
    let of = |name: &str| {
        env.iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .context("the database has no account")
    };
    let networks = found
        .network_settings
        .and_then(|settings| settings.networks)
        .context("a container has a network")?;
    let address = networks
        .into_values()
        .find_map(|network| network.ip_address)
        .context("a network gives an address")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client
        .get(format!("http://{address}:5984{path}"))
        .basic_auth(of("COUCHDB_USER")?, Some(of("COUCHDB_PASSWORD")?));
    Ok(request.send().await?.error_for_status()?.json().await?)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not run: requires couchdb:3.4.2 on the engine"]
async fn peers_keep_their_state_in_couchdb_and_its_loss_is_reported() -> Result<()> {
    Engine::local()
        .await?
        .docker()
        .inspect_image(IMAGE)
        .await
        .with_context(|| format!("not run: {IMAGE} is not on the engine"))?;
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let parameters = json!({"chaincodes": [CHAINCODE], "peers": 2, "state_database": "couchdb"});
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "fab", "network_type": "fabric", "parameters": parameters}),
        )
        .await?;
    bed.wait_succeeded(&create).await?;
    let cluster = bed.cluster("fab").await?;
    ensure!(
        cluster.offered
            && cluster.health.state == HealthState::Healthy
            && cluster.nodes.len() == 1 + 4 + 4 + 1,
        "{cluster:?}"
    );
    let holder = Holder::apply(&bed).await?;
    holder.put("org1", "satoshi").await?;
    holder.must_have("org2", "satoshi").await?;
    let document = read_database(&bed, &cluster, "db0-org1", "/main_basic/name").await?;
    ensure!(
        document["_id"] == "name" && document["~version"].is_string(),
        "{document}"
    );

    let _: Value = bed
        .api
        .patch("/clusters/fab", json!({"maintenance_seconds": 600}))
        .await?;
    bed.engine.kill(&Engine::container(&cluster, "db1-org1")).await?;
    // The peer may notice the loss before the engine reports it.
    bed.wait_for_health(
        cluster.id,
        HealthState::Degraded,
        &[
            "peer1-org1 cannot reach its state database",
            "db1-org1 exited 137",
        ],
    )
    .await?;
    // An unresponsive database counts as lost.
    bed.engine.pause(&Engine::container(&cluster, "db0-org1")).await?;
    bed.wait_for_health(
        cluster.id,
        HealthState::Broken,
        &["org1 cannot endorse; 2 of 2 organisations required"],
    )
    .await?;

    let _: Value = bed
        .api
        .patch("/clusters/fab", json!({"maintenance_seconds": 0}))
        .await?;
    let healed = bed
        .wait_for_cluster(cluster.id, "healthy again", |now| {
            now.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(
        healed.generation == cluster.generation,
        "a leased network was reset"
    );
    holder.must_have("org1", "satoshi").await?;
    holder.put("org2", "hal").await?;
    holder.must_have("org1", "hal").await?;

    let amend: Operation = bed
        .api
        .post("/clusters/fab/amend", json!({"parameters": {"organisations": 3}}))
        .await?;
    bed.wait_succeeded(&amend).await?;
    let holder = Holder::with(&bed, holder.lease.clone()).await?;
    holder.put("org3", "dorian").await?;
    holder.must_have("org1", "dorian").await?;
    let grown = bed.cluster("fab").await?;
    let document = read_database(&bed, &grown, "db1-org3", "/main_basic/name").await?;
    ensure!(document["_id"] == "name", "{document}");

    bed.release(&holder.lease).await?;
    let again = bed.cluster("fab").await?;
    ensure!(
        again.health.state == HealthState::Healthy && again.nodes.len() == cluster.nodes.len(),
        "{again:?}"
    );
    let empty = read_database(&bed, &again, "db0-org1", "/main_basic/name").await;
    ensure!(empty.is_err(), "the previous state is still there: {empty:?}");
    bed.end().await
}
