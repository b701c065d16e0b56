//! Applies a second over HTTP.
//!
//! The free clusters are rows alone: no engine stands behind them. So the server is this program again, in a process
//! of its own, with the whole middle and the whole REST API but without the watchdog, which would find out.

use crate::{
    clients::{self, Load},
    report::{Bar, Row, median, quantile},
};
use anyhow::{Context, Result, ensure};
use chainpool_agent::Platform;
use chainpool_agent_docker::DockerPlatform;
use chainpool_api::{Lease, Timestamp};
use chainpool_orchestrator::{Config, Orchestrator};
use chainpool_server::ServeConfig;
use chainpool_store::{ApplyOrder, ClusterRow, Json, Store, testing};
use chainpool_tests::Api;
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
};
use tokio_util::sync::CancellationToken;

const CLUSTERS: usize = 10_000;
const ROUNDS: usize = 3;
const HOUR: i64 = 3600;

/// What a second gave of each kind, in one round on one machine.
struct Round {
    /// Applies over HTTP.
    load: Load,
    /// The same requests to the same server, refused before their transaction.
    refused: f64,
    /// The same transactions on the bare store.
    bare: f64,
}

/// With 16 clients and with 64. An apply is held against its two halves: the request without the transaction, and the transaction without the
/// request.
pub(crate) async fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut twice = 0_u32;
    for clients in [16, 64] {
        let (mut rates, mut refused, mut bare, mut halves, mut slow) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let round = round(clients).await?;
            rates.push(a_second(round.load.seconds)?);
            refused.push(round.refused);
            bare.push(round.bare);
            halves.push(quantile(&round.load.latencies, 50));
            slow.push(quantile(&round.load.latencies, 99));
            twice += given_twice(&round.load)?;
        }
        let (half, what) = (median(&halves), format!("apply, {clients} clients"));
        let parts = median(&refused).recip() + median(&bare).recip();
        rows.push(
            Row::median(what.clone(), &rates, "/s")
                .note(format!("{CLUSTERS} free clusters; p50 {half:.1} ms")),
        );
        rows.push(
            Row::median(format!("{what}: refused before the transaction"), &refused, "/s")
                .note("the same server, the same run"),
        );
        rows.push(Row::median(
            format!("{what}: the transactions on the bare store"),
            &bare,
            "/s",
        ));
        rows.push(
            Row::new(
                format!("{what}: ratio to both together"),
                median(&rates).recip() / parts,
                "",
            )
            .bar(Bar::AtMost(1.3)),
        );
        let p99 = Row::new(format!("{what}: p99 to p50"), median(&slow) / half, "")
            .note(format!("p99 {:.1} ms", median(&slow)));
        rows.push(p99.bar(Bar::AtMost(5.0)));
    }
    rows.push(Row::new("clusters given twice", f64::from(twice), "").bar(Bar::AtMost(0.0)));
    Ok(rows)
}

fn a_second(seconds: f64) -> Result<f64> {
    Ok(f64::from(u32::try_from(CLUSTERS)?) / seconds)
}

