//! A large pool on the platform in memory: memory, processor time, latency of lists and pages, and the time until
//! the exit of one node among all is seen.
//!
//! Server, dashboard and watchdog are this program in a separate process. The platform is part of that process,
//! so its figures include the platform's share.

use crate::{
    fleet_seed::{Size, seed},
    fleet_server::{EXIT, QUERIES, WATCH},
    machine,
    report::{Bar, Row, quantile},
};
use anyhow::{Context, Result, ensure};
use chainpool_api::{
    Cluster, HealthChange, HealthState, Lease, Operation, OperationKind, Page, Status, Timestamp,
};
use chainpool_tests::Api;
use reqwest::Client;
use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::sleep,
};

const LARGE: Size = Size {
    hosts: 1000,
    clusters_per_host: 10,
};
/// A pool whose lists have fewer rows than a page.
const SMALL: Size = Size {
    hosts: 3,
    clusters_per_host: 2,
};
/// Time in which every ledger is probed and every host is assessed at least once.
const WARM_UP: Duration = Duration::from_secs(65);
/// Time of rest that is measured; it contains at least two full passes.
const REST: Duration = Duration::from_secs(70);
/// Requests for each path, at most.
const REQUESTS: usize = 150;
/// Time for the requests of each path.
const TIME_FOR_PATH: Duration = Duration::from_secs(4);
/// Clusters whose node exits.
const EXITS: usize = 5;
/// Deadline until an exit is seen.
const SEEN_LIMIT: Duration = Duration::from_mins(1);

/// Measures the pool.
pub(crate) async fn measure() -> Result<Vec<Row>> {
    let folder = TempDir::new()?;
    let data = folder.path().join("small");
    seed(&data, SMALL).await?;
    let mut small = Fleet::start(&data).await?;
    let few = small.queries_of_each().await?;
    small.stop().await?;

    let data = folder.path().join("large");
    let start = Instant::now();
    seed(&data, LARGE).await?;
    eprintln!("fleet: seeded in {:.1} s", start.elapsed().as_secs_f64());
    let mut fleet = Fleet::start(&data).await?;
    let many = fleet.queries_of_each().await?;
    let mut rows = vec![queries_row(&few, &many)];
    fleet.command(WATCH).await?;
    sleep(WARM_UP).await;
    rows.extend(at_rest(&fleet).await?);
    rows.extend(latencies(&fleet).await?);
    rows.push(exits(&mut fleet).await?);
    fleet.stop().await?;
    Ok(rows)
}

/// Queries of each REST list and page.
type Queries = Vec<(String, u64)>;

fn queries_row(few: &Queries, many: &Queries) -> Row {
    let mut growing = Vec::new();
    let mut most = 0;
    for ((path, few), (_, many)) in few.iter().zip(many) {
        eprintln!(
            "fleet: {few} queries with {} clusters, {many} with {}: {path}",
            SMALL.clusters(),
            LARGE.clusters()
        );
        most = most.max(*many);
        if many > few {
            growing.push(path.as_str());
        }
    }
    let count = u32::try_from(growing.len()).unwrap_or(u32::MAX);
    Row::new(
        "fleet: lists and pages with more queries for more rows",
        f64::from(count),
        "",
    )
    .bar(Bar::AtMost(0.0))
    .note(format!("of {}; at most {most} queries each", many.len()))
}

/// Watches the pool without requests.
async fn at_rest(fleet: &Fleet) -> Result<Vec<Row>> {
    let (start, before) = (Instant::now(), machine::processor_seconds(fleet.process)?);
    let mut resident = 0.0_f64;
    while start.elapsed() < REST {
        sleep(Duration::from_secs(1)).await;
        resident = resident.max(machine::resident_mb(fleet.process)?);
    }
    let busy = machine::processor_seconds(fleet.process)? - before;
    let share = busy / start.elapsed().as_secs_f64();
    let status: Status = fleet.api.get("/status").await?;
    let note = format!(
        "{} hosts, {} clusters of one node; {:.0} MB of it when only the platform in memory existed",
        LARGE.hosts,
        LARGE.clusters(),
        fleet.platform_mb
    );
    let pass = format!(
        "in {} s with two full passes, the latest in {:.1} s; load average {} at the end; {} of {} clusters offered or leased",
        REST.as_secs(),
        Duration::from_millis(status.watchdog.last_pass_ms).as_secs_f64(),
        machine::load()?,
        status.pool.offered + status.pool.leased,
        LARGE.clusters()
    );
    Ok(vec![
        Row::new("fleet: resident memory", resident, "MB")
            .bar(Bar::AtMost(150.0))
            .note(note),
        Row::new(
            "fleet: resident memory without the platform in memory",
            resident - fleet.platform_mb,
            "MB",
        ),
        Row::new("fleet: processors in use at rest", share, "")
            .bar(Bar::AtMost(0.25))
            .note(pass),
    ])
}

