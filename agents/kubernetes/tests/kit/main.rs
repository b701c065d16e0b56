//! The conformance kit on a real cluster (`CHAINPOOL_TEST_KUBECONFIG` or the test bed), with only the
//! permissions of `rbac.yaml`. Arguments select promises by parts of their names.

#[path = "../kubernetes/bed.rs"]
mod bed;
mod test_platform;

use bed::{Bed, Found};
use chainpool_agent::kit::{self, Outcome, Report};
use std::{process::ExitCode, time::Duration};
use test_platform::{KubernetesTestPlatform, NAME};

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("the first one");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let promises = kit::selected(std::env::args().skip(1));
        match Bed::open().await.expect("the cluster is prepared") {
            Found::Bed(bed) => {
                let platform = KubernetesTestPlatform::new(*bed);
                let report = kit::run(&platform, &promises).await;
                platform.close().expect("the cluster is stopped");
                report.finish()
            }
            Found::Skip(why) => {
                println!("\n!!! SKIPPED: the kit on Kubernetes: {why}\n");
                let rows = promises
                    .iter()
                    .map(|promise| (promise.name, Outcome::Skipped(why.clone()), Duration::ZERO))
                    .collect();
                Report {
                    platform: NAME.to_owned(),
                    seed: 0,
                    rows,
                }
                .finish()
            }
        }
    })
}
