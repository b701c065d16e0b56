//! Creation time of networks, compared with the same containers created by hand.

use crate::{
    baseline::Baseline,
    pool::Pool,
    report::{Bar, Row, median},
};
use anyhow::{Result, ensure};

const ROUNDS: usize = 5;

/// Measures one network at a time, by Chainpool and by hand in turns.
pub(crate) async fn one(pool: &Pool, baseline: &Baseline) -> Result<Vec<Row>> {
    let (mut ours, mut started, mut first) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (cluster, seconds) = pool.create().await?;
        ours.push(seconds);
        pool.delete(cluster.id).await?;
        let (containers, block) = baseline.one().await?;
        started.push(containers);
        first.push(block);
        baseline.clear().await?;
    }
    Ok(vec![
        Row::median("four validators, request to ready", &ours, "s").note("with its proving transaction"),
        Row::median(
            "the same containers by hand, to the first block on all",
            &first,
            "s",
        )
        .note(format!(
            "in parallel; all started after {:.2} s",
            median(&started)
        )),
        Row::new("ratio", median(&ours) / median(&first), "").bar(Bar::AtMost(1.3)),
    ])
}

/// Measures ten networks by one fillup, and the same forty containers by hand. Leaves the ten networks
/// running.
pub(crate) async fn ten(pool: &Pool, baseline: &Baseline) -> Result<Vec<Row>> {
    let (started, first) = baseline.many(10).await?;
    baseline.clear().await?;
    let ours = pool.host("fillup").await?;
    let count = pool.wait_all_offered().await?.len();
    ensure!(count == 10, "the fillup created {count} clusters");
    Ok(vec![
        Row::new("ten networks by one fillup, to the last ready", ours, "s")
            .note("each with its proving transaction"),
        Row::new("the same 40 containers by hand, four at once", started, "s")
            .note(format!("started; first block on all after {first:.2} s")),
        Row::new("ratio to the engine's own time", ours / started, "").note(format!(
            "Chainpool also waits for the last ledger's first block, {:.2} s by hand",
            first - started
        )),
        Row::new("ratio to first blocks by hand", ours / first, "").bar(Bar::AtMost(1.3)),
    ])
}
