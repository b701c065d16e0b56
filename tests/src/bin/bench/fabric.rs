//! Creation time of Fabric networks, compared with the same containers created by hand.

use crate::{
    baseline::Baseline,
    pool::Pool,
    report::{Bar, Row, median},
};
use anyhow::Result;
use chainpool_tests::CHAINCODE;
use futures::future::try_join_all;
use serde_json::{Value, json};

const ROUNDS: usize = 5;
const AT_ONCE: usize = 4;

/// Measures presets with and without a chaincode, one at a time, by Chainpool and by hand in turns; then
/// several networks at once.
pub(crate) async fn measure(pool: &Pool) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, body, has_target) in [
        ("two organisations, one orderer", body("standard", &[]), true),
        ("the same with a chaincode", body("standard", &[CHAINCODE]), false),
        (
            "three orderers, with a chaincode",
            body("raft", &[CHAINCODE]),
            false,
        ),
    ] {
        let (ours, started) = in_turns(pool, &body).await?;
        let ratio = median(&ours) / median(&started);
        let row = Row::median(format!("fabric, {what}: request to ready"), &ours, "s").note(format!(
            "with its proof; the same containers created by hand start within {:.2} s: ratio {ratio:.2}",
            median(&started)
        ));
        rows.push(if has_target {
            row.bar(Bar::AtMost(3.0))
        } else {
            row
        });
        if has_target {
            let row = Row::new("fabric, ratio to the engine's own time", ratio, "").bar(Bar::AtMost(2.0));
            rows.push(row.note("dominated by the engine's container starts; then nodes join and a first transaction is committed and read back; with a chaincode also by peer discovery"));
        }
    }
    let created = try_join_all((0..AT_ONCE).map(|_| pool.create_of(body("standard", &[])))).await?;
    let slowest = created.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    rows.push(Row::new("fabric, four networks at once, the slowest", slowest, "s").bar(Bar::AtMost(6.0)));
    try_join_all(created.iter().map(|(cluster, _)| pool.delete(cluster.id))).await?;
    Ok(rows)
}

/// Request body of a network.
pub(crate) fn body(preset: &str, chaincodes: &[&str]) -> Value {
    json!({"host": "h1", "network_type": "fabric", "preset": preset, "parameters": {"chaincodes": chaincodes}})
}

/// Returns the seconds of each round: until ready by Chainpool, until started by hand.
async fn in_turns(pool: &Pool, body: &Value) -> Result<(Vec<f64>, Vec<f64>)> {
    // The first cluster warms the engine up and provides the containers' settings.
    let (cluster, _) = pool.create_of(body.clone()).await?;
    let baseline = Baseline::like(&pool.engine, &cluster).await?;
    pool.delete(cluster.id).await?;
    let (mut ours, mut started) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (cluster, seconds) = pool.create_of(body.clone()).await?;
        ours.push(seconds);
        pool.delete(cluster.id).await?;
        let by_hand = baseline.started().await;
        baseline.clear().await?;
        started.push(by_hand?);
    }
    Ok((ours, started))
}
