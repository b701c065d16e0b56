//! What the server asks of the system before it begins: as many open files as it may have, and a data folder that nobody
//! else reads.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

/// What in the data folder is ours and holds secrets, or is the database.
const OURS: [&str; 6] = [
    "master.key",
    "admin.context",
    "chainpool.db",
    "chainpool.db-wal",
    "chainpool.db-shm",
    "lock",
];

/// Permissions of group and others.
const OTHERS: u32 = 0o077;

/// Raises the limit of open files to what the system allows this process, and says how many that are. Each connection is
/// one, and each way to a host.
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
            tracing::warn!(%error, "the limit of open files stays as it is");
            current.unwrap_or(u64::MAX)
        }
    }
}

/// Takes from others what they may do with the data folder and our files in it. What is not this user's is only told of:
/// a platform may have given it to a group that nobody else is in.
pub(crate) fn close_to_others(folder: &Path, say: impl Fn(String)) -> Result<()> {
    let Some(of_folder) = metadata(folder)? else {
        return Ok(());
    };
    if !of_folder.is_dir() {
        bail!("{} is not a folder", folder.display());
    }
    let ours = OURS.iter().any(|name| folder.join(name).exists());
    // A folder of many (sticky, or with other things in it) is not ours to close; our files in it are.
    let shared = of_folder.mode() & 0o1000 != 0 || (!ours && !is_empty(folder)?);
    if of_folder.mode() & OTHERS != 0 && !shared {
        say(close(folder, &of_folder, 0o700)?);
    }
    for name in OURS {
        let path = folder.join(name);
        if let Some(of_file) =
            metadata(&path)?.filter(|of_file| of_file.is_file() && of_file.mode() & OTHERS != 0)
        {
            say(close(&path, &of_file, 0o600)?);
        }
    }
    Ok(())
}

fn metadata(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

fn is_empty(folder: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.next().is_none())
}

/// Closes one thing to others; gives what to say of it.
fn close(path: &Path, metadata: &fs::Metadata, mode: u32) -> Result<String> {
    let (shown, was) = (path.display(), metadata.mode() & 0o777);
    let user = rustix::process::geteuid();
    if metadata.uid() != user.as_raw() && !user.is_root() {
        return Ok(format!(
            "{shown} is another user's and open to others (mode {was:03o}); its owner should run `chmod {mode:03o} {shown}`"
        ));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot close {shown} (mode {was:03o}) to others"))?;
    let copied = if path.ends_with("master.key") {
        "; others may have read the key that opens the database"
    } else {
        ""
    };
    Ok(format!(
        "{shown} was open to others (mode {was:03o}) and is closed to them now ({mode:03o}){copied}"
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
    fn a_folder_that_was_open_to_others_is_closed_with_what_is_ours_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        close_to_others(&folder, drop).unwrap();
        assert!(!folder.exists(), "whoever makes it makes it closed");
        fs::create_dir(&folder).unwrap();
        set(&folder, 0o755);
        close_to_others(&folder, drop).unwrap();
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
        close_to_others(&folder, drop).unwrap();
        let modes =
            ["", "master.key", "chainpool.db", "lock", "notes.txt"].map(|name| mode(&folder.join(name)));
        assert_eq!(
            modes,
            [0o700, 0o600, 0o600, 0o600, 0o644],
            "what is not ours stays as it is"
        );
    }

    #[test]
    fn a_folder_of_many_stays_open() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("of-somebody-else"), "x").unwrap();
        set(folder.path(), 0o755);
        close_to_others(folder.path(), drop).unwrap();
        assert_eq!(mode(folder.path()), 0o755);
        fs::write(folder.path().join("master.key"), "x").unwrap();
        set(folder.path(), 0o1777);
        set(&folder.path().join("master.key"), 0o644);
        close_to_others(folder.path(), drop).unwrap();
        assert_eq!(
            (mode(folder.path()), mode(&folder.path().join("master.key"))),
            (0o1777, 0o600)
        );
    }

    #[test]
    fn the_limit_of_files_is_the_highest_there_is() {
        let files = raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((current, files), (maximum, maximum.unwrap_or(u64::MAX)));
    }
}
