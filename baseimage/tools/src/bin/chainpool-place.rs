//! `chainpool-place [--root DIR] [--always PART…] [--once PART…]` places files; see
//! [`chainpool_tools::place`]. The concatenated parts of each list are one tar. `chainpool-place --wipe DIR…`
//! empties directories and prints remaining paths.
//!
//! Exit status: 0 success; 1 failure, with one line for each on standard error; 2 invalid arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chainpool_tools::place::{Rule, place};
use chainpool_tools::wipe::{remaining, wipe};

const USAGE: &str =
    "usage: chainpool-place [--root DIR] [--always PART…] [--once PART…]\n       chainpool-place --wipe DIR…";

/// The parsed arguments.
#[derive(Default)]
struct Arguments {
    root: Vec<PathBuf>,
    always: Vec<PathBuf>,
    once: Vec<PathBuf>,
    wipe: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let failures = arguments.run();
    for failure in &failures {
        eprintln!("chainpool-place: {failure}");
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Arguments {
    fn parse(arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut parsed = Self::default();
        let mut list = None;
        for argument in arguments {
            match argument.to_str() {
                Some("--root") => list = Some(&mut parsed.root),
                Some("--always") => list = Some(&mut parsed.always),
                Some("--once") => list = Some(&mut parsed.once),
                Some("--wipe") => list = Some(&mut parsed.wipe),
                Some(text) if text.starts_with('-') => return None,
                _ => list.as_mut()?.push(argument.into()),
            }
        }
        let placing = !(parsed.always.is_empty() && parsed.once.is_empty());
        let wiping = !parsed.wipe.is_empty();
        (placing != wiping && parsed.root.len() <= usize::from(placing)).then_some(parsed)
    }

    fn run(&self) -> Vec<String> {
        let Self {
            root,
            always,
            once,
            wipe: directories,
        } = self;
        if directories.is_empty() {
            let root = root.first().map_or(Path::new("/"), PathBuf::as_path);
            let lists = [(always, Rule::Always), (once, Rule::Once)]
                .into_iter()
                .filter(|(parts, _)| !parts.is_empty());
            return lists.flat_map(|(parts, rule)| place(root, parts, rule)).collect();
        }
        let mut failures = wipe(directories);
        match remaining(directories) {
            Ok(paths) => {
                paths.iter().for_each(|path| println!("{}", path.display()));
                if !paths.is_empty() && failures.is_empty() {
                    failures
                        .push("files were created during the wipe; stop their writer and retry".to_owned());
                }
            }
            Err(failure) => failures.push(failure),
        }
        failures
    }
}
