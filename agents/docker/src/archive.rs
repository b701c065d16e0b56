//! A node's files: one tar, uploaded through the engine's archive API before the node's first start.
//!
//! Bind mounts would need files on the engine's machine, which may be remote. Two rules shape the tar:
//! - A `once` file belongs to the node after its first write. If the volume is not new, its path is looked up
//!   first. The file gets its name by a hard link after its content is complete, so an interrupted upload
//!   never leaves a partial validator state under the final name.
//! - Directories are written only below volumes. Elsewhere the engine creates missing ones as root's, and
//!   `/etc` stays as in the image.

use crate::{
    DockerAgent,
    engine::{CALL, CallError},
};
use bollard::{
    body_full,
    errors::Error as Bollard,
    query_parameters::{ContainerArchiveInfoOptionsBuilder, UploadToContainerOptionsBuilder},
};
use bytes::Bytes;
use chainpool_agent::{Error, NodeSpec, Result};
use futures::future::try_join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::{SystemTime, UNIX_EPOCH},
};
use tar::{Builder, EntryType, Header};

/// New objects, which need no lookup before they are written.
pub(crate) struct Fresh {
    /// This call created the container.
    pub(crate) container: bool,
    /// Mount points of the volumes that this call created.
    pub(crate) volumes: BTreeSet<String>,
}

