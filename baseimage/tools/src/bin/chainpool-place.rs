//! `chainpool-place [--root DIR] [--always PART…] [--once PART…]` places files; see [`chainpool_tools::place`]. The parts of each list,
//! one after the other, are one tar. `chainpool-place --wipe DIR…` empties folders and prints what is left in them.
//! 0: all done; 1: something was not, with one line each on standard error; 2: wrong arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chainpool_tools::place::{Rule, place};
use chainpool_tools::wipe::{left, wipe};

const USAGE: &str =
    "usage: chainpool-place [--root DIR] [--always PART…] [--once PART…]\n       chainpool-place --wipe DIR…";

/// What is to be done.
#[derive(Default)]
struct Work {
    root: Vec<PathBuf>,
    always: Vec<PathBuf>,
    once: Vec<PathBuf>,
    wipe: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let Some(work) = Work::read(std::env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let failures = work.perform();
    for failure in &failures {
        eprintln!("chainpool-place: {failure}");
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Work {
    fn read(arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut work = Self::default();
        let mut list = None;
        for argument in arguments {
            match argument.to_str() {
                Some("--root") => list = Some(&mut work.root),
                Some("--always") => list = Some(&mut work.always),
                Some("--once") => list = Some(&mut work.once),
                Some("--wipe") => list = Some(&mut work.wipe),
                Some(text) if text.starts_with('-') => return None,
                _ => list.as_mut()?.push(argument.into()),
            }
        }
        let placing = !(work.always.is_empty() && work.once.is_empty());
        let wiping = !work.wipe.is_empty();
        (placing != wiping && work.root.len() <= usize::from(placing)).then_some(work)
    }

    fn perform(&self) -> Vec<String> {
        let Self {
            root,
            always,
            once,
            wipe: folders,
        } = self;
        if folders.is_empty() {
            let root = root.first().map_or(Path::new("/"), PathBuf::as_path);
            let lists = [(always, Rule::Always), (once, Rule::Once)]
                .into_iter()
                .filter(|(parts, _)| !parts.is_empty());
            return lists.flat_map(|(parts, rule)| place(root, parts, rule)).collect();
        }
        let mut failures = wipe(folders);
        match left(folders) {
            Ok(paths) => {
                paths.iter().for_each(|path| println!("{}", path.display()));
                if !paths.is_empty() && failures.is_empty() {
                    failures.push("something came while it was wiped".to_owned());
                }
            }
            Err(failure) => failures.push(failure),
        }
        failures
    }
}
