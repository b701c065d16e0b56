//! The conformance kit on a real engine: `CHAINPOOL_TEST_DOCKER`, or `unix:///var/run/docker.sock`; what restarts the
//! platform runs on an engine of its own. Arguments choose promises by parts of their names.

#[path = "../docker/busybox.rs"]
mod busybox;
mod engine;
mod ground;

use chainpool_agent::kit::{self, Outcome, Promise, Report};
use engine::OwnEngine;
use ground::DockerGround;
use std::{net::Ipv4Addr, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let promises = kit::asked_for(std::env::args().skip(1));
        let (alone, beside): (Vec<_>, Vec<_>) = promises.into_iter().partition(|promise| promise.restarts);
        let address = std::env::var("CHAINPOOL_TEST_DOCKER")
            .unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let ground = DockerGround::open(address, Ipv4Addr::LOCALHOST, None)
            .await
            .expect("the engine and busybox are needed");
        let mut report = kit::run(&ground, &beside).await;
        ground.close().await.expect("the ground is cleared");
        if !alone.is_empty() {
            report = report.and(on_own_engine(&alone).await);
        }
        report.finish()
    })
}

/// Runs what restarts the platform on an engine that nobody else uses; where none can be made it is skipped, with the reason.
async fn on_own_engine(promises: &[Promise]) -> Report {
    let opened = async {
        let engine = OwnEngine::up().await?;
        let (socket, address) = (engine.socket(), engine.address.parse()?);
        DockerGround::open(socket, address, Some(engine)).await
    };
    match opened.await {
        Ok(ground) => kit::run(&ground, promises).await,
        Err(why) => {
            let skipped = Outcome::Skipped(format!("no second engine could be made: {why:#}"));
            let rows = promises
                .iter()
                .map(|promise| (promise.name, skipped.clone(), Duration::ZERO))
                .collect();
            Report {
                ground: ground::NAME.to_owned(),
                seed: 0,
                rows,
            }
        }
    }
}
