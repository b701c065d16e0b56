//! Rules of the house that no compiler checks: plain words in texts, dependencies that something uses, files without
//! circles.

mod literals;
mod manifests;
mod platforms;
mod use_paths;
mod words;
mod writes;

use std::{path::PathBuf, process::Command};

/// The repository's root.
fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The files of the repository whose path matches one of git's patterns, relative to the root; also those not yet added.
fn files(patterns: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--"])
        .args(patterns);
    let output = git.output()?;
    anyhow::ensure!(
        output.status.success(),
        "git: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listed = String::from_utf8(output.stdout)?;
    let exists = |path: &&str| root().join(path).is_file();
    Ok(listed.lines().filter(exists).map(str::to_owned).collect())
}
