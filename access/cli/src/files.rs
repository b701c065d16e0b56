//! Preparation before the server starts: the limit of open files and the permissions of the data folder.

use crate::config_file;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

/// Chainpool's private files in the data folder: secrets and the database.
const PRIVATE_FILES: [&str; 6] = [
    "master.key",
    "admin.context",
    "chainpool.db",
    "chainpool.db-wal",
    "chainpool.db-shm",
    "lock",
];

/// Permissions of group and others.
const OTHERS: u32 = 0o077;

/// Raises the limit of open files to the maximum of this process and returns it. Each client connection and
/// each connection to a host uses one.
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            current.unwrap_or(u64::MAX)
        }
    }
}

/// Removes permissions of group and others from the data folder and its private files. Files of other users
/// are only reported: a platform may have assigned them to a dedicated group.
pub(crate) fn restrict_permissions(folder: &Path, report: impl Fn(String)) -> Result<()> {
    let Some(of_folder) = metadata(folder)? else {
        return Ok(());
    };
    if !of_folder.is_dir() {
        bail!("{} is not a folder", folder.display());
    }
    let ours = PRIVATE_FILES
        .iter()
        .chain([&config_file::NAME])
        .any(|name| folder.join(name).exists());
    // A shared folder (sticky, or with other files) keeps its permissions; the private files in it do not.
    let shared = of_folder.mode() & 0o1000 != 0 || (!ours && !is_empty(folder)?);
    if of_folder.mode() & OTHERS != 0 && !shared {
        report(restrict(folder, &of_folder, 0o700)?);
    }
    for name in PRIVATE_FILES {
        let path = folder.join(name);
        if let Some(of_file) =
            metadata(&path)?.filter(|of_file| of_file.is_file() && of_file.mode() & OTHERS != 0)
        {
            report(restrict(&path, &of_file, 0o600)?);
        }
    }
    Ok(())
}

fn metadata(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot inspect {}", path.display())),
    }
}

fn is_empty(folder: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.next().is_none())
}

/// Restricts one file or folder and returns a message about it.
fn restrict(path: &Path, metadata: &fs::Metadata, mode: u32) -> Result<String> {
    let (shown, was) = (path.display(), metadata.mode() & 0o777);
    let user = rustix::process::geteuid();
    if metadata.uid() != user.as_raw() && !user.is_root() {
        return Ok(format!(
            "{shown} belongs to another user and is open to others (mode {was:03o}); its owner should run `chmod {mode:03o} {shown}`"
        ));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot restrict the permissions of {shown} (mode {was:03o})"))?;
    let copied = if path.ends_with("master.key") {
        "; other users may have read the key of the database"
    } else {
        ""
    };
    Ok(format!(
        "{shown} was open to others (mode {was:03o}); changed to mode {mode:03o}{copied}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn an_open_folder_and_its_private_files_are_restricted() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        restrict_permissions(&folder, drop).unwrap();
        assert!(!folder.exists(), "a missing folder is not created");
        fs::create_dir(&folder).unwrap();
        set(&folder, 0o755);
        restrict_permissions(&folder, drop).unwrap();
        assert_eq!(mode(&folder), 0o700);
        for (name, was) in [
            ("master.key", 0o644),
            ("chainpool.db", 0o664),
            ("lock", 0o666),
            ("notes.txt", 0o644),
        ] {
            fs::write(folder.join(name), "x").unwrap();
            set(&folder.join(name), was);
        }
        set(&folder, 0o750);
        restrict_permissions(&folder, drop).unwrap();
        let modes =
            ["", "master.key", "chainpool.db", "lock", "notes.txt"].map(|name| mode(&folder.join(name)));
        assert_eq!(
            modes,
            [0o700, 0o600, 0o600, 0o600, 0o644],
            "other files keep their mode"
        );
    }

    #[test]
    fn a_shared_folder_keeps_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("other-file"), "x").unwrap();
        set(folder.path(), 0o755);
        restrict_permissions(folder.path(), drop).unwrap();
        assert_eq!(mode(folder.path()), 0o755);
        fs::write(folder.path().join("master.key"), "x").unwrap();
        set(folder.path(), 0o1777);
        set(&folder.path().join("master.key"), 0o644);
        restrict_permissions(folder.path(), drop).unwrap();
        assert_eq!(
            (mode(folder.path()), mode(&folder.path().join("master.key"))),
            (0o1777, 0o600)
        );
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_the_maximum() {
        let files = raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((current, files), (maximum, maximum.unwrap_or(u64::MAX)));
    }
}
