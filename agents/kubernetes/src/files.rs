//! A node's files on their way: tars in parts that fit into secrets, which an init container places before each start.

use crate::user::User;
use chainpool_agent::{Error, File, NodeSpec, Result, Secret};
use sha2::{Digest, Sha256};

/// The largest part. A secret holds 1 MiB at most, and the server takes 1.5 MiB a request, in which it is a third longer.
const PART: usize = 900 << 10;
/// Where the parts are in the init container.
pub(crate) const PARTS: &str = "/chainpool/parts";
/// Where the volumes are in the init container: apart, so that none can hide its program.
pub(crate) const ROOT: &str = "/chainpool/root";
/// Below that root: what lies in no volume, each file mounted into the node by itself.
pub(crate) const OUTSIDE: &str = "chainpool-outside";

/// One secret's worth of a tar.
pub(crate) struct Part {
    /// The secret's name; it changes with what the node's files hold.
    pub(crate) secret: String,
    /// The file's name below [`PARTS`].
    pub(crate) name: String,
    pub(crate) bytes: Secret<Vec<u8>>,
}

/// A node's files.
pub(crate) struct Files {
    always: Vec<Part>,
    once: Vec<Part>,
    /// Absolute paths of files that lie in no volume.
    pub(crate) outside: Vec<String>,
}

impl Files {
    /// Sorts a node's files into what is written at every start and what is written but once. All become the node's user's:
    /// without root nobody can give a file away.
    pub(crate) fn of(node: &NodeSpec, user: User) -> Result<Self> {
        let outside = |file: &&File| !node.volumes.iter().any(|v| is_below(&file.path, &v.path));
        if let Some(file) = node.files.iter().filter(outside).find(|_| node.read_only_root) {
            return Err(Error::Refused(format!(
                "node {}: {} lies in no volume, and the rest of the disk is read-only",
                node.name, file.path
            )));
        }
        if let Some(file) = node
            .files
            .iter()
            .find(|f| !f.path.starts_with('/') || f.path.split('/').any(|part| part == ".."))
        {
            return Err(Error::Refused(format!(
                "node {}: {:?} is no absolute path",
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

    /// The arguments with which the init container places them.
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

/// One tar of these files; empty when there are none.
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
            .map_err(|e| Error::Refused(format!("file /{path} cannot be placed: {e}")))?;
    }
    if !any {
        return Ok(Secret::default());
    }
    tar.into_inner()
        .map(Secret::new)
        .map_err(|e| Error::Refused(format!("the files cannot be packed: {e}")))
}

/// Whether a path lies below a folder.
fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/'))
        .is_some_and(|rest| rest.starts_with('/'))
}

/// A short name for a content.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..5])
}
