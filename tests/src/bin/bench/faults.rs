//! Time to detect and repair faults of a free chain.

use crate::{
    baseline::Baseline,
    pool::{Pool, offered},
    report::{Bar, Row, median, quantile},
};
use anyhow::Result;
use chainpool_api::Cluster;
use chainpool_tests::Engine;
use futures::future::try_join_all;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
/// Pause between two faults: repairs of one cluster are at least 5 s apart.
const PAUSE: Duration = Duration::from_secs(6);

/// Kills and pauses nodes of a free cluster, and polls the API every 10 ms. Compares restarts with the
/// engine's own start time.
pub(crate) async fn measure(pool: &Pool, baseline: &Baseline) -> Result<Vec<Row>> {
    let mut by_hand = Vec::new();
    for _ in 0..ROUNDS {
        by_hand.push(baseline.one().await?.1);
        baseline.clear().await?;
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
        try_join_all((1..4).map(async |index| pool.engine.kill(&container(cluster, index)).await)).await?;
        Ok(())
    })
    .await?;
    pool.delete(cluster.id).await?;
    Ok(vec![
        row("killed node of a free chain, seen", &killed.seen, Some(1.0)),
        row(
            "killed node of a free chain, offered again",
            &killed.repaired,
            None,
        )
        .note(format!(
            "worst {:.2} s; {} of {ROUNDS} in place",
            quantile(&killed.repaired, 100),
            ROUNDS - killed.reset
        )),
        Row::new(
            "killed node: ratio to four validators created by hand",
            median(&killed.repaired) / fresh,
            "",
        )
        .bar(Bar::AtMost(2.0)),
        row("quorum killed, seen", &lost.seen, None),
        row("quorum killed, offered again", &lost.repaired, None).note(format!(
            "worst {:.2} s; three of four nodes; {} of {ROUNDS} by a reset",
            quantile(&lost.repaired, 100),
            lost.reset
        )),
        Row::new(
            "quorum killed: ratio to four validators created by hand",
            median(&lost.repaired) / fresh,
            "",
        )
        .bar(Bar::AtMost(4.0)),
        row("paused node, seen", &paused.seen, Some(5.0)),
        row("paused node, offered again", &paused.repaired, None),
    ])
}

/// Seconds of each round, and the number of rounds that ended with a reset.
#[derive(Default)]
struct Rounds {
    seen: Vec<f64>,
    repaired: Vec<f64>,
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
            tokio::time::sleep(PAUSE).await;
        }
        let before = pool.when(cluster.id, "offered", offered).await?;
        let start = Instant::now();
        let detection = async {
            pool.when(cluster.id, "detected as unhealthy", |now| !offered(now))
                .await?;
            anyhow::Ok(start.elapsed().as_secs_f64())
        };
        let ((), seen) = futures::try_join!(fault(&before), detection)?;
        all.seen.push(seen);
        let after = pool.when(cluster.id, "offered again", offered).await?;
        all.repaired.push(start.elapsed().as_secs_f64());
        all.reset += usize::from(after.generation != before.generation);
    }
    Ok(all)
}

fn container(cluster: &Cluster, index: usize) -> String {
    Engine::container(cluster, &format!("v{index}"))
}

fn row(what: &str, samples: &[f64], most: Option<f64>) -> Row {
    let row = Row::median(what, samples, "s").note(format!("worst {:.2} s", quantile(samples, 100)));
    match most {
        Some(most) => row.bar(Bar::AtMost(most)),
        None => row,
    }
}