/// One tar entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry<'a> {
    path: String,
    kind: Kind<'a>,
    mode: u32,
    owner: (u32, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    /// A volume's own directory: always exists. Its mode belongs to the node after its first run.
    Mount,
    /// A directory: created if absent.
    Directory,
    /// A file: always written.
    File(&'a [u8]),
    /// A file: written if absent.
    Once(&'a [u8]),
}

impl DockerAgent {
    /// Places a node's files in its container, which must not have been started.
    pub(crate) async fn files_place(&self, container: &str, node: &NodeSpec, fresh: &Fresh) -> Result<()> {
        let entries = self
            .without_present(container, node, entries(node)?, fresh)
            .await?;
        for (root, entries) in by_root(node, entries)? {
            let bytes = pack(&root, &entries).map_err(|e| {
                Error::Refused(format!("node {}: its files do not fit a tar: {e}", node.name))
            })?;
            let docker = self.engine.docker().await?;
            let options = UploadToContainerOptionsBuilder::default()
                .path(&root)
                .no_overwrite_dir_non_dir("true")
                .build();
            self.engine
                .call(
                    CALL,
                    docker.upload_to_container(container, Some(options), body_full(bytes)),
                )
                .await
                .map_err(|f| f.into_error(&format!("take the files of node {}", node.name)))?;
        }
        Ok(())
    }

    /// Omits existing entries that belong to the node.
    async fn without_present<'a>(
        &self,
        container: &str,
        node: &NodeSpec,
        entries: Vec<Entry<'a>>,
        fresh: &Fresh,
    ) -> Result<Vec<Entry<'a>>> {
        let kept = entries.into_iter().map(async |mut entry| {
            let is_fresh =
                mount_of(node, &entry.path).map_or(fresh.container, |mount| fresh.volumes.contains(mount));
            if is_fresh || matches!(entry.kind, Kind::File(_)) {
                return Ok(Some(entry));
            }
            match self.file_mode(container, &entry.path).await? {
                Some(mode) if entry.kind == Kind::Mount => {
                    entry.mode = mode;
                    Ok(Some(entry))
                }
                Some(_) => Ok(None),
                None => Ok(Some(entry)),
            }
        });
        Ok(try_join_all(kept).await?.into_iter().flatten().collect())
    }

    /// The permission bits of the file at this path; `None` if absent.
    ///
    /// A HEAD response has no body, so a 404 may also come from a starting engine without routes. It counts
    /// as absence only if the engine knows the container in between.
    async fn file_mode(&self, container: &str, path: &str) -> Result<Option<u32>> {
        if let Some(mode) = self.file_mode_once(container, path).await? {
            return Ok(Some(mode));
        }
        let docker = self.engine.docker().await?;
        let known = self
            .engine
            .call(CALL, docker.inspect_container(container, None))
            .await;
        known.map_err(|fault| fault.into_error(&format!("inspect {container}")))?;
        self.file_mode_once(container, path).await
    }

    async fn file_mode_once(&self, container: &str, path: &str) -> Result<Option<u32>> {
        let docker = self.engine.docker().await?;
        let options = ContainerArchiveInfoOptionsBuilder::default().path(path).build();
        let asked = async {
            match docker.get_container_archive_info(container, Some(options)).await {
                Ok(stat) => Ok(Some(stat.file_mode & 0o777)),
                Err(Bollard::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        match self.engine.call(CALL, asked).await {
            // The response has no body: only its status is known.
            Err(fault @ CallError::Answer(_)) => Err(Error::Busy(
                fault.into_error(&format!("inspect {path}")).to_string(),
            )),
            other => other.map_err(|fault| fault.into_error(&format!("inspect {path}"))),
        }
    }
}

/// A node's files as two tars, for platforms where our own program unpacks them.
pub(crate) struct Tars {
    /// Files that are always written, and the owners of volumes.
    pub(crate) always: Option<Bytes>,
    /// Files that are written if absent.
    pub(crate) once: Option<Bytes>,
}

/// Packs a node's files, all of which must be below a volume. The program creates directories without an
/// entry.
pub(crate) fn tars(node: &NodeSpec) -> Result<Tars> {
    let (mut always, mut once) = (Vec::new(), Vec::new());
    for mut entry in entries(node)? {
        if mount_of(node, &entry.path).is_none() {
            return Err(Error::Refused(format!(
                "node {}: {} is outside its volumes, but this platform places files only in volumes",
                node.name, entry.path
            )));
        }
        match entry.kind {
            Kind::Directory => {}
            Kind::Mount | Kind::File(_) => always.push(entry),
            Kind::Once(content) => {
                entry.kind = Kind::File(content);
                once.push(entry);
            }
        }
    }
    let pack = |entries: Vec<Entry<'_>>| {
        let packed = (!entries.is_empty()).then(|| pack("/", &entries)).transpose();
        packed.map_err(|e| Error::Refused(format!("node {}: its files do not fit a tar: {e}", node.name)))
    };
    Ok(Tars {
        always: pack(always)?,
        once: pack(once)?,
    })
}

/// Lists a node's entries, parents before children.
fn entries(node: &NodeSpec) -> Result<Vec<Entry<'_>>> {
    let mut directories = BTreeMap::new();
    if let Some(owner) = node.user.as_deref().and_then(numeric_owner) {
        for volume in &node.volumes {
            directories.insert(volume.path.clone(), owner);
        }
    }
    let mut files = Vec::new();
    for file in &node.files {
        let plain = file.path.starts_with('/')
            && !file.path.ends_with('/')
            && !file.path[1..].split('/').any(|p| matches!(p, "" | "." | ".."));
        if !plain {
            return Err(Error::Refused(format!(
                "node {}: {:?} is not the absolute path of a file",
                node.name, file.path
            )));
        }
        if let Some(mount) = mount_of(node, &file.path) {
            for parent in parents(&file.path).filter(|p| is_below(p, mount)) {
                directories.entry(parent.to_owned()).or_insert(file.owner);
            }
        }
        let content = file.content.expose().as_slice();
        let kind = if file.once {
            Kind::Once(content)
        } else {
            Kind::File(content)
        };
        files.push(Entry {
            path: file.path.clone(),
            kind,
            mode: file.mode,
            owner: file.owner,
        });
    }
    let is_mount = |path: &str| node.volumes.iter().any(|v| v.path == path);
    let directories = directories.into_iter().map(|(path, owner)| {
        let kind = if is_mount(&path) {
            Kind::Mount
        } else {
            Kind::Directory
        };
        Entry {
            path,
            kind,
            mode: 0o755,
            owner,
        }
    });
    Ok(directories.chain(files).collect())
}

/// Groups entries by the path where their tar is unpacked. Engines reject uploads to `/` of a container with
/// a read-only root; in that case each volume gets its own tar.
fn by_root<'a>(node: &NodeSpec, entries: Vec<Entry<'a>>) -> Result<BTreeMap<String, Vec<Entry<'a>>>> {
    let mut groups = BTreeMap::<String, Vec<Entry<'a>>>::new();
    for entry in entries {
        let root = if node.read_only_root {
            mount_of(node, &entry.path).ok_or_else(|| {
                Error::Refused(format!(
                    "node {}: {} must be below a volume, because the root is read-only",
                    node.name, entry.path
                ))
            })?
        } else {
            "/"
        };
        // A tar cannot contain its own root: the volume's directory keeps the image's owner.
        if root != entry.path {
            groups.entry(root.to_owned()).or_default().push(entry);
        }
    }
    Ok(groups)
}

/// Packs entries into a tar whose names are relative to `root`.
fn pack(root: &str, entries: &[Entry<'_>]) -> io::Result<Bytes> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let mut tar = Builder::new(Vec::new());
    for Entry {
        path,
        kind,
        mode,
        owner,
    } in entries
    {
        let name = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
        let header = |entry: EntryType, size: usize| {
            let mut header = Header::new_gnu();
            header.set_entry_type(entry);
            header.set_size(size as u64);
            header.set_mode(*mode);
            header.set_uid(owner.0.into());
            header.set_gid(owner.1.into());
            header.set_mtime(now);
            header
        };
        match kind {
            Kind::Mount | Kind::Directory => {
                tar.append_data(&mut header(EntryType::Directory, 0), name, io::empty())?;
            }
            Kind::File(content) => {
                tar.append_data(&mut header(EntryType::Regular, content.len()), name, *content)?;
            }
            Kind::Once(content) => {
                let (folder, file) = name
                    .rsplit_once('/')
                    .map_or(("", name), |(folder, file)| (folder, file));
                let first = format!("{folder}/.{file}.first");
                let first = first.trim_start_matches('/');
                tar.append_data(&mut header(EntryType::Regular, content.len()), first, *content)?;
                tar.append_link(&mut header(EntryType::Link, 0), name, first)?;
            }
        }
    }
    tar.into_inner().map(Bytes::from)
}

/// The mount point of the innermost volume with this path.
fn mount_of<'a>(node: &'a NodeSpec, path: &str) -> Option<&'a str> {
    node.volumes
        .iter()
        .map(|v| v.path.as_str())
        .filter(|mount| is_below(path, mount))
        .max_by_key(|mount| mount.len())
}

