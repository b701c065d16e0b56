//! Applies per second over HTTP.
//!
//! The free clusters are database rows without an engine. The server is this program in a separate process:
//! the full orchestrator core and REST API, without the watchdog, which would notice.

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
use chainpool_store::{ApplyRequest, ClusterRow, Json, Store, testing};
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

/// Rates of one round, per second.
struct Round {
    /// Applies over HTTP.
    load: Load,
    /// The same requests, refused before the transaction.
    refused: f64,
    /// The same transactions on the store alone.
    bare: f64,
}

/// Measures 16 and 64 clients. Compares an apply with its two halves: the request without the transaction,
/// and the transaction without the request.
pub(crate) async fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut twice = 0_u32;
    for clients in [16, 64] {
        let (mut rates, mut refused, mut bare, mut halves, mut slow) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let round = round(clients).await?;
            rates.push(per_second(round.load.seconds)?);
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

fn per_second(seconds: f64) -> Result<f64> {
    Ok(f64::from(u32::try_from(CLUSTERS)?) / seconds)
}

/// Leases all clusters of a new data folder, through a server and on the store alone.
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
    let mut line = String::new();
    BufReader::new(server.stdout.take().context("its output is piped")?)
        .read_line(&mut line)
        .await?;
    let (address, token) = line
        .trim()
        .split_once(' ')
        .context("the server printed no address")?;
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
    // The server runs until its input ends.
    drop(server.stdin.take());
    ensure!(server.wait().await?.success(), "the server failed");
    Ok(Round {
        load,
        refused: per_second(refused.seconds)?,
        bare,
    })
}

/// Measures transactions per second with this number of tasks.
async fn bare(tasks: usize) -> Result<f64> {
    let folder = TempDir::new()?;
    seed(folder.path(), CLUSTERS).await?;
    let store = Store::open(folder.path(), None).await?;
    let order = ApplyRequest {
        holder: "bench".to_owned(),
        author: "bench".to_owned(),
        ..ApplyRequest::default()
    };
    let left = AtomicUsize::new(CLUSTERS);
    let start = Instant::now();
    let applies = (0..tasks).map(async |_| {
        while left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
        {
            ensure!(
                store
                    .apply(order.clone())
                    .await?
                    .is_some_and(|outcome| outcome.created),
                "an apply found no free cluster"
            );
        }
        Ok(())
    });
    try_join_all(applies).await?;
    let rate = per_second(start.elapsed().as_secs_f64())?;
    store.close().await?;
    Ok(rate)
}

async fn tokens(admin: &Api, count: usize) -> Result<Vec<String>> {
    let _: Value = admin
        .post("/accounts", json!({"name": "bench", "role": "user"}))
        .await?;
    let mut tokens = Vec::new();
    for index in 0..count {
        let token: Value = admin
            .post(
                "/tokens",
                json!({"name": format!("t{index}"), "account": "bench"}),
            )
            .await?;
        tokens.push(
            token["secret"]
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

/// Serves without watchdog and rate limit until the input ends.
pub(crate) async fn serve(folder: &Path) -> Result<()> {
    // The release binary also writes a log.
    let filter = tracing_subscriber::EnvFilter::new("info,sqlx=warn,sea_orm_migration=warn");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let platforms: Vec<Arc<dyn Platform>> = vec![Arc::new(DockerPlatform)];
    // One account leases all clusters.
    let config = Config {
        leases_per_account: 0,
        ..Config::new(folder.to_owned(), platforms)
    };
    let orchestrator = Orchestrator::start(config).await?;
    let (_, token, _) = orchestrator.local_admin().await?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = ServeConfig::new(listen);
    let stop = CancellationToken::new();
    let input_ended = stop.clone();
    tokio::spawn(async move {
        let mut rest = Vec::new();
        // Only the end of the input matters, not its content or an error.
        drop(tokio::io::stdin().read_to_end(&mut rest).await);
        input_ended.cancel();
    });
    chainpool_server::serve(orchestrator.clone(), config, stop, |address| {
        println!("{address} {token}");
    })
    .await?;
    orchestrator.stop().await;
    Ok(())
}

/// Writes a host and free, healthy clusters to a new data folder.
async fn seed(folder: &Path, count: usize) -> Result<()> {
    let store = Store::open(folder, None).await?;
    let now = Timestamp::now();
    let host = testing::host(now);
    let checked_at = now.plus_seconds(HOUR).into();
    let parameters = Json(json!({"validators": 4, "block_interval_ms": 1000, "empty_blocks": true}));
    let mut tx = store.begin().await?;
    for index in 0..count {
        let free = testing::free(&host, &format!("c{index}"), now);
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
