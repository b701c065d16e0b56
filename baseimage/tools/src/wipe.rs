//! Empties directories, for volumes that cannot be deleted because the engine of their machine is not
//! accessible.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Deletes the contents of these directories, not the directories. Returns one message for each failure and
/// continues.
pub fn wipe(directories: &[PathBuf]) -> Vec<String> {
    let mut failures = Vec::new();
    for directory in directories {
        for path in list_or_fail(directory, &mut failures) {
            // Neither follows links. Absence is an error for both: no other process may write here.
            let deleted = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(error) => Err(error),
            };
            failures.extend(deleted.err().map(|error| format!("{}: {error}", path.display())));
        }
    }
    failures
}

/// The contents of these directories: nothing after a wipe.
pub fn remaining(directories: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut failures = Vec::new();
    let mut found = Vec::new();
    let mut pending = directories.to_vec();
    while let Some(directory) = pending.pop() {
        for path in list_or_fail(&directory, &mut failures) {
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                pending.push(path.clone());
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

/// Lists a directory. A failure is added to `failures`.
fn list_or_fail(directory: &Path, failures: &mut Vec<String>) -> Vec<PathBuf> {
    match list(directory) {
        Ok(paths) => paths,
        Err(error) => {
            failures.push(format!("{}: {error}", directory.display()));
            Vec::new()
        }
    }
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::symlink_metadata(directory)?.is_dir() {
        return Err(io::Error::other(
            "not a directory; symbolic links are not followed",
        ));
    }
    fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}
