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
use chainpool_api::{self as api, Lease, Timestamp};
use chainpool_orchestrator::{Config, Orchestrator};
use chainpool_server::ServeConfig;
use chainpool_store::{ClusterRow, HostRow, HostSettings, Json, Store, Word};
use chainpool_tests::Api;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
    sync::Arc,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const CLUSTERS: usize = 10_000;
const ROUNDS: usize = 3;
const HOUR: i64 = 3600;

/// With 16 clients and with 64.
pub(crate) async fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut twice = 0_u32;
    for (clients, rate, slowest) in [(16, 5000.0, Some(10.0)), (64, 12_000.0, None)] {
        let (mut rates, mut halves, mut slow) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let load = round(clients).await?;
            rates.push(f64::from(u32::try_from(CLUSTERS)?) / load.seconds);
            halves.push(quantile(&load.latencies, 50));
            slow.push(quantile(&load.latencies, 99));
            twice += given_twice(&load)?;
        }
        let (half, what) = (median(&halves), format!("apply, {clients} clients"));
        rows.push(
            Row::median(what.clone(), &rates, "/s").bar(Bar::AtLeast(rate)).note(format!("{CLUSTERS} free clusters; p50 {half:.1} ms")),
        );
        let p99 = Row::median(format!("{what}, p99"), &slow, "ms");
        rows.push(match slowest {
            Some(most) => p99.bar(Bar::AtMost(most)),
            None => p99,
        });
    }
    rows.push(Row::new("clusters given twice", f64::from(twice), "").bar(Bar::AtMost(0.0)));
    Ok(rows)
}

/// All clusters of a fresh data folder are applied for.
async fn round(clients: usize) -> Result<Load> {
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
    BufReader::new(server.stdout.take().context("its output is piped")?).read_line(&mut said).await?;
    let (address, token) = said.trim().split_once(' ').context("the server said where it is")?;
    let tokens = tokens(&Api::new(&format!("http://{address}"), token)?, clients).await?;
    let address: SocketAddr = address.parse()?;
    let load = tokio::task::spawn_blocking(move || clients::apply(address, tokens, CLUSTERS)).await??;
    // It serves until its input ends.
    drop(server.stdin.take());
    ensure!(server.wait().await?.success(), "the server did not end well");
    Ok(load)
}

async fn tokens(admin: &Api, count: usize) -> Result<Vec<String>> {
    let _: Value = admin.post("/accounts", json!({"name": "bench", "role": "user"})).await?;
    let mut tokens = Vec::new();
    for place in 0..count {
        let made: Value = admin.post("/tokens", json!({"name": format!("t{place}"), "account": "bench"})).await?;
        tokens.push(made["secret"].as_str().context("a token has a secret")?.to_owned());
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
    ensure!(seen.len() + usize::try_from(twice)? == CLUSTERS, "{} leases for {CLUSTERS} applies", seen.len());
    Ok(twice)
}

/// Serves without a watchdog and without a rate limit, until the input ends.
pub(crate) async fn serve(folder: &Path) -> Result<()> {
    // The release binary writes a log too.
    let filter = tracing_subscriber::EnvFilter::new("info,sqlx=warn,sea_orm_migration=warn");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let platforms: Vec<Arc<dyn Platform>> = vec![Arc::new(DockerPlatform)];
    let orchestrator = Orchestrator::start(Config::new(folder.to_owned(), platforms)).await?;
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
    chainpool_server::serve(orchestrator.clone(), config, stop, |address| println!("{address} {token}")).await?;
    orchestrator.stop().await;
    Ok(())
}

/// Writes a host and free, healthy clusters into a fresh data folder.
async fn seed(folder: &Path, count: usize) -> Result<()> {
    let store = Store::open(folder, None).await?;
    let now = Timestamp::now();
    let host = host(now);
    let mut tx = store.begin().await?;
    for place in 0..count {
        tx.cluster_insert(cluster(&host, place, now), Vec::new()).await?;
    }
    tx.host_insert(host).await?;
    tx.commit("bench").await?;
    store.close().await?;
    Ok(())
}

fn host(now: Timestamp) -> HostRow {
    HostRow {
        id: Uuid::now_v7(),
        name: "h1".to_owned(),
        platform: Word(api::Platform::Docker),
        address: "unix:///nonexistent/bench.sock".to_owned(),
        engine_id: "bench".to_owned(),
        state: Word(api::HostState::Active),
        reason: String::new(),
        since: now.into(),
        schedulable: true,
        autofill: false,
        capacity: 100_000,
        settings: Json(HostSettings {
            memory_factor: 1.0,
            disk_floor: 0,
            fill: Vec::new(),
            public_address: "127.0.0.1".to_owned(),
            bind: Ipv4Addr::LOCALHOST.into(),
            ports: (31_000, 31_399),
            subnets: "10.214.0.0/20".parse().expect("a network"),
            log: api::HostLog::default(),
            mirror: None,
            images: BTreeMap::new(),
            insecure: false,
            storage_class: None,
        }),
        sealed: None,
        fill_state: Json(BTreeMap::new()),
        maintenance_until: None,
        info: None,
        created_at: now.into(),
    }
}

fn cluster(host: &HostRow, place: usize, now: Timestamp) -> ClusterRow {
    let id = Uuid::now_v7();
    let fresh = now.plus_seconds(HOUR);
    ClusterRow {
        id,
        name: format!("c{place}"),
        host_id: host.id,
        network_type: "cometbft".to_owned(),
        preset: "default".to_owned(),
        version: "0.38".to_owned(),
        consensus: "bft".to_owned(),
        size: 4,
        parameters: Json(json!({"validators": 4, "block_interval_ms": 1000, "empty_blocks": true})),
        made_with: None,
        labels: "{}".to_owned(),
        state: Word(api::ClusterState::Ready),
        generation: 1,
        chain_id: format!("cp-{}-1", id.simple()),
        health: Word(api::HealthState::Healthy),
        health_reason: "all 4 of 4 validators take part".to_owned(),
        health_since: now.into(),
        checked_at: fresh.into(),
        height: Some(1),
        ledger_fault: None,
        proof: None,
        leased: false,
        schedulable: true,
        operation_id: None,
        subnet: None,
        machines: Json(BTreeMap::new()),
        memory_bytes: 1 << 30,
        fill_key: None,
        stopped_nodes: Json(BTreeSet::new()),
        maintenance_until: None,
        power_at: now.into(),
        created_at: now.into(),
        ready_at: Some(now.into()),
        gone_at: None,
    }
}
