//! The agent against a real cluster, under the rights of `rbac.yaml` alone: `CHAINPOOL_TEST_KUBECONFIG`, or the test bed.
//!
//! Arguments are parts of names of tests. Several run at once; those that break the cluster come last, each alone.

mod bed;
mod files;
mod nodes;
mod outages;
mod rights;
mod whole;
mod yard;

use anyhow::Result;
use bed::{Bed, Found};
use futures::{FutureExt, StreamExt, future::LocalBoxFuture, stream};
use std::{panic::AssertUnwindSafe, process::ExitCode, time::Duration};
use tokio::time::{Instant, timeout};
use yard::Yard;

/// How many tests run at once.
const AT_ONCE: usize = 3;
/// How long one may take.
const LIMIT: Duration = Duration::from_mins(5);

type Run = for<'a> fn(&'a Yard<'a>) -> LocalBoxFuture<'a, Result<()>>;

/// A test, and whether it breaks the cluster for others meanwhile.
struct Test {
    name: &'static str,
    alone: bool,
    run: Run,
}

macro_rules! tests {
    ($alone:literal: $($module:ident :: $name:ident),+ $(,)?) => {
        [$(Test { name: stringify!($name), alone: $alone, run: |yard| Box::pin($module::$name(yard)) }),+]
    };
}

fn all() -> Vec<Test> {
    let mut tests = Vec::from(tests![false:
        whole::two_nodes_live_and_leave_nothing,
        whole::a_probe_tells_the_cluster_as_it_is,
        whole::images_are_found_or_their_absence_is_told,
        whole::what_happens_is_told,
        files::files_have_their_modes_and_owners,
        files::a_once_file_is_as_the_node_left_it,
        files::a_file_of_some_megabytes_arrives_whole,
        files::secret_variables_reach_the_node_and_not_its_pod,
        nodes::a_node_that_cannot_start_says_why,
        nodes::a_node_that_fits_on_no_machine_says_why,
        nodes::root_becomes_somebody_else,
        nodes::a_taken_port_is_told_as_such,
        nodes::a_foreign_namespace_is_not_touched,
        nodes::a_foreign_object_keeps_its_namespace,
        nodes::a_namespace_deleted_by_hand_is_made_again,
        rights::what_rbac_does_not_give_is_denied,
        rights::the_namespace_refuses_privileges,
    ]);
    tests.extend(tests![true:
        outages::a_broken_api_does_not_hold_up_the_next_generation,
        outages::the_api_server_goes_away_and_comes_back,
    ]);
    tests
}

fn main() -> ExitCode {
    let parts: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut tests = all();
    tests.retain(|test| parts.is_empty() || parts.iter().any(|part| test.name.contains(part)));
    if std::env::args().any(|argument| argument == "--list") {
        tests.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("the first one");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        match Bed::open().await {
            Ok(Found::Skip(why)) => {
                println!("\n!!! SKIPPED: all {} tests on Kubernetes: {why}\n", tests.len());
                ExitCode::SUCCESS
            }
            Ok(Found::Bed(bed)) => {
                let failed = run(&bed, &tests).await;
                if let Err(error) = bed.close() {
                    println!("the cluster could not be taken down: {error:#}");
                    return ExitCode::FAILURE;
                }
                if failed == 0 {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(error) => {
                println!("the cluster could not be prepared: {error:#}");
                ExitCode::FAILURE
            }
        }
    })
}

async fn run(bed: &Bed, tests: &[Test]) -> usize {
    let (alone, beside): (Vec<_>, Vec<_>) = tests.iter().partition(|test| test.alone);
    let mut failed: usize = stream::iter(beside)
        .map(|test| one(bed, test))
        .buffer_unordered(AT_ONCE)
        .filter(|ok| std::future::ready(!ok))
        .count()
        .await;
    for test in alone {
        if bed.ours {
            failed += usize::from(!one(bed, test).await);
        } else {
            println!(
                "{:<50} SKIPPED: no component of this cluster is ours to stop",
                test.name
            );
        }
    }
    println!("\nKubernetes: {} tests, {failed} failed", tests.len());
    failed
}

/// Runs one test in a yard of its own. Whatever happens, nothing of it stays.
async fn one(bed: &Bed, test: &Test) -> bool {
    let start = Instant::now();
    let outcome = async {
        let yard = Yard::open(bed).await?;
        let ran = timeout(LIMIT, AssertUnwindSafe((test.run)(&yard)).catch_unwind()).await;
        let outcome = match ran {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(anyhow::anyhow!("it panicked (see above)")),
            Err(_) => Err(anyhow::anyhow!("no end within {} s", LIMIT.as_secs())),
        };
        let census = if outcome.is_ok() {
            yard.census().await
        } else {
            Ok(())
        };
        yard.clear().await?;
        outcome.and(census)
    }
    .await;
    let verdict = outcome
        .as_ref()
        .map_or_else(|error| format!("FAILED: {error:#}"), |()| "ok".to_owned());
    println!(
        "{:<50} {:5.1} s  {verdict}",
        test.name,
        start.elapsed().as_secs_f32()
    );
    outcome.is_ok()
}
