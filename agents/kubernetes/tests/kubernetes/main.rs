//! The agent on a real cluster (`CHAINPOOL_TEST_KUBECONFIG` or the test bed), with only the permissions of
//! `rbac.yaml`.
//!
//! Arguments are parts of test names. Tests run concurrently; those that disrupt the cluster run last, one by
//! one.

mod bed;
mod files;
mod fixture;
mod lifecycle;
mod nodes;
mod outages;
mod rights;

use anyhow::Result;
use bed::{Bed, Found};
use fixture::Fixture;
use futures::{FutureExt, StreamExt, future::LocalBoxFuture, stream};
use std::{panic::AssertUnwindSafe, process::ExitCode, time::Duration};
use tokio::time::{Instant, timeout};

/// The number of concurrent tests.
const CONCURRENCY: usize = 3;
/// Time limit of one test.
const LIMIT: Duration = Duration::from_mins(5);

type Run = for<'a> fn(&'a Fixture<'a>) -> LocalBoxFuture<'a, Result<()>>;

/// A test. An exclusive one disrupts the cluster for others.
struct Test {
    name: &'static str,
    exclusive: bool,
    run: Run,
}

macro_rules! tests {
    ($exclusive:literal: $($module:ident :: $name:ident),+ $(,)?) => {
        [$(Test { name: stringify!($name), exclusive: $exclusive, run: |fixture| Box::pin($module::$name(fixture)) }),+]
    };
}

fn all() -> Vec<Test> {
    let mut tests = Vec::from(tests![false:
        lifecycle::two_nodes_run_and_are_removed_completely,
        lifecycle::the_probe_reports_the_cluster,
        lifecycle::images_are_found_or_reported_missing,
        lifecycle::node_exits_are_reported_as_events,
        files::files_have_their_modes_and_owners,
        files::a_once_file_is_not_overwritten,
        files::a_large_file_is_placed_completely,
        files::secret_variables_are_absent_from_the_pod_spec,
        nodes::a_start_failure_reports_its_reason,
        nodes::an_unschedulable_node_reports_its_reason,
        nodes::root_is_replaced_by_an_unprivileged_user,
        nodes::an_occupied_port_is_reported,
        nodes::a_foreign_namespace_is_not_touched,
        nodes::a_foreign_object_blocks_namespace_deletion,
        nodes::a_manually_deleted_namespace_is_recreated,
        rights::permissions_outside_rbac_yaml_are_denied,
        rights::the_namespace_rejects_privileged_pods,
    ]);
    tests.extend(tests![true:
        outages::an_unavailable_api_does_not_block_the_next_generation,
        outages::nodes_survive_an_api_server_outage,
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
                    println!("cannot stop the cluster: {error:#}");
                    return ExitCode::FAILURE;
                }
                if failed == 0 {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(error) => {
                println!("cannot prepare the cluster: {error:#}");
                ExitCode::FAILURE
            }
        }
    })
}

async fn run(bed: &Bed, tests: &[Test]) -> usize {
    let (exclusive, concurrent): (Vec<_>, Vec<_>) = tests.iter().partition(|test| test.exclusive);
    let mut failed: usize = stream::iter(concurrent)
        .map(|test| run_one(bed, test))
        .buffer_unordered(CONCURRENCY)
        .filter(|ok| std::future::ready(!ok))
        .count()
        .await;
    for test in exclusive {
        if bed.ours {
            failed += usize::from(!run_one(bed, test).await);
        } else {
            println!(
                "{:<50} SKIPPED: components of this cluster cannot be stopped",
                test.name
            );
        }
    }
    println!("\nKubernetes: {} tests, {failed} failed", tests.len());
    failed
}

/// Runs one test in its own fixture, and cleans up in any case.
async fn run_one(bed: &Bed, test: &Test) -> bool {
    let start = Instant::now();
    let outcome = async {
        let fixture = Fixture::open(bed).await?;
        let ran = timeout(LIMIT, AssertUnwindSafe((test.run)(&fixture)).catch_unwind()).await;
        let outcome = match ran {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(anyhow::anyhow!("panicked (see above)")),
            Err(_) => Err(anyhow::anyhow!("timed out after {} s", LIMIT.as_secs())),
        };
        let leak_check = if outcome.is_ok() {
            fixture.leak_check().await
        } else {
            Ok(())
        };
        fixture.clean_up().await?;
        outcome.and(leak_check)
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
