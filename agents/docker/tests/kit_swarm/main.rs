//! The conformance kit on a real swarm: see `bed.rs`. Arguments select promises by parts of their names.
//! Without a swarm, each cell is `skipped`.

#[path = "../swarm/bed.rs"]
mod bed;
#[path = "../docker/busybox.rs"]
mod busybox;
mod test_platform;

use bed::{Bed, Skipped};
use chainpool_agent::kit::{self, Outcome, Report};
use std::{process::ExitCode, time::Duration};
use test_platform::SwarmTestPlatform;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let promises = kit::selected(std::env::args().skip(1));
        let bed = match Bed::up().await.expect("the bed starts, or says why not") {
            Ok(bed) => bed,
            Err(Skipped(why)) => {
                let rows = promises
                    .iter()
                    .map(|p| (p.name, Outcome::Skipped(why.clone()), Duration::ZERO))
                    .collect();
                return Report {
                    platform: test_platform::NAME.to_owned(),
                    seed: 0,
                    rows,
                }
                .finish();
            }
        };
        let platform = SwarmTestPlatform::new(bed);
        // Promises that restart a machine run alone.
        let (alone, beside): (Vec<_>, Vec<_>) = promises.into_iter().partition(|promise| promise.restarts);
        let mut report = kit::run(&platform, &beside).await;
        if !alone.is_empty() {
            report = report.and(kit::run(&platform, &alone).await);
        }
        platform.close().await.expect("the platform is cleaned up");
        report.finish()
    })
}
