//! `chainpool status` and `chainpool resume`.

use crate::{
    args::YesArgs,
    client::Client,
    confirm, duration,
    exit::{Exit, Failure, Result},
    operation_view,
    output::{self, NONE, clean, maybe_when, size, when},
};
use chainpool_api::{Counts, DatabaseStatus, HostStatus, Status, Unclaimed, WatchdogStatus};
use clap::Args;
use std::fmt::Write as _;

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    yes: YesArgs,
}

/// Shows overall health; exit status 1 if there are problems.
pub(crate) async fn run(client: &Client, json: bool) -> Result<()> {
    let response = client.status().await?;
    if json {
        output::json(&response.json)?;
    } else {
        output::line(text(&response.value))?;
    }
    if response.value.ok {
        Ok(())
    } else {
        Err(Failure::new(Exit::Error, ""))
    }
}

/// Resumes after a restore. Free clusters are reset, because they may have been used since the backup.
pub(crate) async fn resume(client: &Client, args: &ResumeArgs) -> Result<()> {
    let what = "This resets all free clusters. The watchdog then deletes and creates clusters according to the restored database; `chainpool status` lists the objects that are not in it.";
    confirm::ask(&args.yes, what).await?;
    client.resume().await?;
    output::note("resumed");
    Ok(())
}

#[expect(clippy::too_many_lines, reason = "one row per field")]
fn text(status: &Status) -> String {
    let Status {
        ok,
        problems,
        version,
        instance,
        paused,
        started_at,
        pool,
        by_type,
        hosts,
        database,
        watchdog,
        unclaimed,
        running,
    } = status;
    let mut text = if *ok {
        "no problems".to_owned()
    } else {
        "problems:".to_owned()
    };
    for problem in problems {
        let _infallible = write!(text, "\n  {}", clean(problem));
    }
    if *paused {
        text.push_str("\npaused after a restore: inspect the unclaimed objects, then run `chainpool resume`");
    }
    let DatabaseStatus {
        ok: _,
        message,
        size_bytes,
        disk_free_bytes,
        checked_at,
    } = database;
    let WatchdogStatus {
        last_pass_at,
        last_pass_ms,
        lag_ms,
    } = watchdog;
    let free = disk_free_bytes.map_or_else(|| "not checked".to_owned(), size);
    let _infallible = write!(
        text,
        "\n\n{}",
        output::fields(&[
            ("version", format!("{version}, started {}", when(*started_at))),
            ("instance", instance.clone()),
            (
                "database",
                format!(
                    "{message}, {}, disk free: {free}, checked {}",
                    size(*size_bytes),
                    maybe_when(*checked_at)
                )
            ),
            (
                "watchdog",
                match last_pass_at {
                    Some(at) => format!(
                        "last pass {} in {}, {lag_ms} ms behind",
                        when(*at),
                        duration::elapsed(i64::try_from(*last_pass_ms).unwrap_or(i64::MAX))
                    ),
                    None => "no pass yet".to_owned(),
                }
            ),
        ])
    );
    let mut rows = vec![count_row("all", pool)];
    rows.extend(
        by_type
            .iter()
            .map(|(network_type, counts)| count_row(network_type, counts)),
    );
    let head = [
        "POOL", "CAPACITY", "CLUSTERS", "FREE", "LEASED", "CREATING", "FAILED", "HEALTHY", "DEGRADED",
        "BROKEN", "UNKNOWN", "STOPPED",
    ];
    let _infallible = write!(text, "\n\n{}", output::table(&head, rows));
    let rows = hosts.iter().map(
        |HostStatus {
             name,
             state,
             problems,
             counts,
             checked_at,
         }| {
            let problems = if problems.is_empty() {
                NONE.to_owned()
            } else {
                problems.join("; ")
            };
            let Counts {
                capacity,
                clusters,
                offered,
                leased,
                ..
            } = counts;
            vec![
                name.clone(),
                state.to_string(),
                format!("{clusters}/{capacity}"),
                offered.to_string(),
                leased.to_string(),
                maybe_when(*checked_at),
                problems,
            ]
        },
    );
    let _infallible = write!(
        text,
        "\n\n{}",
        output::table(
            &[
                "HOST", "STATE", "CLUSTERS", "FREE", "LEASED", "CHECKED", "PROBLEMS"
            ],
            rows.collect()
        )
    );
    if !unclaimed.is_empty() {
        let rows = unclaimed.iter().map(
            |Unclaimed {
                 host,
                 cluster_id,
                 generation,
                 objects,
             }| {
                vec![
                    cluster_id.to_string(),
                    host.clone(),
                    generation.to_string(),
                    objects.join(", "),
                ]
            },
        );
        let _infallible = write!(
            text,
            "\n\n{}",
            output::table(&["UNCLAIMED", "HOST", "GENERATION", "OBJECTS"], rows.collect())
        );
    }
    if !running.is_empty() {
        let table = operation_view::table(running);
        let _infallible = write!(text, "\n\noperations in progress:\n{table}");
    }
    text
}

fn count_row(name: &str, counts: &Counts) -> Vec<String> {
    let Counts {
        capacity,
        clusters,
        offered,
        leased,
        making,
        failed,
        healthy,
        degraded,
        broken,
        unknown,
        stopped,
    } = counts;
    let numbers = [
        capacity, clusters, offered, leased, making, failed, healthy, degraded, broken, unknown, stopped,
    ];
    std::iter::once(name.to_owned())
        .chain(numbers.iter().map(ToString::to_string))
        .collect()
}
