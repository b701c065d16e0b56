//! The files of a crate use each other in one direction, as crates do: a file can be read, tested and moved with
//! only the files below it. Constants, errors and shared types lie below their users, not beside them.

mod graph;
mod source;
#[cfg(test)]
mod tests;
mod wings;

use crate::{files, root};
use anyhow::{Context, Result, ensure};
use graph::{Files, arrows, circles};
use std::{collections::BTreeSet, fmt::Write, fs, path::Path};
use wings::Wings;

/// Crates with circles. This list must only shrink.
const CIRCLES_REMAIN: [&str; 1] = ["orchestrator/networks"];

/// The wings of the orchestrator. Its shared state names a type of each.
const ORCHESTRATOR: Wings<'static> = Wings {
    root: "orchestrator/src/lib.rs",
    folders: &["facade", "health", "operations", "placement", "runtime"],
    above: &["orchestrator.rs"],
    object: ("Orchestrator", &["self", "this", "orchestrator"]),
};

/// The root modules of a crate's library and programs.
fn roots<'a>(folder: &str, files: &'a Files) -> Vec<&'a str> {
    let source = format!("{folder}/src/");
    let is_root = |file: &&str| {
        file.strip_prefix(&source).is_some_and(|file| {
            let parts: Vec<&str> = file.split('/').collect();
            matches!(
                parts[..],
                ["lib.rs" | "main.rs"] | ["bin", _] | ["bin", _, "main.rs"]
            )
        })
    };
    files.keys().map(String::as_str).filter(is_root).collect()
}

/// All source files of the repository.
fn sources() -> Result<Files> {
    let mut sources = Files::new();
    for path in files(&["*.rs"])? {
        let text = fs::read_to_string(root().join(&path))?;
        sources.insert(path, text);
    }
    Ok(sources)
}

#[test]
fn the_wings_of_the_orchestrator_use_only_lower_ones() -> Result<()> {
    let sources = sources()?;
    for folder in ORCHESTRATOR.folders {
        let prefix = format!("orchestrator/src/{folder}/");
        let exists = sources.keys().any(|file| file.starts_with(&prefix));
        ensure!(exists, "{prefix} has no files; correct the table of wings");
    }
    let found = ORCHESTRATOR.violations(&sources);
    ensure!(
        found.is_empty(),
        "move shared items to the lower wing:\n{}",
        found.join("\n")
    );
    Ok(())
}

#[test]
fn the_files_of_a_crate_use_each_other_in_one_direction() -> Result<()> {
    let sources = sources()?;
    let (mut report, mut with_circles) = (String::new(), BTreeSet::new());
    for manifest in files(&["*/Cargo.toml"])? {
        let folder = Path::new(&manifest)
            .parent()
            .and_then(Path::to_str)
            .context("a folder")?;
        for circle in roots(folder, &sources)
            .into_iter()
            .flat_map(|root| circles(&arrows(&sources, root)))
        {
            with_circles.insert(folder.to_owned());
            if !CIRCLES_REMAIN.contains(&folder) {
                writeln!(report, "a circle in {folder}:")?;
                for arrow in circle {
                    writeln!(
                        report,
                        "  {}:{} -> {} ({})",
                        arrow.from, arrow.line, arrow.to, arrow.name
                    )?;
                }
            }
        }
    }
    for folder in CIRCLES_REMAIN
        .iter()
        .filter(|folder| !with_circles.contains(**folder))
    {
        writeln!(
            report,
            "{folder} has no circle any more; remove it from CIRCLES_REMAIN"
        )?;
    }
    ensure!(
        report.is_empty(),
        "move shared items below the files that use them:\n{report}"
    );
    Ok(())
}
