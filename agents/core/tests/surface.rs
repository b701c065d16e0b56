//! The contract's public surface as a text. Changes are recorded in `docs/agents.md`.
//!
//! The text comes from the formatted sources: public items without comments and bodies.
//! `CHAINPOOL_SURFACE=write` rewrites `surface.txt`.

use sha2::{Digest, Sha256};
use std::{fs, path::Path};

const FILES: [&str; 13] = [
    "agent",
    "call",
    "error",
    "filter",
    "ids",
    "image",
    "names",
    "observed",
    "secret",
    "spec",
    "kit/test_platform",
    "kit/outcome",
    "kit/table",
];

/// The public items of one source.
fn surface(source: &str) -> String {
    let mut text = String::new();
    let mut attributes = Vec::new();
    let mut lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            break;
        }
        if line.starts_with("#[") {
            attributes.push(line);
            continue;
        }
        let attributes = std::mem::take(&mut attributes);
        let mut keep = |lines: &[&str]| {
            attributes
                .iter()
                .chain(lines)
                .for_each(|line| text.extend([*line, "\n"]));
        };
        let block_type = ["pub struct ", "pub enum ", "pub trait ", "uuid_id!("]
            .iter()
            .any(|start| line.starts_with(start));
        if block_type && !line.ends_with([';', '}']) {
            keep(&[line]);
            for line in lines.by_ref() {
                text.extend([line, "\n"]);
                if line.starts_with(['}', ')']) {
                    break;
                }
            }
        } else if line.starts_with("pub ") {
            keep(&[line]);
        } else if line.starts_with("impl") && !line.ends_with('}') {
            // An implementation: its head, and the heads of its public functions.
            keep(&[line]);
            for line in lines.by_ref() {
                if line.starts_with("    pub ") {
                    text.extend([line, "\n"]);
                }
                if line.starts_with('}') {
                    break;
                }
            }
        } else if line.starts_with("impl") {
            keep(&[line]);
        }
    }
    text
}

#[test]
fn a_change_of_the_public_surface_is_recorded_in_the_docs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read =
        |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let parts: Vec<_> = FILES
        .iter()
        .map(|file| format!("# {file}\n{}", surface(&read(&format!("src/{file}.rs")))))
        .collect();
    let now = parts.concat();
    let digest = hex::encode(&Sha256::digest(&now)[..6]);
    if std::env::var("CHAINPOOL_SURFACE").is_ok_and(|word| word == "write") {
        fs::write(root.join("tests/surface.txt"), &now).unwrap();
    }
    assert!(
        read("tests/surface.txt") == now,
        "the contract's public surface has changed: CHAINPOOL_SURFACE=write cargo test -p chainpool-agent --test surface, then record the change in docs/agents.md"
    );
    assert!(
        read("../../docs/agents.md")
            .lines()
            .any(|line| line.starts_with('|') && line.contains(&format!("`{digest}`"))),
        "docs/agents.md has no line for the surface `{digest}`: add one to its table of changes"
    );
}

#[test]
fn bodies_comments_and_tests_are_not_surface() {
    let source = "//! About.\n#[derive(Debug)]\npub struct A {\n    /// Why.\n    pub a: u8,\n}\n\nimpl A {\n    /// What.\n    pub fn a(&self) -> u8 {\n        1\n    }\n\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod tests {\npub fn d() {}\n}\n";
    assert_eq!(
        surface(source),
        "#[derive(Debug)]\npub struct A {\n    pub a: u8,\n}\nimpl A {\n    pub fn a(&self) -> u8 {\n"
    );
}