/// Times each REST list and each page, while the watchdog runs.
async fn latencies(fleet: &Fleet) -> Result<Vec<Row>> {
    let paths = fleet.paths().await?;
    let mut rows = Vec::new();
    for (what, prefix) in [("REST list", REST_PREFIX), ("dashboard page", "")] {
        let mut slowest = (0.0_f64, String::new());
        for path in paths
            .iter()
            .filter(|path| path.starts_with(REST_PREFIX) != prefix.is_empty())
        {
            let samples = fleet.time(path).await?;
            let (half, slow) = (quantile(&samples, 50), quantile(&samples, 99));
            eprintln!(
                "fleet: p50 {half:.1} ms, p99 {slow:.1} ms of {}: {path}",
                samples.len()
            );
            if slow > slowest.0 {
                slowest = (slow, format!("GET {}; p50 {half:.1} ms", shown(path)));
            }
        }
        let (slow, note) = slowest;
        rows.push(
            Row::new(format!("fleet: slowest {what}, p99"), slow, "ms")
                .bar(Bar::AtMost(50.0))
                .note(note),
        );
    }
    Ok(rows)
}

/// A path without the ids of this run.
fn shown(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        if part.parse::<uuid::Uuid>().is_ok() {
            "{id}"
        } else {
            part
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Ends the only node of a few clusters and waits until REST reports each as broken.
async fn exits(fleet: &mut Fleet) -> Result<Row> {
    let free: Page<Cluster> = fleet.api.get("/clusters?offered=true").await?;
    let mut seconds = Vec::new();
    for cluster in free.items.into_iter().take(EXITS) {
        let (start, at) = (Instant::now(), Timestamp::now());
        fleet.command(&format!("{EXIT}{}", cluster.id)).await?;
        loop {
            let changes: Page<HealthChange> =
                fleet.api.get(&format!("/clusters/{}/health", cluster.id)).await?;
            if changes
                .items
                .iter()
                .any(|change| change.state == HealthState::Broken && change.at >= at)
            {
                break;
            }
            ensure!(
                start.elapsed() < SEEN_LIMIT,
                "the exit of {} is not seen",
                cluster.name
            );
            sleep(Duration::from_millis(5)).await;
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    let worst = quantile(&seconds, 100);
    Ok(Row::new("fleet: exit of a node among all, seen", worst, "s")
        .bar(Bar::AtMost(1.0))
        .note(format!(
            "worst of {EXITS}; median {:.2} s",
            quantile(&seconds, 50)
        )))
}

const REST_PREFIX: &str = "/api/v1";

/// REST lists without ids.
const LISTS: [&str; 14] = [
    "/hosts",
    "/hosts?search=h0",
    "/clusters",
    "/clusters?health=broken",
    "/clusters?offered=true",
    "/clusters?search=-01",
    "/operations",
    "/operations?state=running",
    "/leases",
    "/leases?state=active",
    "/status",
    "/accounts",
    "/tokens",
    "/network-types",
];

/// Dashboard pages without ids.
const PAGES: [&str; 14] = [
    "/status",
    "/hosts",
    "/hosts/new",
    "/clusters",
    "/clusters?offered=true",
    "/clusters/new",
    "/leases",
    "/operations",
    "/search?q=-01",
    "/network-types",
    "/account",
    "/admin",
    "/sign-out",
    "/hosts?search=h0",
];

/// A served pool.
struct Fleet {
    child: Child,
    process: u32,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Memory of the process when only the platform existed, in MB.
    platform_mb: f64,
    api: Api,
    base: String,
    token: String,
    /// The token as the cookie of a session on the dashboard.
    cookie: String,
    client: Client,
}

impl Fleet {
    async fn start(folder: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--serve-fleet")
            .arg(folder)
            // As in the image, the systemd service and `make run`.
            .env("MALLOC_ARENA_MAX", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("its output is piped")?;
        let mut output = BufReader::new(output).lines();
        let platform_mb = line(&mut output).await?.parse()?;
        let serving = line(&mut output).await?;
        let (address, token) = serving.split_once(' ').context("address and token")?;
        let base = format!("http://{address}");
        let api = Api::new(&base, token)?;
        let instance = api.get::<Status>("/status").await?.instance.replace('-', "");
        let cookie = format!("chainpool_session_{}={token}", &instance[instance.len() - 12..]);
        Ok(Self {
            process: child.id().context("the server has ended")?,
            input: child.stdin.take().context("its input is piped")?,
            child,
            output,
            platform_mb,
            api,
            token: token.to_owned(),
            cookie,
            client: Client::builder().no_proxy().tls_certs_only([]).build()?,
            base,
        })
    }

    /// Sends a command and returns its answer.
    async fn command(&mut self, command: &str) -> Result<String> {
        self.input.write_all(format!("{command}\n").as_bytes()).await?;
        line(&mut self.output).await
    }

    /// All paths to measure: REST lists and pages, also those of one host, cluster, lease and operation.
    async fn paths(&self) -> Result<Vec<String>> {
        let clusters: Page<Cluster> = self.api.get("/clusters").await?;
        let leases: Page<Lease> = self.api.get("/leases?state=active").await?;
        let kind = OperationKind::HostFillup;
        let fillups: Page<Operation> = self.api.get(&format!("/operations?kind={kind}")).await?;
        let (cluster, lease) = (clusters.items.last(), leases.items.first());
        let cluster = cluster.context("the pool has clusters")?;
        let (cluster, host) = (cluster.id, &cluster.host);
        let lease = lease.context("the pool has leases")?.id;
        let fillup = fillups.items.last().context("the pool was filled")?.id;
        let lists = [
            format!("/clusters?host={host}"),
            format!("/operations?host={host}"),
            format!("/operations?parent={fillup}"),
            format!("/operations/{fillup}"),
            format!("/clusters/{cluster}/health"),
            format!("/leases?cluster={cluster}"),
        ];
        let pages = [
            format!("/hosts/{host}"),
            format!("/hosts/{host}/edit"),
            format!("/hosts/{host}/reset"),
            format!("/clusters/{cluster}"),
            format!("/clusters/{cluster}/operations"),
            format!("/clusters/{cluster}/health"),
            format!("/clusters/{cluster}/reset"),
            format!("/leases/{lease}"),
            format!("/operations/{fillup}"),
        ];
        let lists = LISTS.map(str::to_owned).into_iter().chain(lists);
        let pages = PAGES.map(str::to_owned).into_iter().chain(pages);
        Ok(lists
            .map(|list| format!("{REST_PREFIX}{list}"))
            .chain(pages)
            .collect())
    }

    /// Requests a path and reads the whole response.
    async fn get(&self, path: &str) -> Result<()> {
        let request = self.client.get(format!("{}{path}", self.base));
        let request = if path.starts_with(REST_PREFIX) {
            request.bearer_auth(&self.token)
        } else {
            request.header("cookie", &self.cookie)
        };
        let response = request.send().await?;
        let (status, text) = (response.status(), response.text().await?);
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(())
    }

    /// Milliseconds of each request.
    async fn time(&self, path: &str) -> Result<Vec<f64>> {
        let begin = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < REQUESTS && begin.elapsed() < TIME_FOR_PATH {
            let start = Instant::now();
            self.get(path).await?;
            samples.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(samples)
    }

    /// Counts the queries of each path: the fewest of three requests, because one may also check the token again.
    /// Nothing else may run.
    async fn queries_of_each(&mut self) -> Result<Queries> {
        let mut counts = Vec::new();
        for path in self.paths().await? {
            let mut fewest = u64::MAX;
            for _ in 0..3 {
                let before: u64 = self.command(QUERIES).await?.parse()?;
                self.get(&path).await?;
                let after: u64 = self.command(QUERIES).await?.parse()?;
                fewest = fewest.min(after - before);
            }
            counts.push((shown(&path), fewest));
        }
        Ok(counts)
    }

    /// Ends the input, and so the server.
    async fn stop(mut self) -> Result<()> {
        drop(self.input);
        ensure!(self.child.wait().await?.success(), "the server failed");
        Ok(())
    }
}

async fn line(output: &mut Lines<BufReader<ChildStdout>>) -> Result<String> {
    output.next_line().await?.context("the server ended")
}
