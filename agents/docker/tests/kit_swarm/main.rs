//! The conformance kit on a real swarm: see `bed.rs`. Arguments choose promises by parts of their names. A swarm that cannot
//! be made here is told loudly, and each of its cells is `skipped`.

#[path = "../swarm/bed.rs"]
mod bed;
#[path = "../docker/busybox.rs"]
mod busybox;
mod ground;

use bed::{Bed, Skipped};
use chainpool_agent::kit::{self, Outcome, Report};
use ground::SwarmGround;
use std::{process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let promises = kit::asked_for(std::env::args().skip(1));
        let bed = match Bed::up().await.expect("the bed starts, or says why not") {
            Ok(bed) => bed,
            Err(Skipped(why)) => {
                let rows = promises
                    .iter()
                    .map(|p| (p.name, Outcome::Skipped(why.clone()), Duration::ZERO))
                    .collect();
                return Report {
                    ground: ground::NAME.to_owned(),
                    seed: 0,
                    rows,
                }
                .finish();
            }
        };
        let ground = SwarmGround::new(bed);
        // What restarts a machine runs when nothing else is there.
        let (alone, beside): (Vec<_>, Vec<_>) = promises.into_iter().partition(|promise| promise.restarts);
        let mut report = kit::run(&ground, &beside).await;
        if !alone.is_empty() {
            report = report.and(kit::run(&ground, &alone).await);
        }
        ground.close().await.expect("the ground is cleared");
        report.finish()
    })
}
