//! Places files in a directory, for platforms whose file mechanisms have no owner, no `once` and no large
//! files.
//!
//! Placing is atomic: a file appears under its name once its content is on the disk, a directory once it has
//! its owner. An interrupted run can be repeated. The directory may contain data of a node: symbolic links
//! are not followed, because a node could make us write anywhere.

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, fchmod, flock, linkat, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, EntryType, Header};

/// The rule for paths that already exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Overwrite a file; set the owner of a directory and keep its mode.
    Always,
    /// Keep it unchanged.
    Once,
}

/// The temporary name of a file or directory, next to its final path.
const DRAFT: &str = ".chainpool-place.new";
/// The mode of a directory without an entry.
const DEFAULT_DIRECTORY_MODE: u32 = 0o755;
/// The end marker of a tar. Without it, the last part is missing.
const END: [u8; 1024] = [0; 1024];

/// Owner and mode of an entry's header.
#[derive(Clone, Copy)]
struct Rights {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// Reads parts of a tar and places its entries under `root`. Returns one message for each failure and
/// continues with other entries.
pub fn place(root: &Path, parts: &[PathBuf], rule: Rule) -> Vec<String> {
    let bytes = match join(parts) {
        Ok(bytes) => bytes,
        Err(failure) => return vec![failure],
    };
    let root = match File::open(root) {
        Ok(directory) => directory,
        Err(error) => return vec![format!("{}: {error}", root.display())],
    };
    let mut archive = Archive::new(bytes.as_slice());
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => return vec![format!("invalid tar: {error}")],
    };
    let mut failures = Vec::new();
    for entry in entries {
        // No further entry can be found after an invalid header.
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                failures.push(format!("invalid tar: {error}"));
                return failures;
            }
        };
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if let Err(error) = place_entry(&root, &mut entry, rule) {
            failures.push(format!("{name}: {error}"));
        }
    }
    failures
}

/// Concatenates the parts of a tar.
fn join(parts: &[PathBuf]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for part in parts {
        File::open(part)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| format!("{}: {error}", part.display()))?;
    }
    if bytes.ends_with(&END) {
        Ok(bytes)
    } else {
        Err("the tar has no end marker: a part is missing".to_owned())
    }
}

fn place_entry(root: &File, entry: &mut tar::Entry<'_, &[u8]>, rule: Rule) -> io::Result<()> {
    let path = relative(&entry.path()?)?;
    let rights = Rights::read(entry.header())?;
    let kind = entry.header().entry_type();
    let Some(name) = path.file_name() else {
        // The root itself exists.
        return if kind == EntryType::Directory {
            Ok(())
        } else {
            Err(other("invalid file name"))
        };
    };
    let parent = parent_of(root, &path, rights)?;
    match kind {
        EntryType::Directory => place_directory(&parent, name, rights, rule),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            place_file(&parent, name, rights, rule, entry)
        }
        kind => Err(other(&format!(
            "unsupported entry type {kind:?}: use only files and directories"
        ))),
    }
}

/// The path without its root. A path with `..` is refused.
fn relative(path: &Path) -> io::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(other("the path is outside the root"));
            }
        }
    }
    Ok(plain)
}

/// Opens the parent directory of an entry. Missing ancestors are created with the entry's owner.
fn parent_of(root: &File, path: &Path, rights: Rights) -> io::Result<File> {
    let mut directory = root.try_clone()?;
    for name in path.parent().into_iter().flat_map(Path::components) {
        directory = match open_directory(&directory, name.as_os_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_directory(
                    &directory,
                    name.as_os_str(),
                    Rights {
                        mode: DEFAULT_DIRECTORY_MODE,
                        ..rights
                    },
                )?;
                open_directory(&directory, name.as_os_str())?
            }
            other => other?,
        };
    }
    Ok(directory)
}

fn open_directory(parent: &File, name: &OsStr) -> io::Result<File> {
    match openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(directory) => Ok(directory.into()),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(other(&format!(
            "{} in the path is not a directory; symbolic links are not followed",
            name.display()
        ))),
        Err(error) => Err(error.into()),
    }
}

