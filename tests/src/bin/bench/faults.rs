//! How soon faults of a free chain are seen and mended.

use crate::{
    hand::Hand,
    pool::{Pool, offered},
    report::{Bar, Row, median, quantile},
};
use anyhow::Result;
use chainpool_api::Cluster;
use chainpool_tests::Engine;
use futures::future::try_join_all;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
/// The time between the end of one fault and the next: two repairs of one cluster are at least 5 s apart.
const APART: Duration = Duration::from_secs(6);

/// Kills and pauses nodes of a free cluster. The API is polled each 10 ms. What has to be started again is held against what the engine takes
/// to start it.
pub(crate) async fn measure(pool: &Pool, hand: &Hand) -> Result<Vec<Row>> {
    let mut by_hand = Vec::new();
    for _ in 0..ROUNDS {
        by_hand.push(hand.one().await?.1);
        hand.clear().await?;
    }
    let fresh = median(&by_hand);
    let (cluster, _) = pool.create().await?;
    let killed = rounds(pool, &cluster, async |cluster: &Cluster| {
        pool.engine.kill(&container(cluster, 1)).await
    })
    .await?;
    let paused = rounds(pool, &cluster, async |cluster: &Cluster| {
        pool.engine.pause(&container(cluster, 1)).await
    })
    .await?;
    let lost = rounds(pool, &cluster, async |cluster: &Cluster| {
        try_join_all((1..4).map(async |place| pool.engine.kill(&container(cluster, place)).await)).await?;
        Ok(())
    })
    .await?;
    pool.delete(cluster.id).await?;
    Ok(vec![
        row("killed node of a free chain, seen", &killed.seen, Some(1.0)),
        row("killed node of a free chain, offered again", &killed.mended, None).note(format!(
            "worst {:.2} s; {} of {ROUNDS} in place",
            quantile(&killed.mended, 100),
            ROUNDS - killed.reset
        )),
        Row::new(
            "killed node: ratio to four validators made by hand",
            median(&killed.mended) / fresh,
            "",
        )
        .bar(Bar::AtMost(2.0)),
        row("quorum killed, seen", &lost.seen, None),
        row("quorum killed, offered again", &lost.mended, None).note(format!(
            "worst {:.2} s; three of four nodes; {} of {ROUNDS} by a reset",
            quantile(&lost.mended, 100),
            lost.reset
        )),
        Row::new(
            "quorum killed: ratio to four validators made by hand",
            median(&lost.mended) / fresh,
            "",
        )
        .bar(Bar::AtMost(4.0)),
        row("paused node, seen", &paused.seen, Some(5.0)),
        row("paused node, offered again", &paused.mended, None),
    ])
}

/// Seconds of each round, and how many rounds ended in another generation.
#[derive(Default)]
struct Rounds {
    seen: Vec<f64>,
    mended: Vec<f64>,
    reset: usize,
}

async fn rounds(
    pool: &Pool,
    cluster: &Cluster,
    fault: impl AsyncFn(&Cluster) -> Result<()>,
) -> Result<Rounds> {
    let mut all = Rounds::default();
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(APART).await;
        }
        let before = pool.when(cluster.id, "offered", offered).await?;
        let begun = Instant::now();
        let seeing = async {
            pool.when(cluster.id, "seen as bad", |now| !offered(now)).await?;
            anyhow::Ok(begun.elapsed().as_secs_f64())
        };
        let ((), seen) = futures::try_join!(fault(&before), seeing)?;
        all.seen.push(seen);
        let after = pool.when(cluster.id, "offered again", offered).await?;
        all.mended.push(begun.elapsed().as_secs_f64());
        all.reset += usize::from(after.generation != before.generation);
    }
    Ok(all)
}

fn container(cluster: &Cluster, place: usize) -> String {
    Engine::container(cluster, &format!("v{place}"))
}

fn row(what: &str, samples: &[f64], most: Option<f64>) -> Row {
    let row = Row::median(what, samples, "s").note(format!("worst {:.2} s", quantile(samples, 100)));
    match most {
        Some(most) => row.bar(Bar::AtMost(most)),
        None => row,
    }
}
