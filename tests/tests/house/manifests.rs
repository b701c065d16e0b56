//! Every dependency is used by the crate that names it.

use crate::{files, root};
use anyhow::{Context, Result, ensure};
use std::{collections::BTreeSet, fs, path::Path};
use toml::{Table, Value};

/// Sections of a manifest, and where their dependencies may be used.
const SECTIONS: [(&str, &[&str]); 3] = [
    ("dependencies", &["src/"]),
    ("dev-dependencies", &["src/", "tests/", "benches/"]),
    ("build-dependencies", &["build.rs"]),
];

fn manifest(path: &str) -> Result<Table> {
    let text = fs::read_to_string(root().join(path))?;
    text.parse().with_context(|| path.to_owned())
}

fn names<'a>(table: &'a Table, section: &str) -> Vec<&'a String> {
    table
        .get(section)
        .and_then(Value::as_table)
        .map(|dependencies| dependencies.keys().collect())
        .unwrap_or_default()
}

/// The words of a crate's sources below one of these folders.
fn words_of(folder: &Path, places: &[&str]) -> Result<BTreeSet<String>> {
    let mut words = BTreeSet::new();
    for place in places {
        let pattern = folder.join(place);
        let pattern = pattern.to_str().context("a path in UTF-8")?;
        for file in files(&[pattern])?
            .into_iter()
            .filter(|file| Path::new(file).extension().is_some_and(|e| e == "rs"))
        {
            let text = fs::read_to_string(root().join(&file))?;
            words.extend(
                text.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .map(str::to_owned),
            );
        }
    }
    Ok(words)
}

#[test]
fn every_dependency_is_used_by_the_crate_that_names_it() -> Result<()> {
    let mut unused = Vec::new();
    let mut needed = BTreeSet::new();
    for path in files(&["*Cargo.toml"])?
        .into_iter()
        .filter(|path| path != "Cargo.toml")
    {
        let table = manifest(&path)?;
        let folder = Path::new(&path).parent().context("a manifest lies in a folder")?;
        for (section, places) in SECTIONS {
            let words = words_of(folder, places)?;
            for name in names(&table, section) {
                needed.insert(name.clone());
                if !words.contains(&name.replace('-', "_")) {
                    unused.push(format!("{path}: {section}: {name}"));
                }
            }
        }
    }
    let workspace = manifest("Cargo.toml")?;
    let shared = workspace
        .get("workspace")
        .and_then(Value::as_table)
        .context("a workspace")?;
    unused.extend(
        names(shared, "dependencies")
            .into_iter()
            .filter(|name| !needed.contains(*name))
            .map(|name| format!("Cargo.toml: workspace.dependencies: {name}")),
    );
    ensure!(
        unused.is_empty(),
        "remove these dependencies, nothing uses them:\n{}",
        unused.join("\n")
    );
    Ok(())
}
