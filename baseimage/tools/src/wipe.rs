//! Empties folders, where a volume cannot be removed because nobody can speak to the machine that it is on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Removes all that is in these folders, not the folders themselves. Returns one message a failure; what can go goes.
pub fn wipe(folders: &[PathBuf]) -> Vec<String> {
    let mut failures = Vec::new();
    for folder in folders {
        for path in listed(folder, &mut failures) {
            // Neither follows a link; both take absent for an error, which it is: nobody else may be at work here.
            let gone = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(error) => Err(error),
            };
            failures.extend(gone.err().map(|error| format!("{}: {error}", path.display())));
        }
    }
    failures
}

/// All that is in these folders now: after a wipe, nothing.
pub fn left(folders: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut failures = Vec::new();
    let mut found = Vec::new();
    let mut open = folders.to_vec();
    while let Some(folder) = open.pop() {
        for path in listed(&folder, &mut failures) {
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    if failures.is_empty() {
        Ok(found)
    } else {
        Err(failures.join("\n"))
    }
}

fn listed(folder: &Path, failures: &mut Vec<String>) -> Vec<PathBuf> {
    match list(folder) {
        Ok(paths) => paths,
        Err(error) => {
            failures.push(format!("{}: {error}", folder.display()));
            Vec::new()
        }
    }
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::symlink_metadata(folder)?.is_dir() {
        return Err(io::Error::other("not a directory; links are not followed"));
    }
    fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}
