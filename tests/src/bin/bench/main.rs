//! Measures speed and size of the release binary on this machine's engine: `make bench`.
//!
//! Figures are compared within one run, because machines differ; a missed bar is told and fails nothing, because a busy
//! machine is no fault of the program.

mod applies;
mod clients;
mod fabric;
mod faults;
mod footprint;
mod hand;
mod heights;
mod kubernetes;
mod machine;
mod networks;
mod platforms;
mod pool;
mod report;
mod samples;
mod server;
mod swarm;

use anyhow::Result;
use clap::Parser;
use hand::Hand;
use pool::Pool;
use report::{Report, Row};
use std::path::PathBuf;

/// Measures speed and size.
#[derive(Debug, Parser)]
struct Args {
    /// The release binary
    #[arg(long, default_value = "target/release/chainpool")]
    binary: PathBuf,
    /// The small binary, for the rows of size
    #[arg(long, default_value = "target/dist/chainpool")]
    small: PathBuf,
    /// Where the figures are written for programs
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// A README whose table is written anew
    #[arg(long)]
    readme: Option<PathBuf>,
    /// Only these measures: apply, one, fabric, faults, ten, swarm, kubernetes
    #[arg(long, value_delimiter = ',', value_parser = ["apply", "one", "fabric", "faults", "ten", "swarm", "kubernetes"])]
    only: Vec<String>,
    /// Serves a data folder for the measure of apply
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    // Nothing else has installed one before.
    drop(rustls::crypto::ring::default_provider().install_default());
    let args = Args::parse();
    if let Some(folder) = &args.serve {
        return applies::serve(folder).await;
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
    // A README with half of the figures would be wrong.
    outcome?;
    match &args.readme {
        Some(readme) if args.only.is_empty() => report.write_readme(readme),
        _ => Ok(()),
    }
}

/// All measures that are wanted. What was measured before one failed is kept.
async fn measure(args: &Args) -> (Vec<Row>, Result<()>) {
    let mut rows = Vec::new();
    let outcome = async {
        if wanted(args, "apply") {
            tell(&mut rows, "apply", applies::measure().await?);
        }
        if ["one", "fabric", "faults", "ten"]
            .iter()
            .any(|name| wanted(args, name))
        {
            on_engine(args, &mut rows).await?;
        }
        if wanted(args, "swarm") {
            tell(&mut rows, "swarm", platforms::on_swarm(&args.binary).await?);
        }
        if wanted(args, "kubernetes") {
            tell(
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
    // The first one warms the engine up and shows what its containers are like.
    let (cluster, _) = pool.create().await?;
    let hand = Hand::like(&pool.engine, &cluster).await?;
    pool.delete(cluster.id).await?;
    let outcome = with_pool(args, rows, pool, &hand).await;
    hand.clear().await?;
    outcome
}

async fn with_pool(args: &Args, rows: &mut Vec<Row>, pool: Pool, hand: &Hand) -> Result<()> {
    let early = async {
        if wanted(args, "one") {
            tell(rows, "one", networks::one(&pool, hand).await?);
        }
        if wanted(args, "fabric") {
            tell(rows, "fabric", fabric::measure(&pool).await?);
        }
        if wanted(args, "faults") {
            tell(rows, "faults", faults::measure(&pool, hand).await?);
        }
        if wanted(args, "ten") {
            tell(rows, "ten", networks::ten(&pool, hand).await?);
        }
        anyhow::Ok(())
    }
    .await;
    if early.is_err() || !wanted(args, "ten") {
        pool.close().await?;
        return early;
    }
    let (pool, footprint) = footprint::measure(pool, &args.small).await?;
    tell(rows, "size", footprint);
    pool.close().await
}

fn wanted(args: &Args, name: &str) -> bool {
    args.only.is_empty() || args.only.iter().any(|only| only == name)
}

fn tell(rows: &mut Vec<Row>, part: &str, mut more: Vec<Row>) {
    eprintln!("measured: {part}");
    rows.append(&mut more);
}
