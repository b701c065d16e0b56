//! How long networks take, beside the same containers made by hand.

use crate::{
    hand::Hand,
    pool::Pool,
    report::{Bar, Row, median},
};
use anyhow::{Result, ensure};

const ROUNDS: usize = 5;

/// One network at a time, by Chainpool and by hand in turns.
pub(crate) async fn one(pool: &Pool, hand: &Hand) -> Result<Vec<Row>> {
    let (mut ours, mut started, mut first) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (cluster, seconds) = pool.create().await?;
        ours.push(seconds);
        pool.delete(cluster.id).await?;
        let (containers, block) = hand.one().await?;
        started.push(containers);
        first.push(block);
        hand.clear().await?;
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

/// Ten networks by one fillup, and the same forty containers by hand. Leaves the ten running.
pub(crate) async fn ten(pool: &Pool, hand: &Hand) -> Result<Vec<Row>> {
    let (started, first) = hand.many(10).await?;
    hand.clear().await?;
    let ours = pool.host("fillup").await?;
    let count = pool.all_offered().await?.len();
    ensure!(count == 10, "the fillup made {count} clusters");
    Ok(vec![
        Row::new("ten networks by one fillup, to the last ready", ours, "s")
            .note("each with its proving transaction"),
        Row::new("the same 40 containers by hand, four at once", started, "s")
            .note(format!("started; first block on all after {first:.2} s")),
        Row::new("ratio to the engine's own time", ours / started, "").note(format!(
            "ours waits for the last ledger's first block too, by hand {:.2} s",
            first - started
        )),
        Row::new("ratio to first blocks by hand", ours / first, "").bar(Bar::AtMost(1.3)),
    ])
}
