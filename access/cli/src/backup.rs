//! `chainpool backup` and the arguments of `chainpool restore`.

use crate::{
    args::YesArgs,
    client::Client,
    exit::{Exit, Failure, Result},
    output,
};
use clap::{Args, ValueHint};
use reqwest::Response;
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::timeout;
use uuid::Uuid;

/// A server that sends nothing for so long sends no more.
const SILENT: Duration = Duration::from_mins(1);

/// Where a backup goes.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write, readable by you alone
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Overwrites a file that is there
    #[arg(long)]
    force: bool,
}

/// Where a backup comes from.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The file that `chainpool backup` wrote
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The data folder [default: /var/lib/chainpool as root, else the XDG data folder]
    #[arg(long, env = "CHAINPOOL_DATA", hide_env_values = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) yes: YesArgs,
}

/// A file that is not whole yet. It goes when the command ends early.
struct Part {
    path: PathBuf,
    whole: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.whole
            && let Err(error) = fs::remove_file(&self.path)
        {
            output::note(format_args!("cannot remove {}: {error}", self.path.display()));
        }
    }
}

/// Streams the server's database to a file. The file is there whole or not at all.
pub(crate) async fn run(client: &Client, args: &BackupArgs) -> Result<()> {
    let BackupArgs { file, force } = args;
    if !force && file.symlink_metadata().is_ok() {
        return Err(exists(file));
    }
    let mut stream = client.backup().await?;
    let cannot =
        |error: io::Error| Failure::new(Exit::Wrong, format!("cannot write {}: {error}", file.display()));
    let (mut part, mut out) = begin(file).map_err(cannot)?;
    let bytes = copy(client, &mut stream, &mut out).await?.map_err(cannot)?;
    out.sync_all().map_err(cannot)?;
    match publish(&mut part, file, *force) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(file)),
        other => other.map_err(cannot)?,
    }
    output::note(format_args!(
        "{}: {}; the master key is not in it, keep a copy of that apart",
        file.display(),
        output::size(bytes)
    ));
    Ok(())
}

fn exists(file: &Path) -> Failure {
    Failure::new(
        Exit::Conflict,
        format!(
            "{} is there already; choose another name or overwrite it with --force",
            file.display()
        ),
    )
}

/// A part in the same folder, so that its last step is a rename.
fn begin(file: &Path) -> io::Result<(Part, File)> {
    let mut name = OsString::from(".");
    name.push(
        file.file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is no name for a file"))?,
    );
    name.push(format!(".{}.part", Uuid::new_v4().simple()));
    let path = file.with_file_name(name);
    let out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    Ok((Part { path, whole: false }, out))
}

/// Copies the stream. The outer failure is the server's, the inner one the disk's.
async fn copy(client: &Client, stream: &mut Response, out: &mut File) -> Result<io::Result<u64>> {
    let mut bytes = 0;
    loop {
        let piece = timeout(SILENT, stream.chunk())
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

/// Gives the part its name. Without force a file that came meanwhile is not overwritten: a link, unlike a rename, refuses.
fn publish(part: &mut Part, file: &Path, force: bool) -> io::Result<()> {
    if force {
        fs::rename(&part.path, file)?;
        part.whole = true;
    } else {
        fs::hard_link(&part.path, file)?;
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_backup_is_there_whole_or_not_at_all() {
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
        drop(begin(&file).unwrap());
        assert!(names().is_empty(), "an interrupted backup leaves nothing");
        for (force, done) in [(false, true), (false, false), (true, true)] {
            let (mut part, mut out) = begin(&file).unwrap();
            out.write_all(format!("{force}").as_bytes()).unwrap();
            assert_eq!(publish(&mut part, &file, force).is_ok(), done);
            drop(part);
            assert_eq!(names(), ["a.db"]);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "true");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
