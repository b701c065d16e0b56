//! The conformance kit on a real engine: `CHAINPOOL_TEST_DOCKER`, or `unix:///var/run/docker.sock`. Promises
//! that restart the platform run on their own engine. Arguments select promises by parts of their names.

#[path = "../docker/busybox.rs"]
mod busybox;
mod engine;
mod test_platform;

use chainpool_agent::kit::{self, Outcome, Promise, Report};
use engine::OwnEngine;
use std::{net::Ipv4Addr, process::ExitCode, time::Duration};
use test_platform::DockerTestPlatform;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let promises = kit::selected(std::env::args().skip(1));
        let (alone, beside): (Vec<_>, Vec<_>) = promises.into_iter().partition(|promise| promise.restarts);
        let address = std::env::var("CHAINPOOL_TEST_DOCKER")
            .unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let platform = DockerTestPlatform::open(address, Ipv4Addr::LOCALHOST, None)
            .await
            .expect("the engine and busybox are needed");
        let mut report = kit::run(&platform, &beside).await;
        platform.close().await.expect("the platform is cleaned up");
        if !alone.is_empty() {
            report = report.and(on_own_engine(&alone).await);
        }
        report.finish()
    })
}

/// Runs promises that restart the platform on their own engine. Without such an engine they are skipped, with
/// the reason.
async fn on_own_engine(promises: &[Promise]) -> Report {
    let opened = async {
        let engine = OwnEngine::up().await?;
        let (socket, address) = (engine.socket(), engine.address.parse()?);
        DockerTestPlatform::open(socket, address, Some(engine)).await
    };
    match opened.await {
        Ok(platform) => kit::run(&platform, promises).await,
        Err(why) => {
            let skipped = Outcome::Skipped(format!("no second engine could be created: {why:#}"));
            let rows = promises
                .iter()
                .map(|promise| (promise.name, skipped.clone(), Duration::ZERO))
                .collect();
            Report {
                platform: test_platform::NAME.to_owned(),
                seed: 0,
                rows,
            }
        }
    }
}
