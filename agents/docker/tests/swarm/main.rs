//! The Swarm agent on a real swarm of three machines: tests beyond the kit. They run in sequence, because
//! some stop a machine. Without a swarm all are skipped.

mod bed;
#[path = "../docker/busybox.rs"]
mod busybox;
mod fixture;
mod machines;
mod nodes;

use bed::{Bed, Skipped};
use fixture::Fixture;
use futures::{FutureExt, future::LocalBoxFuture};
use std::{panic::AssertUnwindSafe, process::ExitCode, time::Instant};

/// One test.
struct Test {
    name: &'static str,
    run: for<'y> fn(&'y Fixture<'y>) -> LocalBoxFuture<'y, anyhow::Result<()>>,
    /// It breaks machines, so the bed must be ours.
    breaks: bool,
}

const TESTS: &[Test] = &[
    Test {
        name: "a_cluster_runs_on_two_machines_and_leaves_nothing",
        run: |fixture| nodes::on_two_machines(fixture).boxed_local(),
        breaks: false,
    },
    Test {
        name: "files_are_placed_and_wiped_on_a_machine_without_direct_access",
        run: |fixture| nodes::beyond_reach(fixture).boxed_local(),
        breaks: false,
    },
    Test {
        name: "a_foreign_service_and_network_are_not_touched",
        run: |fixture| nodes::beside_others(fixture).boxed_local(),
        breaks: false,
    },
    Test {
        name: "a_killed_manager_fails_over_to_the_next",
        run: |fixture| machines::manager_dies(fixture).boxed_local(),
        breaks: true,
    },
    Test {
        name: "a_disconnected_machine_is_reported_as_down",
        run: |fixture| machines::machine_cut(fixture).boxed_local(),
        breaks: true,
    },
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let chosen = TESTS
        .iter()
        .filter(|test| wanted.is_empty() || wanted.iter().any(|part| test.name.contains(part.as_str())));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let bed = match Bed::up().await.expect("the bed starts, or says why not") {
            Ok(bed) => bed,
            Err(Skipped(why)) => {
                println!("SWARM TESTS SKIPPED, none passed: {why}");
                return ExitCode::SUCCESS;
            }
        };
        let mut failed = 0;
        for Test { name, run, breaks } in chosen {
            if *breaks && !bed.ours {
                println!("test {name} … SKIPPED, not passed: the machines of this swarm must not be broken");
                continue;
            }
            let (start, fixture) = (Instant::now(), Fixture::open(&bed));
            let outcome = AssertUnwindSafe(run(&fixture)).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
            let outcome = fixture.close().await.and(outcome);
            let verdict = outcome
                .as_ref()
                .map_or_else(|error| format!("FAILED: {error:#}"), |()| "ok".to_owned());
            println!("test {name} … {verdict} ({:.1} s)", start.elapsed().as_secs_f32());
            failed += u32::from(outcome.is_err());
        }
        bed.close().await.expect("the bed is cleaned up");
        ExitCode::from(u8::from(failed > 0))
    })
}
