//! A node's files as tars, split into parts that fit into secrets. An init container places them before each
//! start.

use crate::user::User;
use chainpool_agent::{Error, File, NodeSpec, Result, Secret};
use sha2::{Digest, Sha256};

/// Maximum part size. A secret holds at most 1 MiB, and a request at most 1.5 MiB, in which base64 adds a
/// third.
const PART: usize = 900 << 10;
/// The directory of the parts in the init container.
pub(crate) const PARTS: &str = "/chainpool/parts";
/// The directory of the volumes in the init container, separate so that no volume hides its program.
pub(crate) const ROOT: &str = "/chainpool/root";
/// The directory under [`ROOT`] for files outside all volumes. Each of them is mounted into the node
/// separately.
pub(crate) const OUTSIDE: &str = "chainpool-outside";

/// A part of a tar, stored in one secret.
pub(crate) struct Part {
    /// The secret's name, which changes with the content of the files.
    pub(crate) secret: String,
    /// The file name under [`PARTS`].
    pub(crate) name: String,
    pub(crate) bytes: Secret<Vec<u8>>,
}

/// A node's files.
pub(crate) struct Files {
    always: Vec<Part>,
    once: Vec<Part>,
    /// Absolute paths of files outside all volumes.
    pub(crate) outside: Vec<String>,
}

impl Files {
    /// Splits a node's files into those written at every start and those written once. All are owned by the
    /// node's user: changing the owner of a file needs root.
    pub(crate) fn of(node: &NodeSpec, user: User) -> Result<Self> {
        let outside = |file: &&File| !node.volumes.iter().any(|v| is_inside(&file.path, &v.path));
        if let Some(file) = node.files.iter().filter(outside).find(|_| node.read_only_root) {
            return Err(Error::Refused(format!(
                "node {}: {} is outside all volumes and the root file system is read-only: move it into a volume",
                node.name, file.path
            )));
        }
        if let Some(file) = node
            .files
            .iter()
            .find(|f| !f.path.starts_with('/') || f.path.split('/').any(|part| part == ".."))
        {
            return Err(Error::Refused(format!(
                "node {}: {:?} is not an absolute path: use one without ..",
                node.name, file.path
            )));
        }
        let tar = |once: bool| {
            tar(
                node.files.iter().filter(|f| f.once == once),
                |f| outside(&f),
                user,
            )
        };
        let (always, once) = (tar(false)?, tar(true)?);
        let digest = digest(&[always.expose().as_slice(), once.expose()].concat());
        let parts = |list: &str, bytes: &Secret<Vec<u8>>| {
            let part = |(n, bytes): (usize, &[u8])| Part {
                secret: format!("{}-files-{digest}-{list}-{n}", node.name),
                name: format!("{list}.{n:03}"),
                bytes: Secret::new(bytes.to_vec()),
            };
            bytes.expose().chunks(PART).enumerate().map(part).collect()
        };
        Ok(Self {
            always: parts("always", &always),
            once: parts("once", &once),
            outside: node
                .files
                .iter()
                .filter(outside)
                .map(|f| f.path.clone())
                .collect(),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.always.is_empty() && self.once.is_empty()
    }

    /// All parts.
    pub(crate) fn parts(&self) -> Vec<&Part> {
        self.always.iter().chain(&self.once).collect()
    }

    /// The arguments of the init container that places them.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--root".to_owned(), ROOT.to_owned()];
        for (list, parts) in [("--always", &self.always), ("--once", &self.once)] {
            if !parts.is_empty() {
                arguments.push(list.to_owned());
                arguments.extend(parts.iter().map(|part| format!("{PARTS}/{}", part.name)));
            }
        }
        arguments
    }
}

/// A tar of these files; empty if there are none.
fn tar<'a>(
    files: impl Iterator<Item = &'a File>,
    outside: impl Fn(&File) -> bool,
    user: User,
) -> Result<Secret<Vec<u8>>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut any = false;
    for file in files {
        any = true;
        let File {
            path,
            content,
            mode,
            owner: _,
            secret: _,
            once: _,
        } = file;
        let path = path.trim_start_matches('/');
        let path = if outside(file) {
            format!("{OUTSIDE}/{path}")
        } else {
            path.to_owned()
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.expose().len()).unwrap_or(u64::MAX));
        header.set_mode(*mode);
        header.set_uid(user.uid.into());
        header.set_gid(user.gid.into());
        tar.append_data(&mut header, &path, content.expose().as_slice())
            .map_err(|e| Error::Refused(format!("cannot pack file /{path}: {e}")))?;
    }
    if !any {
        return Ok(Secret::default());
    }
    tar.into_inner()
        .map(Secret::new)
        .map_err(|e| Error::Refused(format!("cannot pack the files: {e}")))
}

/// Returns true if a path is inside a directory.
fn is_inside(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory.trim_end_matches('/'))
        .is_some_and(|rest| rest.starts_with('/'))
}

/// A short hash for names that depend on content.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..5])
}
