//! `chainpool backup`, and the arguments of `chainpool restore`.

use crate::{
    args::YesArgs,
    client::Client,
    exit::{Exit, Failure, Result},
    output,
};
use clap::{Args, ValueHint};
use reqwest::Response;
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::NamedTempFile;
use tokio::time::timeout;

/// Maximum time without data before the stream counts as dead.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Output file, readable by you only
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Backup file written by `chainpool backup`
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Data folder [default: /var/lib/chainpool as root, else the XDG data folder]
    #[arg(long, env = "CHAINPOOL_DATA", hide_env_values = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) yes: YesArgs,
}

/// Streams the server's database to a file. The file appears complete or not at all.
pub(crate) async fn run(client: &Client, args: &BackupArgs) -> Result<()> {
    let BackupArgs { file, force } = args;
    if !force && file.symlink_metadata().is_ok() {
        return Err(exists(file));
    }
    let mut stream = client.backup().await?;
    let cannot =
        |error: io::Error| Failure::new(Exit::Error, format!("cannot write {}: {error}", file.display()));
    let mut part = create_partial(file).map_err(cannot)?;
    let bytes = copy(client, &mut stream, part.as_file_mut())
        .await?
        .map_err(cannot)?;
    match publish(part, file, *force) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(file)),
        other => other.map_err(cannot)?,
    }
    output::note(format_args!(
        "{}: {}; excludes the master key: back it up separately",
        file.display(),
        output::size(bytes)
    ));
    Ok(())
}

fn exists(file: &Path) -> Failure {
    Failure::new(
        Exit::Conflict,
        format!(
            "{} exists; choose another name or overwrite it with --force",
            file.display()
        ),
    )
}

/// Creates the partial file in the folder of the target, which allows a rename at the end. It is removed if the
/// command ends early.
fn create_partial(file: &Path) -> io::Result<NamedTempFile> {
    let name = file
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let prefix = [OsStr::new("."), name, OsStr::new(".")]
        .into_iter()
        .collect::<OsString>();
    tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".part")
        .tempfile_in(folder_of(file))
}

fn folder_of(file: &Path) -> &Path {
    file.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Copies the stream. The outer error is the server's, the inner error the disk's.
async fn copy(client: &Client, stream: &mut Response, out: &mut File) -> Result<io::Result<u64>> {
    let mut bytes = 0;
    loop {
        let piece = timeout(IDLE_TIMEOUT, stream.chunk())
            .await
            .map_err(|_| Failure::new(Exit::Unreachable, "the server stopped sending the backup"))?;
        let Some(piece) = piece.map_err(|error| client.lost(&error))? else {
            return Ok(Ok(bytes));
        };
        if let Err(error) = out.write_all(&piece) {
            return Ok(Err(error));
        }
        bytes += piece.len() as u64;
    }
}

/// Moves the complete file to its name; without `force` never over a file created meanwhile.
fn publish(part: NamedTempFile, file: &Path, force: bool) -> io::Result<()> {
    part.as_file().sync_all()?;
    if force {
        part.persist(file)?;
    } else {
        part.persist_noclobber(file)?;
    }
    File::open(folder_of(file))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_backup_file_appears_complete_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        let names = || {
            let mut names: Vec<_> = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        drop(create_partial(&file).unwrap());
        assert!(names().is_empty(), "an interrupted backup leaves nothing");
        for (force, done) in [(false, true), (false, false), (true, true)] {
            let mut part = create_partial(&file).unwrap();
            part.write_all(format!("{force}").as_bytes()).unwrap();
            assert_eq!(names().len(), if file.exists() { 2 } else { 1 });
            let published = publish(part, &file, force);
            assert_eq!(published.is_ok(), done, "{published:?}");
            if let Err(error) = published {
                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            }
            assert_eq!(names(), ["a.db"]);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "true");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
