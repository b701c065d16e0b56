//! Files in the data folder.

use crate::Result;
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, File},
    io::{Error, ErrorKind},
    path::Path,
};

/// Opens a file that another program may have put there. Refuses anything but a regular file without opening
/// it: opening a FIFO waits for its writer, and opening a device can have side effects.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<File> {
    let other = || {
        Error::new(
            ErrorKind::InvalidInput,
            format!("{} is not a regular file", path.display()),
        )
    };
    if !fs::metadata(path)?.is_file() {
        return Err(other());
    }
    // The file may have been replaced since; this does not block either.
    let file = File::from(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(other())
    }
}

/// Removes a file; a missing file is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Makes renames and links in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    Ok(File::open(folder)?.sync_all()?)
}