/// Returns true if a path is this directory or below it.
fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/')
        .map(|(at, _)| &path[..at])
        .filter(|p| !p.is_empty())
}

fn numeric_owner(user: &str) -> Option<(u32, u32)> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, user));
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_agent::{File, Limits, LogConfig, NodeName, Secret, SpecHash, Volume};
    use std::io::Read;

    fn node(files: &[(&str, bool)], volumes: &[&str], read_only_root: bool) -> NodeSpec {
        NodeSpec {
            name: NodeName::parse("v0").expect("a name"),
            images: vec![],
            command: vec![],
            user: None,
            env: BTreeMap::new(),
            files: files
                .iter()
                .map(|(path, once)| File {
                    path: (*path).to_owned(),
                    content: Secret::new(path.as_bytes().to_vec()),
                    mode: 0o400,
                    owner: (7, 8),
                    secret: false,
                    once: *once,
                })
                .collect(),
            volumes: volumes
                .iter()
                .map(|p| Volume {
                    name: p.trim_matches('/').to_owned(),
                    path: (*p).to_owned(),
                    shared: false,
                })
                .collect(),
            ports: vec![],
            limits: Limits {
                memory_bytes: 1,
                processes: 1,
                cpu_millis: None,
            },
            readiness: None,
            result: false,
            read_only_root,
            log: LogConfig::default(),
            stop_signal: "SIGTERM".into(),
            stop_timeout: 1,
            machine: None,
            hash: SpecHash(String::new()),
        }
    }

    fn names(root: &str, entries: &[Entry<'_>]) -> Vec<String> {
        let bytes = pack(root, entries).expect("a tar");
        let mut archive = tar::Archive::new(&bytes[..]);
        let list = archive.entries().expect("entries");
        list.map(|e| e.expect("an entry").path().expect("a path").display().to_string())
            .collect()
    }

    #[test]
    fn directories_are_written_only_below_volumes() {
        let node = node(&[("/data/config/a", false), ("/etc/b", false)], &["/data"], false);
        let groups = by_root(&node, entries(&node).expect("entries")).expect("groups");
        assert_eq!(
            names("/", &groups["/"]),
            ["data", "data/config", "data/config/a", "etc/b"]
        );
    }

    #[test]
    fn a_once_file_gets_its_name_only_when_complete() {
        let node = node(&[("/data/state", true)], &["/data"], false);
        let bytes = pack("/", &entries(&node).expect("entries")).expect("a tar");
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut list = archive.entries().expect("entries").skip(1);
        let mut first = list.next().expect("content").expect("an entry");
        let mut text = String::new();
        first.read_to_string(&mut text).expect("content");
        assert_eq!(
            (
                text.as_str(),
                first.header().uid().expect("uid"),
                first.header().gid().expect("gid")
            ),
            ("/data/state", 7, 8)
        );
        let link = list.next().expect("link").expect("an entry");
        assert_eq!(link.header().entry_type(), EntryType::Link);
        assert_eq!(
            link.link_name()
                .expect("target")
                .expect("target")
                .display()
                .to_string(),
            "data/.state.first"
        );
        assert_eq!(link.path().expect("a path").display().to_string(), "data/state");
    }

    #[test]
    fn a_read_only_root_accepts_files_only_below_volumes() {
        let good = node(
            &[("/data/x/a", false), ("/more/b", false)],
            &["/data", "/more"],
            true,
        );
        let groups = by_root(&good, entries(&good).expect("entries")).expect("groups");
        assert_eq!(names("/data", &groups["/data"]), ["x", "x/a"]);
        assert_eq!(names("/more", &groups["/more"]), ["b"]);
        let bad = node(&[("/etc/a", false)], &["/data"], true);
        let error = by_root(&bad, entries(&bad).expect("entries"))
            .expect_err("refused")
            .to_string();
        assert!(error.contains("/etc/a must be below a volume"), "{error}");
    }

    #[test]
    fn invalid_paths_are_refused() {
        for path in ["data/a", "/data/../a", "/data//a", "/data/", "/"] {
            assert!(entries(&node(&[(path, false)], &[], false)).is_err(), "{path}");
        }
    }
}
