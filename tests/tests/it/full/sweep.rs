//! Kills a change at crash points of its journal, on any platform.
//!
//! The crash points are not listed here: a child process counts the commits of the real change. Children are
//! killed either before and after each commit, until one completes, or at a sample of them. The platform in
//! memory tries all of them in seconds (`../memory/kills.rs`); these sweeps cover the effects of a real
//! platform.

use anyhow::{Context, Result, bail, ensure};
use chainpool_api::{Cluster, Operation};
use chainpool_tests::{Bed, Options, Points};
use serde_json::json;
use std::{path::Path, process::Stdio};

/// Outcome of the child process.
pub(crate) enum Outcome {
    Killed,
    /// Completed, with this number of commits.
    Completed(usize),
}

pub(crate) async fn child(folder: &Path, scenario: &str, point: usize, when: &str) -> Result<Outcome> {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_crash-child"))
        .args([
            folder.as_os_str(),
            scenario.as_ref(),
            point.to_string().as_ref(),
            when.as_ref(),
        ])
        .stdin(Stdio::null())
        .output()
        .await?;
    if output.status.success() {
        let text = String::from_utf8(output.stdout)?;
        return Ok(Outcome::Completed(
            text.trim()
                .parse()
                .with_context(|| format!("unexpected output of the child: {text:?}"))?,
        ));
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        text.contains(&format!("killed {when}")),
        "the child at point {point} of {scenario} failed with {}: {text}",
        output.status
    );
    Ok(Outcome::Killed)
}

/// Counts the commits of an undisturbed change.
pub(crate) async fn count_commits(folder: &Path, scenario: &str) -> Result<usize> {
    match child(folder, scenario, usize::MAX, "after").await? {
        Outcome::Completed(commits) => Ok(commits),
        Outcome::Killed => bail!("the child was killed at a point that does not exist"),
    }
}

/// Runs a change repeatedly and kills it at each of these points. `prepare` runs before each change; `check`
/// runs after the next start and also checks the platform's objects.
pub(crate) async fn sweep(
    scenario: &str,
    points: Points,
    mut bed: Bed,
    options: &Options,
    mut prepare: impl AsyncFnMut(&Bed) -> Result<()>,
    mut check: impl AsyncFnMut(&Bed, &[Cluster]) -> Result<()>,
) -> Result<()> {
    let folder = bed.folder.clone();
    let (mut killed, minimum) = match points {
        Points::Each(_) => (0, 6),
        Points::Sample(_) => (0, 1),
    };
    let points = if let Points::Sample(_) = points {
        prepare(&bed).await?;
        let resources = bed.stop().await?;
        let points = points
            .chosen(scenario, async || count_commits(&folder, scenario).await)
            .await?;
        bed = Bed::open(resources, options.clone()).await?;
        points
    } else {
        points
            .chosen(scenario, async || bail!("the count is needed only for a sample"))
            .await?
    };
    for (point, when) in points {
        let at = format!("killed {when} point {point} of {scenario}");
        prepare(&bed).await.with_context(|| at.clone())?;
        let resources = bed.stop().await?;
        let outcome = child(&folder, scenario, point, when).await?;
        bed = Bed::open(resources, options.clone()).await?;
        let clusters = bed.wait_settled().await.with_context(|| at.clone())?;
        check(&bed, &clusters).await.with_context(|| at.clone())?;
        match outcome {
            Outcome::Killed => killed += 1,
            Outcome::Completed(_) => break,
        }
    }
    println!("{scenario}: killed {killed} times, 0 orphans, 0 duplicates");
    ensure!(killed >= minimum, "the change has only {killed} crash points");
    bed.end().await
}

/// Deletes all clusters.
pub(crate) async fn delete_all(bed: &Bed) -> Result<()> {
    for cluster in bed.clusters().await? {
        let delete: Operation = bed.api.delete(&format!("/clusters/{}", cluster.id)).await?;
        bed.wait_succeeded(&delete).await?;
    }
    Ok(())
}

/// Ensures that a cluster of one node exists.
pub(crate) async fn ensure_one(bed: &Bed) -> Result<()> {
    if bed.clusters().await?.is_empty() {
        let create: Operation = bed
            .api
            .post("/clusters", json!({"name": "one", "preset": "single"}))
            .await?;
        bed.wait_succeeded(&create).await?;
    }
    Ok(())
}
