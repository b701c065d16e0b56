//! The Swarm agent on a real swarm of three machines: what the kit, which any agent must pass, cannot ask. One test after
//! the other, because some take a machine away. A swarm that cannot be made here is told loudly; nothing then passes.

mod bed;
#[path = "../docker/busybox.rs"]
mod busybox;
mod lives;
mod machines;
mod yard;

use bed::{Bed, Skipped};
use futures::{FutureExt, future::LocalBoxFuture};
use std::{panic::AssertUnwindSafe, process::ExitCode, time::Instant};
use yard::Yard;

/// One promise.
struct Test {
    name: &'static str,
    run: for<'y> fn(&'y Yard<'y>) -> LocalBoxFuture<'y, anyhow::Result<()>>,
    /// It breaks machines, so they must be ours.
    breaks: bool,
}

const TESTS: &[Test] = &[
    Test {
        name: "a_cluster_lives_on_two_machines_and_leaves_nothing",
        run: |yard| lives::on_two_machines(yard).boxed_local(),
        breaks: false,
    },
    Test {
        name: "files_reach_a_machine_that_we_cannot_speak_to_and_are_wiped_there",
        run: |yard| lives::beyond_reach(yard).boxed_local(),
        breaks: false,
    },
    Test {
        name: "a_service_and_a_network_of_others_are_not_touched",
        run: |yard| lives::beside_others(yard).boxed_local(),
        breaks: false,
    },
    Test {
        name: "a_manager_that_dies_is_followed_by_the_next",
        run: |yard| machines::manager_dies(yard).boxed_local(),
        breaks: true,
    },
    Test {
        name: "a_machine_that_is_cut_off_is_known_to_be",
        run: |yard| machines::machine_cut(yard).boxed_local(),
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
                println!(
                    "test {name} … SKIPPED, not passed: the machines of this swarm are not ours to break"
                );
                continue;
            }
            let (start, yard) = (Instant::now(), Yard::open(&bed));
            let outcome = AssertUnwindSafe(run(&yard)).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
            let outcome = yard.close().await.and(outcome);
            let verdict = outcome
                .as_ref()
                .map_or_else(|error| format!("FAILED: {error:#}"), |()| "ok".to_owned());
            println!("test {name} … {verdict} ({:.1} s)", start.elapsed().as_secs_f32());
            failed += u32::from(outcome.is_err());
        }
        bed.close().await.expect("the bed is cleared");
        ExitCode::from(u8::from(failed > 0))
    })
}
