//! A change that is killed at points of its journal, on any platform.
//!
//! The points are not listed here: a child counts the commits of the real change. Either children are killed before and
//! after each of them until one comes to its end unharmed, or at a sample of them. All of them are tried in seconds on
//! the platform in memory (`../memory/kills.rs`); here platforms have their own part in it.

use anyhow::{Context, Result, bail, ensure};
use chainpool_api::{Cluster, Operation};
use chainpool_tests::{Bed, Options, Points};
use serde_json::json;
use std::{path::Path, process::Stdio};

/// What the child did.
pub(crate) enum Outcome {
    Killed,
    /// It came to its end, with so many commits.
    Ended(usize),
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
        let said = String::from_utf8(output.stdout)?;
        return Ok(Outcome::Ended(
            said.trim()
                .parse()
                .with_context(|| format!("the child said {said:?}"))?,
        ));
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        said.contains(&format!("killed {when}")),
        "the child at point {point} of {scenario} ended with {}: {said}",
        output.status
    );
    Ok(Outcome::Killed)
}

/// Counts the commits of a change that is left alone.
pub(crate) async fn counted(folder: &Path, scenario: &str) -> Result<usize> {
    match child(folder, scenario, usize::MAX, "after").await? {
        Outcome::Ended(commits) => Ok(commits),
        Outcome::Killed => bail!("the child was killed at a point that is none"),
    }
}

/// Runs a change again and again, each time killed at the next of these points, with `prepare` before and `check` after,
/// which counts what is on the platform, too.
pub(crate) async fn sweep(
    scenario: &str,
    points: Points,
    mut bed: Bed,
    options: &Options,
    mut prepare: impl AsyncFnMut(&Bed) -> Result<()>,
    mut check: impl AsyncFnMut(&Bed, &[Cluster]) -> Result<()>,
) -> Result<()> {
    let folder = bed.folder.clone();
    let (mut killed, least) = match points {
        Points::Each(_) => (0, 6),
        Points::Sample(_) => (0, 1),
    };
    let points = if let Points::Sample(_) = points {
        prepare(&bed).await?;
        let ground = bed.stop().await?;
        let points = points
            .chosen(scenario, async || counted(&folder, scenario).await)
            .await?;
        bed = Bed::open(ground, options.clone()).await?;
        points
    } else {
        points
            .chosen(scenario, async || bail!("each point needs no count"))
            .await?
    };
    for (point, when) in points {
        let at = format!("killed {when} point {point} of {scenario}");
        prepare(&bed).await.with_context(|| at.clone())?;
        let ground = bed.stop().await?;
        let outcome = child(&folder, scenario, point, when).await?;
        bed = Bed::open(ground, options.clone()).await?;
        let clusters = bed.settled().await.with_context(|| at.clone())?;
        check(&bed, &clusters).await.with_context(|| at.clone())?;
        match outcome {
            Outcome::Killed => killed += 1,
            Outcome::Ended(_) => break,
        }
    }
    println!("{scenario}: killed {killed} times, 0 orphans, 0 duplicates");
    ensure!(killed >= least, "only {killed} points were found");
    bed.end().await
}

/// No cluster is there.
pub(crate) async fn deleted(bed: &Bed) -> Result<()> {
    for cluster in bed.clusters().await? {
        let delete: Operation = bed.api.delete(&format!("/clusters/{}", cluster.id)).await?;
        bed.done(&delete).await?;
    }
    Ok(())
}

/// One cluster of one node is there.
pub(crate) async fn one(bed: &Bed) -> Result<()> {
    if bed.clusters().await?.is_empty() {
        let create: Operation = bed
            .api
            .post("/clusters", json!({"name": "one", "preset": "single"}))
            .await?;
        bed.done(&create).await?;
    }
    Ok(())
}
