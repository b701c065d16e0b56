//! Applies while a fillup is accepted and rendered.
//!
//! The keys and certificates of 50 Fabric networks must not hold up applies. The platform is the one in memory; the
//! applied clusters are database rows on another host.

use crate::report::{Bar, Row, quantile};
use anyhow::{Result, ensure};
use chainpool_agent_memory::{Fault, Verb};
use chainpool_api::{Operation, Page, Timestamp};
use chainpool_store::{ClusterRow, Store, testing};
use chainpool_tests::{MemoryBed, MemoryFixture, MemoryOptions};
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Networks of the fillup.
const NETWORKS: u32 = 50;
/// Free clusters for the applies.
const FREE: usize = 20_000;
/// Concurrent applicants.
const CLIENTS: usize = 4;
/// The pause of an applicant between two applies: the machine is not saturated by applies alone.
const PAUSE: Duration = Duration::from_millis(5);
/// How long applies are measured without a fillup.
const QUIET: Duration = Duration::from_secs(5);
const HOUR: i64 = 3600;

/// Compares the p99 of applies during a fillup with their p99 without it.
pub(crate) async fn measure() -> Result<Vec<Row>> {
    let fixture = MemoryFixture::new()?;
    seed(&fixture.folder()).await?;
    let options = MemoryOptions {
        host: false,
        capacity: NETWORKS,
        watchdog: false,
        ..MemoryOptions::default()
    };
    let bed = MemoryBed::open(fixture, options).await?;
    let mut body = bed.host_body("h1");
    body["fill"] = json!([{"type": "fabric"}]);
    body["memory_factor"] = json!(100);
    let _: Value = bed.api.post("/hosts", body).await?;

    // The nodes are not created: the journal of their steps would be measured too.
    bed.world.always(Verb::EnsureImage, Some(Fault::Hang));

    let quiet = applies(&bed, async {
        tokio::time::sleep(QUIET).await;
        Ok(())
    })
    .await?;
    let start = Instant::now();
    let busy = applies(&bed, fillup(&bed)).await?;
    let took = start.elapsed().as_secs_f64();
    bed.stop().await?;
    let (without, during) = (quantile(&quiet, 99), quantile(&busy, 99));
    let ratio = Row::new(
        format!("apply during a fillup of {NETWORKS} Fabric networks: p99 to p99 without"),
        during / without,
        "",
    )
    .note(format!(
        "p99 {during:.1} ms and {without:.1} ms; longest {:.1} ms and {:.1} ms; {} applies in {took:.1} s",
        quantile(&busy, 100),
        quantile(&quiet, 100),
        busy.len()
    ));
    Ok(vec![ratio.bar(Bar::AtMost(5.0))])
}

/// Fills the host until the specs of all its clusters are rendered.
async fn fillup(bed: &MemoryBed) -> Result<()> {
    let _: Operation = bed.api.post_empty("/hosts/h1/fillup").await?;
    loop {
        let creates: Page<Operation> = bed.api.get("/operations?kind=cluster_create&limit=500").await?;
        // An operation is planned once its cluster is rendered.
        let planned = creates.items.iter().filter(|create| create.total > 0).count();
        if planned >= usize::try_from(NETWORKS)? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Applies until the work ends; returns the latencies in milliseconds.
async fn applies(bed: &MemoryBed, work: impl Future<Output = Result<()>>) -> Result<Vec<f64>> {
    let ended = AtomicBool::new(false);
    let clients = (0..CLIENTS).map(async |_| {
        let mut latencies = Vec::new();
        while !ended.load(Ordering::Relaxed) {
            let start = Instant::now();
            let _: Value = bed
                .api
                .post("/leases", json!({"allow_multiple": true, "type": "cometbft"}))
                .await?;
            latencies.push(start.elapsed().as_secs_f64() * 1000.0);
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::Ok(latencies)
    });
    let work = async {
        let outcome = work.await;
        ended.store(true, Ordering::Relaxed);
        outcome
    };
    let (latencies, outcome) = tokio::join!(try_join_all(clients), work);
    outcome?;
    let latencies: Vec<f64> = latencies?.into_iter().flatten().collect();
    ensure!(!latencies.is_empty(), "nothing was applied");
    Ok(latencies)
}

/// Writes a host with free, healthy clusters to a new data folder.
async fn seed(folder: &Path) -> Result<()> {
    let store = Store::open(folder, None).await?;
    let now = Timestamp::now();
    let mut host = testing::host(now);
    let checked_at = now.plus_seconds(HOUR).into();
    let mut tx = store.begin().await?;
    for index in 0..FREE {
        let row = ClusterRow {
            checked_at,
            ..testing::free(&host, &format!("c{index}"), now)
        };
        tx.cluster_insert(row, Vec::new()).await?;
    }
    host.name = "rows".to_owned();
    tx.host_insert(host).await?;
    tx.commit("bench").await?;
    store.close().await?;
    Ok(())
}
