//! The conformance kit on a real cluster, under the rights of `rbac.yaml` alone: `CHAINPOOL_TEST_KUBECONFIG`, or the test
//! bed. Arguments choose promises by parts of their names.

#[path = "../kubernetes/bed.rs"]
mod bed;
mod ground;

use bed::{Bed, Found};
use chainpool_agent::kit::{self, Outcome, Report};
use ground::{KubernetesGround, NAME};
use std::{process::ExitCode, time::Duration};

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
        let promises = kit::asked_for(std::env::args().skip(1));
        match Bed::open().await.expect("the cluster is prepared") {
            Found::Bed(bed) => {
                let ground = KubernetesGround::new(*bed);
                let report = kit::run(&ground, &promises).await;
                ground.close().expect("the cluster is taken down");
                report.finish()
            }
            Found::Skip(why) => {
                println!("\n!!! SKIPPED: the kit on Kubernetes: {why}\n");
                let rows = promises
                    .iter()
                    .map(|promise| (promise.name, Outcome::Skipped(why.clone()), Duration::ZERO))
                    .collect();
                Report {
                    ground: NAME.to_owned(),
                    seed: 0,
                    rows,
                }
                .finish()
            }
        }
    })
}
