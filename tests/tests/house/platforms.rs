//! Platforms and build targets are named where they are described.

use crate::{files, root};
use anyhow::{Result, ensure};
use std::fs;

/// Test code, which stands for a user.
const TEST_CODE: [&str; 4] = ["tests", "testing.rs", "fixture.rs", "samples.rs"];

/// The lines of product code below these folders with one of the texts, except in files with these prefixes.
pub(crate) fn naming(folders: &[&str], texts: &[&str], except: &[&str]) -> Result<Vec<String>> {
    let patterns: Vec<_> = folders.iter().map(|folder| format!("{folder}/*.rs")).collect();
    let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    let sources = files(&patterns)?;
    ensure!(!sources.is_empty(), "no sources in {folders:?}");
    for path in sources {
        if TEST_CODE.iter().any(|part| path.contains(part))
            || except.iter().any(|prefix| path.starts_with(prefix))
        {
            continue;
        }
        let source = fs::read_to_string(root().join(&path))?;
        let product = source.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = product
            .lines()
            .filter(|line| texts.iter().any(|text| line.contains(text)));
        found.extend(lines.map(|line| format!("{path}: {}", line.trim())));
    }
    Ok(found)
}

/// So a new platform is its own crate and one line in the composition root. The exception are the examples in
/// the API's description.
#[test]
fn no_layer_above_the_agents_names_a_kind_of_platform() -> Result<()> {
    let named = naming(
        &["orchestrator", "watchdog", "access"],
        &["\"docker\"", "\"swarm\"", "\"kubernetes\"", "PlatformKind::new"],
        &["access/api/src/platform.rs"],
    )?;
    ensure!(named.is_empty(), "{}", named.join("\n"));
    Ok(())
}

#[test]
fn only_network_types_and_the_composition_root_name_the_targets_that_build_images() -> Result<()> {
    let named = naming(
        &["orchestrator", "watchdog", "access", "agents"],
        &["make docker-"],
        &["orchestrator/networks/src/", "access/cli/src/serve.rs"],
    )?;
    ensure!(named.is_empty(), "{}", named.join("\n"));
    Ok(())
}
