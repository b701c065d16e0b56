//! Places files in a folder, for platforms whose own means of handing over files know no owner, no `once` and no large file.
//!
//! Nothing is ever seen half: a file appears under its name when its whole content is on the disk, a directory when it has its
//! owner. So a placing that was cut off is simply done again. The folder may hold what a node wrote; a link of its making is
//! not followed, else it could have us write wherever it likes.

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

/// What happens where something is already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A file is written anew; a directory gets its owner and keeps its mode.
    Always,
    /// It stays as it is.
    Once,
}

/// The name under which a file or directory is made ready, in the folder where it will be.
const DRAFT: &str = ".chainpool-place.new";
/// What a directory has that no entry describes.
const FOLDER_MODE: u32 = 0o755;
/// What ends every tar. Its absence shows that the last part is missing.
const END: [u8; 1024] = [0; 1024];

/// Owner and mode, as an entry's header has them.
#[derive(Clone, Copy)]
struct Rights {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// Reads parts of a tar and places its entries below `root`. Returns one message a failure; what can be placed is placed.
pub fn place(root: &Path, parts: &[PathBuf], rule: Rule) -> Vec<String> {
    let bytes = match join(parts) {
        Ok(bytes) => bytes,
        Err(failure) => return vec![failure],
    };
    let root = match File::open(root) {
        Ok(folder) => folder,
        Err(error) => return vec![format!("{}: {error}", root.display())],
    };
    let mut archive = Archive::new(bytes.as_slice());
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => return vec![format!("the tar cannot be read: {error}")],
    };
    let mut failures = Vec::new();
    for entry in entries {
        // After a broken header there is no next entry to be found.
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                failures.push(format!("the tar cannot be read: {error}"));
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

/// The whole tar.
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
        Err("the tar has no end: is a part missing?".to_owned())
    }
}

fn place_entry(root: &File, entry: &mut tar::Entry<'_, &[u8]>, rule: Rule) -> io::Result<()> {
    let path = relative(&entry.path()?)?;
    let rights = Rights::read(entry.header())?;
    let kind = entry.header().entry_type();
    let Some(name) = path.file_name() else {
        // The root itself: it is there.
        return if kind == EntryType::Directory {
            Ok(())
        } else {
            Err(other("a file cannot have this name"))
        };
    };
    let folder = folder_of(root, &path, rights)?;
    match kind {
        EntryType::Directory => place_directory(&folder, name, rights, rule),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            place_file(&folder, name, rights, rule, entry)
        }
        kind => Err(other(&format!(
            "only files and directories are placed, not {kind:?}"
        ))),
    }
}

/// The path without what stands for the root; one that leads upwards is refused.
fn relative(path: &Path) -> io::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(other("the path leads out of the root"));
            }
        }
    }
    Ok(plain)
}

/// Opens the folder that an entry lies in. What is missing on the way is made with the entry's owner.
fn folder_of(root: &File, path: &Path, rights: Rights) -> io::Result<File> {
    let mut folder = root.try_clone()?;
    for name in path.parent().into_iter().flat_map(Path::components) {
        folder = match open_folder(&folder, name.as_os_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(
                    &folder,
                    name.as_os_str(),
                    Rights {
                        mode: FOLDER_MODE,
                        ..rights
                    },
                )?;
                open_folder(&folder, name.as_os_str())?
            }
            other => other?,
        };
    }
    Ok(folder)
}

fn open_folder(parent: &File, name: &OsStr) -> io::Result<File> {
    match openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(folder) => Ok(folder.into()),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(other(&format!(
            "{} on its way is no directory; links are not followed",
            name.display()
        ))),
        Err(error) => Err(error.into()),
    }
}

fn place_directory(folder: &File, name: &OsStr, rights: Rights, rule: Rule) -> io::Result<()> {
    match (is_there(folder, name)?, rule) {
        (false, _) => make_directory(folder, name, rights),
        (true, Rule::Once) => Ok(()),
        (true, Rule::Always) => rights.own(&open_folder(folder, name)?),
    }
}

fn make_directory(folder: &File, name: &OsStr, rights: Rights) -> io::Result<()> {
    let _held = hold(folder)?;
    discard(folder)?;
    mkdirat(folder, DRAFT, Mode::RWXU)?;
    let draft = open_folder(folder, OsStr::new(DRAFT))?;
    rights.give(&draft)?;
    draft.sync_all()?;
    renameat(folder, DRAFT, folder, name)?;
    folder.sync_all()
}

fn place_file(
    folder: &File,
    name: &OsStr,
    rights: Rights,
    rule: Rule,
    content: &mut impl Read,
) -> io::Result<()> {
    let _held = hold(folder)?;
    discard(folder)?;
    if rule == Rule::Once && is_there(folder, name)? {
        return Ok(());
    }
    let placed = draft_file(folder, rights, content).and_then(|()| match rule {
        Rule::Always => renameat(folder, DRAFT, folder, name).map_err(Into::into),
        // Unlike a rename, a link never takes the place of what somebody else just put there.
        Rule::Once => match linkat(folder, DRAFT, folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        },
    });
    // A draft that came to nothing may hold a secret.
    placed.and(discard(folder))?;
    folder.sync_all()
}

/// Writes the whole file under its first name.
fn draft_file(folder: &File, rights: Rights, content: &mut impl Read) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut draft = File::from(openat(folder, DRAFT, flags, Mode::RUSR | Mode::WUSR)?);
    io::copy(content, &mut draft)?;
    rights.give(&draft)?;
    draft.sync_all()
}

/// Keeps another placer, in whatever container, from using the same draft; until the value is dropped.
fn hold(folder: &File) -> io::Result<File> {
    let held = open_folder(folder, OsStr::new("."))?;
    match flock(&held, FlockOperation::LockExclusive) {
        // A file system without locks has nobody to wait for.
        Ok(()) | Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK) => Ok(held),
        Err(error) => Err(error.into()),
    }
}

/// Removes what a placing that was cut off left.
fn discard(folder: &File) -> io::Result<()> {
    for flags in [AtFlags::empty(), AtFlags::REMOVEDIR] {
        match unlinkat(folder, DRAFT, flags) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) if flags.is_empty() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether there is anything of this name, be it a link that leads nowhere.
fn is_there(folder: &File, name: &OsStr) -> io::Result<bool> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Rights {
    fn read(header: &Header) -> io::Result<Self> {
        let id = |id: u64| u32::try_from(id).map_err(|_| other("the owner's number is too large"));
        Ok(Self {
            uid: id(header.uid()?)?,
            gid: id(header.gid()?)?,
            mode: header.mode()? & 0o7777,
        })
    }

    /// Gives owner and mode. The owner comes first: a change of it takes some bits of the mode away.
    fn give(self, made: &File) -> io::Result<()> {
        self.own(made)?;
        fchmod(made, Mode::from_raw_mode(self.mode)).map_err(Into::into)
    }

    /// Gives the owner, where it is another: who is no administrator may keep one, but not give one.
    fn own(self, made: &File) -> io::Result<()> {
        let Self { uid, gid, mode: _ } = self;
        let found = made.metadata()?;
        if (found.uid(), found.gid()) == (uid, gid) {
            return Ok(());
        }
        fchown(
            made,
            (found.uid() != uid).then_some(uid),
            (found.gid() != gid).then_some(gid),
        )
        .map_err(|error| {
            other(&format!(
                "the owner {uid}:{gid} cannot be set (it is {}:{}): {error}",
                found.uid(),
                found.gid()
            ))
        })
    }
}

fn other(text: &str) -> io::Error {
    io::Error::other(text.to_owned())
}
