//! How long Fabric networks take, beside the same containers made by hand.

use crate::{
    hand::Hand,
    pool::Pool,
    report::{Bar, Row, median},
    samples,
};
use anyhow::Result;
use chainpool_tests::CHAINCODE;
use futures::future::try_join_all;
use serde_json::{Value, json};

const ROUNDS: usize = 5;
const AT_ONCE: usize = 4;

/// Presets with and without a chaincode, one at a time, by Chainpool and by hand in turns; then several at once; then
/// beside fabric-samples.
pub(crate) async fn measure(pool: &Pool) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, body, bars) in [
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
            "with its proof; by hand the same containers are started after {:.2} s: ratio {ratio:.2}",
            median(&started)
        ));
        rows.push(if bars { row.bar(Bar::AtMost(3.0)) } else { row });
        if bars {
            let row = Row::new("fabric, ratio to the engine's own time", ratio, "").bar(Bar::AtMost(2.0));
            rows.push(row.note("bound by the engine's starts; then nodes join and a first change is ordered and read back; with a chaincode by peers, too, that get to know each other"));
        }
    }
    let made = try_join_all((0..AT_ONCE).map(|_| pool.create_of(body("standard", &[])))).await?;
    let slowest = made.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    rows.push(Row::new("fabric, four networks at once, the slowest", slowest, "s").bar(Bar::AtMost(6.0)));
    try_join_all(made.iter().map(|(cluster, _)| pool.delete(cluster.id))).await?;
    rows.extend(samples::measure(pool).await?);
    Ok(rows)
}

/// A request for a network.
pub(crate) fn body(preset: &str, chaincodes: &[&str]) -> Value {
    json!({"host": "h1", "network_type": "fabric", "preset": preset, "parameters": {"chaincodes": chaincodes}})
}

/// The seconds of each round: until ready by Chainpool, until started by hand.
async fn in_turns(pool: &Pool, body: &Value) -> Result<(Vec<f64>, Vec<f64>)> {
    // The first one warms the engine up and shows what its containers are like.
    let (cluster, _) = pool.create_of(body.clone()).await?;
    let hand = Hand::like(&pool.engine, &cluster).await?;
    pool.delete(cluster.id).await?;
    let (mut ours, mut started) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (cluster, seconds) = pool.create_of(body.clone()).await?;
        ours.push(seconds);
        pool.delete(cluster.id).await?;
        let by_hand = hand.started().await;
        hand.clear().await?;
        started.push(by_hand?);
    }
    Ok((ours, started))
}