fn place_directory(parent: &File, name: &OsStr, rights: Rights, rule: Rule) -> io::Result<()> {
    match (exists(parent, name)?, rule) {
        (false, _) => create_directory(parent, name, rights),
        (true, Rule::Once) => Ok(()),
        (true, Rule::Always) => rights.set_owner(&open_directory(parent, name)?),
    }
}

fn create_directory(parent: &File, name: &OsStr, rights: Rights) -> io::Result<()> {
    let _lock = lock(parent)?;
    remove_draft(parent)?;
    mkdirat(parent, DRAFT, Mode::RWXU)?;
    let draft = open_directory(parent, OsStr::new(DRAFT))?;
    rights.apply(&draft)?;
    draft.sync_all()?;
    renameat(parent, DRAFT, parent, name)?;
    parent.sync_all()
}

fn place_file(
    parent: &File,
    name: &OsStr,
    rights: Rights,
    rule: Rule,
    content: &mut impl Read,
) -> io::Result<()> {
    let _lock = lock(parent)?;
    remove_draft(parent)?;
    if rule == Rule::Once && exists(parent, name)? {
        return Ok(());
    }
    let placed = write_draft(parent, rights, content).and_then(|()| match rule {
        Rule::Always => renameat(parent, DRAFT, parent, name).map_err(Into::into),
        // Unlike a rename, a link never replaces a file that another process just created.
        Rule::Once => match linkat(parent, DRAFT, parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        },
    });
    // The draft of a failed placement may contain a secret.
    placed.and(remove_draft(parent))?;
    parent.sync_all()
}

/// Writes the complete file under its temporary name.
fn write_draft(parent: &File, rights: Rights, content: &mut impl Read) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut draft = File::from(openat(parent, DRAFT, flags, Mode::RUSR | Mode::WUSR)?);
    io::copy(content, &mut draft)?;
    rights.apply(&draft)?;
    draft.sync_all()
}

/// Locks the directory against concurrent runs, also in other containers, until the value is dropped.
fn lock(directory: &File) -> io::Result<File> {
    let locked = open_directory(directory, OsStr::new("."))?;
    match flock(&locked, FlockOperation::LockExclusive) {
        // File systems without locks have no concurrent runs.
        Ok(()) | Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK) => Ok(locked),
        Err(error) => Err(error.into()),
    }
}

/// Removes the draft of an interrupted run.
fn remove_draft(directory: &File) -> io::Result<()> {
    for flags in [AtFlags::empty(), AtFlags::REMOVEDIR] {
        match unlinkat(directory, DRAFT, flags) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) if flags.is_empty() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns true if the name exists, also as a dangling link.
fn exists(directory: &File, name: &OsStr) -> io::Result<bool> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Rights {
    fn read(header: &Header) -> io::Result<Self> {
        let id = |id: u64| u32::try_from(id).map_err(|_| other("the owner's id is too large"));
        Ok(Self {
            uid: id(header.uid()?)?,
            gid: id(header.gid()?)?,
            mode: header.mode()? & 0o7777,
        })
    }

    /// Sets owner and mode. The owner comes first, because changing it clears some bits of the mode.
    fn apply(self, file: &File) -> io::Result<()> {
        self.set_owner(file)?;
        fchmod(file, Mode::from_raw_mode(self.mode)).map_err(Into::into)
    }

    /// Sets the owner if it differs: only root may change it.
    fn set_owner(self, file: &File) -> io::Result<()> {
        let Self { uid, gid, mode: _ } = self;
        let found = file.metadata()?;
        if (found.uid(), found.gid()) == (uid, gid) {
            return Ok(());
        }
        fchown(
            file,
            (found.uid() != uid).then_some(uid),
            (found.gid() != gid).then_some(gid),
        )
        .map_err(|error| {
            other(&format!(
                "cannot change the owner from {}:{} to {uid}:{gid}: {error}",
                found.uid(),
                found.gid()
            ))
        })
    }
}

fn other(text: &str) -> io::Error {
    io::Error::other(text.to_owned())
}
