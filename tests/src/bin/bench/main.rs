//! Measures speed and size of the release binary on this machine's engine: `make bench`.
//!
//! Figures are compared within one run, because machines differ. A missed target is reported and fails
//! nothing, because the machine may be busy.

mod applies;
mod baseline;
mod clients;
mod fabric;
mod faults;
mod fleet;
mod fleet_seed;
mod fleet_server;
mod footprint;
mod heights;
mod kubernetes;
mod machine;
mod networks;
mod platform_time;
mod platforms;
mod pool;
mod report;
mod samples;
mod server;
mod swarm;

use anyhow::Result;
use baseline::Baseline;
use clap::Parser;
use pool::Pool;
use report::{Report, Row};
use std::path::PathBuf;

/// Measure speed and size
#[derive(Debug, Parser)]
struct Args {
    /// Release binary to measure
    #[arg(long, default_value = "target/release/chainpool")]
    binary: PathBuf,
    /// Small binary, for the measure of size
    #[arg(long, default_value = "target/dist/chainpool")]
    small: PathBuf,
    /// JSON file for the figures
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Markdown page whose table is rewritten
    #[arg(long)]
    page: Option<PathBuf>,
    /// Only these measures: apply, fleet, one, fabric, faults, ten, swarm, kubernetes
    #[arg(long, value_delimiter = ',', value_parser = ["apply", "fleet", "one", "fabric", "faults", "ten", "swarm", "kubernetes"])]
    only: Vec<String>,
    /// Serve a data folder for the measure `apply`
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
    /// Serve a data folder for the measure `fleet`
    #[arg(long, hide = true)]
    serve_fleet: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    // No other code has installed a provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    let args = Args::parse();
    if let Some(folder) = &args.serve {
        return applies::serve(folder).await;
    }
    if let Some(folder) = &args.serve_fleet {
        return fleet_server::serve(folder).await;
    }
    let load_before = machine::load()?;
    let (rows, outcome) = measure(&args).await;
    let report = Report {
        machine: machine::describe()?,
        load_before,
        load_after: machine::load()?,
        rows,
    };
    print!("{}", report.table());
    report.write_json(&args.json)?;
    outcome?;
    match &args.page {
        Some(page) if args.only.is_empty() => report.write_page(page),
        // The rows of the other measures stay.
        Some(page) => report.update_page(page),
        None => Ok(()),
    }
}

/// Runs the selected measures. Keeps the results if a later measure fails.
async fn measure(args: &Args) -> (Vec<Row>, Result<()>) {
    let mut rows = Vec::new();
    let outcome = async {
        if wanted(args, "apply") {
            report_part(&mut rows, "apply", applies::measure().await?);
        }
        if wanted(args, "fleet") {
            report_part(&mut rows, "fleet", fleet::measure().await?);
        }
        if ["one", "fabric", "faults", "ten"]
            .iter()
            .any(|name| wanted(args, name))
        {
            on_engine(args, &mut rows).await?;
        }
        if wanted(args, "swarm") {
            report_part(&mut rows, "swarm", platforms::on_swarm(&args.binary).await?);
        }
        if wanted(args, "kubernetes") {
            report_part(
                &mut rows,
                "kubernetes",
                platforms::on_kubernetes(&args.binary).await?,
            );
        }
        Ok(())
    }
    .await;
    (rows, outcome)
}

async fn on_engine(args: &Args, rows: &mut Vec<Row>) -> Result<()> {
    let pool = Pool::open(&args.binary).await?;
    // The first cluster warms the engine up and provides the containers' settings.
    let (cluster, _) = pool.create().await?;
    let baseline = Baseline::like(&pool.engine, &cluster).await?;
    pool.delete(cluster.id).await?;
    let outcome = with_pool(args, rows, pool, &baseline).await;
    baseline.clear().await?;
    outcome
}

async fn with_pool(args: &Args, rows: &mut Vec<Row>, pool: Pool, baseline: &Baseline) -> Result<()> {
    let outcome = async {
        if wanted(args, "one") {
            report_part(rows, "one", networks::one(&pool, baseline).await?);
        }
        if wanted(args, "fabric") {
            let mut measured = fabric::measure(&pool).await?;
            measured.extend(samples::measure(&pool).await?);
            report_part(rows, "fabric", measured);
        }
        if wanted(args, "faults") {
            report_part(rows, "faults", faults::measure(&pool, baseline).await?);
        }
        if wanted(args, "ten") {
            report_part(rows, "ten", networks::ten(&pool, baseline).await?);
        }
        anyhow::Ok(())
    }
    .await;
    if outcome.is_err() || !wanted(args, "ten") {
        pool.close().await?;
        return outcome;
    }
    let (pool, footprint) = footprint::measure(pool, &args.small).await?;
    report_part(rows, "size", footprint);
    pool.close().await
}

fn wanted(args: &Args, name: &str) -> bool {
    args.only.is_empty() || args.only.iter().any(|only| only == name)
}

fn report_part(rows: &mut Vec<Row>, part: &str, mut more: Vec<Row>) {
    eprintln!("measured: {part}");
    rows.append(&mut more);
}