/// All clusters of a fresh data folder are applied for, by a server and on the bare store.
async fn round(clients: usize) -> Result<Round> {
    let bare = bare(clients).await?;
    let folder = TempDir::new()?;
    seed(folder.path(), CLUSTERS).await?;
    let mut server = Command::new(std::env::current_exe()?)
        .arg("--serve")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = String::new();
    BufReader::new(server.stdout.take().context("its output is piped")?)
        .read_line(&mut said)
        .await?;
    let (address, token) = said
        .trim()
        .split_once(' ')
        .context("the server said where it is")?;
    let tokens = tokens(&Api::new(&format!("http://{address}"), token)?, clients).await?;
    let address: SocketAddr = address.parse()?;
    let (refused, load) = tokio::task::spawn_blocking(move || {
        let refused = clients::send(
            address,
            &tokens,
            r#"{"allow_multiple":true,"type":"nothing"}"#,
            400,
            CLUSTERS,
        )?;
        anyhow::Ok((
            refused,
            clients::send(address, &tokens, r#"{"allow_multiple":true}"#, 201, CLUSTERS)?,
        ))
    })
    .await??;
    // It serves until its input ends.
    drop(server.stdin.take());
    ensure!(server.wait().await?.success(), "the server did not end well");
    Ok(Round {
        load,
        refused: a_second(refused.seconds)?,
        bare,
    })
}

/// Transactions a second, by so many tasks.
async fn bare(tasks: usize) -> Result<f64> {
    let folder = TempDir::new()?;
    seed(folder.path(), CLUSTERS).await?;
    let store = Store::open(folder.path(), None).await?;
    let order = ApplyOrder {
        holder: "bench".to_owned(),
        author: "bench".to_owned(),
        ..ApplyOrder::default()
    };
    let left = AtomicUsize::new(CLUSTERS);
    let begun = Instant::now();
    let applies = (0..tasks).map(async |_| {
        while left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
        {
            ensure!(
                store
                    .apply(order.clone())
                    .await?
                    .is_some_and(|outcome| outcome.made),
                "an apply got nothing"
            );
        }
        Ok(())
    });
    try_join_all(applies).await?;
    let rate = a_second(begun.elapsed().as_secs_f64())?;
    store.close().await?;
    Ok(rate)
}

async fn tokens(admin: &Api, count: usize) -> Result<Vec<String>> {
    let _: Value = admin
        .post("/accounts", json!({"name": "bench", "role": "user"}))
        .await?;
    let mut tokens = Vec::new();
    for place in 0..count {
        let made: Value = admin
            .post(
                "/tokens",
                json!({"name": format!("t{place}"), "account": "bench"}),
            )
            .await?;
        tokens.push(
            made["secret"]
                .as_str()
                .context("a token has a secret")?
                .to_owned(),
        );
    }
    Ok(tokens)
}

fn given_twice(load: &Load) -> Result<u32> {
    let mut seen = BTreeSet::new();
    let mut twice = 0;
    for body in &load.bodies {
        let lease: Lease = serde_json::from_str(body)?;
        twice += u32::from(!seen.insert(lease.cluster_id));
    }
    ensure!(
        seen.len() + usize::try_from(twice)? == CLUSTERS,
        "{} leases for {CLUSTERS} applies",
        seen.len()
    );
    Ok(twice)
}

/// Serves without a watchdog and without a rate limit, until the input ends.
pub(crate) async fn serve(folder: &Path) -> Result<()> {
    // The release binary writes a log too.
    let filter = tracing_subscriber::EnvFilter::new("info,sqlx=warn,sea_orm_migration=warn");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let platforms: Vec<Arc<dyn Platform>> = vec![Arc::new(DockerPlatform)];
    // One account applies for all.
    let config = Config {
        leases_per_account: 0,
        ..Config::new(folder.to_owned(), platforms)
    };
    let orchestrator = Orchestrator::start(config).await?;
    let (_, token, _) = orchestrator.local_admin().await?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = ServeConfig::new(listen);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        let mut rest = Vec::new();
        // Its end is all that counts, whatever it says and however it comes.
        drop(tokio::io::stdin().read_to_end(&mut rest).await);
        told.cancel();
    });
    chainpool_server::serve(orchestrator.clone(), config, stop, |address| {
        println!("{address} {token}")
    })
    .await?;
    orchestrator.stop().await;
    Ok(())
}

/// Writes a host and free, healthy clusters into a fresh data folder.
async fn seed(folder: &Path, count: usize) -> Result<()> {
    let store = Store::open(folder, None).await?;
    let now = Timestamp::now();
    let host = testing::host(now);
    let checked_at = now.plus_seconds(HOUR).into();
    let parameters = Json(json!({"validators": 4, "block_interval_ms": 1000, "empty_blocks": true}));
    let mut tx = store.begin().await?;
    for place in 0..count {
        let free = testing::free(&host, &format!("c{place}"), now);
        tx.cluster_insert(
            ClusterRow {
                checked_at,
                parameters: parameters.clone(),
                ..free
            },
            Vec::new(),
        )
        .await?;
    }
    tx.host_insert(host).await?;
    tx.commit("bench").await?;
    store.close().await?;
    Ok(())
}
