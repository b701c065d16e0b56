//! Output of a lease's bundle, as text or files.

use crate::{
    client::ApiResponse,
    exit::{Exit, Failure, Result},
    output::{self, NONE, clean},
};
use chainpool_api::{Bundle, BundleNode, Endpoint};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

/// Name of the file with the whole response.
const DOCUMENT: &str = "bundle.json";

/// The write and read commands, with notes.
pub(crate) fn commands(bundle: &Bundle) -> String {
    let mut text = format!(
        "commit a transaction:\n  {}\nread it back:\n  {}",
        clean(&bundle.write),
        clean(&bundle.read)
    );
    for note in &bundle.notes {
        let _infallible = write!(text, "\nnote: {}", clean(note));
    }
    text
}

/// The bundle as text, without file contents.
pub(crate) fn text(bundle: &Bundle) -> String {
    let rows = bundle.nodes.iter().map(
        |BundleNode {
             name,
             identities,
             endpoints,
         }| {
            let endpoints: Vec<String> = endpoints
                .iter()
                .map(|Endpoint { name, address }| format!("{name} {address}"))
                .collect();
            let identities: Vec<String> = identities
                .iter()
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            let or_none = |list: Vec<String>| {
                if list.is_empty() {
                    NONE.to_owned()
                } else {
                    list.join(", ")
                }
            };
            vec![name.clone(), or_none(endpoints), or_none(identities)]
        },
    );
    let files: Vec<&str> = bundle.files.keys().map(String::as_str).collect();
    format!(
        "{}\n\n{}\n\n{}",
        output::fields(&[
            ("cluster", bundle.cluster.clone()),
            ("type", bundle.network_type.clone()),
            ("chain id", bundle.chain_id.clone()),
            ("files", format!("{} (written by --out FOLDER)", files.join(", "))),
        ]),
        output::table(&["NODE", "ENDPOINTS", "IDENTITIES"], rows.collect()),
        commands(bundle),
    )
}

/// Writes the files and the document to a folder that only its owner can read, as it may contain keys. With
/// `force` it replaces a previous bundle completely and keeps all other files.
pub(crate) fn write(response: &ApiResponse<Bundle>, folder: &Path, force: bool) -> Result<()> {
    let document = format!("{:#}\n", response.json);
    let mut files = Vec::new();
    for (name, content) in &response.value.files {
        files.push((target_path(folder, name)?, content.as_str()));
    }
    // The document is written last: after an abort the previous one still lists the files to remove.
    files.push((folder.join(DOCUMENT), &document));
    if let Some((path, _)) = files.iter().find(|(path, _)| !force && path.exists()) {
        return Err(Failure::new(
            Exit::Conflict,
            format!(
                "{} exists; choose another folder or overwrite it with --force",
                path.display()
            ),
        ));
    }
    if force {
        remove_previous(folder, &response.value.files)?;
    }
    for (path, content) in &files {
        write_file(path, content, force).map_err(|error| {
            Failure::new(Exit::Error, format!("cannot write {}: {error}", path.display()))
        })?;
    }
    files.rotate_right(1);
    files
        .iter()
        .try_for_each(|(path, _)| output::line(path.display()))
}

/// Removes the files of the previous bundle, as listed in its document, except those in `new`. Keeps and
/// reports files that were changed since.
fn remove_previous(folder: &Path, new: &BTreeMap<String, String>) -> Result<()> {
    let text = match fs::read_to_string(folder.join(DOCUMENT)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Failure::new(
                Exit::Error,
                format!("cannot read {}: {error}", folder.join(DOCUMENT).display()),
            ));
        }
    };
    // A document of another kind lists no files of a bundle.
    let Ok(previous) = serde_json::from_str::<PreviousBundle>(&text) else {
        return Ok(());
    };
    for (name, content) in previous.files.iter().filter(|(name, _)| !new.contains_key(*name)) {
        // Only valid bundle names, and no links out of the folder.
        let Ok(path) = target_path(folder, name) else {
            continue;
        };
        if is_linked(folder, name) {
            continue;
        }
        let wrong = |error: io::Error| {
            Failure::new(Exit::Error, format!("cannot remove {}: {error}", path.display()))
        };
        match fs::read(&path) {
            Ok(found) if found == content.as_bytes() => {
                fs::remove_file(&path).map_err(wrong)?;
                remove_empty(folder, name).map_err(wrong)?;
            }
            Ok(_) => output::note(format_args!(
                "keeping {}: changed since the previous bundle",
                path.display()
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(wrong(error)),
        }
    }
    Ok(())
}

/// The files of a bundle, from its document.
#[derive(Deserialize)]
struct PreviousBundle {
    files: BTreeMap<String, String>,
}

/// `true` if any part of a path below the folder is a link.
fn is_linked(folder: &Path, name: &str) -> bool {
    let mut path = folder.to_owned();
    Path::new(name).components().any(|part| {
        path.push(part);
        fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink())
    })
}

/// Removes the empty parent folders of a name.
fn remove_empty(folder: &Path, name: &str) -> io::Result<()> {
    for parent in Path::new(name)
        .ancestors()
        .skip(1)
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        match fs::remove_dir(folder.join(parent)) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
            removed => removed?,
        }
    }
    Ok(())
}

/// Target path of a file; rejects names that lead outside the folder.
fn target_path(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)))
        && name == output::visible(name, |_| false);
    if !plain || name.is_empty() || name == DOCUMENT {
        return Err(Failure::new(
            Exit::Error,
            format!("invalid file name {name:?} in the server's bundle"),
        ));
    }
    Ok(folder.join(path))
}

fn write_file(path: &Path, content: &str, force: bool) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    if force {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn response(file: &str) -> ApiResponse<Bundle> {
        bundle(&[(file, "{}")])
    }

    fn bundle(files: &[(&str, &str)]) -> ApiResponse<Bundle> {
        let value = Bundle {
            lease_id: uuid::Uuid::from_u128(1),
            cluster: "alpha".into(),
            network_type: "cometbft".into(),
            chain_id: "cp-1".into(),
            nodes: vec![],
            write: "curl a".into(),
            read: "curl b".into(),
            files: files
                .iter()
                .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
                .collect(),
            notes: vec![],
        };
        ApiResponse {
            json: serde_json::to_value(&value).unwrap(),
            value,
        }
    }

    #[test]
    fn files_are_private_and_overwritten_only_with_force() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        write(&response("genesis.json"), &out, false).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (
                mode(&out),
                mode(&out.join("genesis.json")),
                mode(&out.join(DOCUMENT))
            ),
            (0o700, 0o600, 0o600)
        );
        fs::write(out.join("genesis.json"), "mine").unwrap();
        assert_eq!(
            write(&response("genesis.json"), &out, false).unwrap_err().exit,
            Exit::Conflict
        );
        assert_eq!(fs::read_to_string(out.join("genesis.json")).unwrap(), "mine");
        write(&response("genesis.json"), &out, true).unwrap();
        assert_eq!(fs::read_to_string(out.join("genesis.json")).unwrap(), "{}");
    }

    #[test]
    fn no_file_is_written_outside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "../evil",
            "/etc/evil",
            "a/../../evil",
            "",
            ".",
            "bundle.json",
            "a\u{1b}[2J",
            "a\nb",
        ] {
            assert!(write(&response(name), folder.path(), true).is_err(), "{name}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{name}");
        }
    }

    /// Names of all files below a folder, relative to it.
    fn names(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    open.push(path);
                } else {
                    found.push(path.strip_prefix(folder).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_bundle_replaces_the_previous_one_and_keeps_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("b");
        let standard = bundle(&[
            ("org1/ca.pem", "old 1"),
            ("org1/alice/key.pem", "old 2"),
            ("org2/ca.pem", "old 3"),
            ("org2/notes", "old 4"),
        ]);
        write(&standard, &out, false).unwrap();
        fs::write(out.join("org2/notes"), "changed by hand").unwrap();
        fs::write(out.join("org1/mine.txt"), "mine").unwrap();
        let tiny = bundle(&[("org1/ca.pem", "new 1"), ("genesis.json", "{}")]);
        assert_eq!(write(&tiny, &out, false).unwrap_err().exit, Exit::Conflict);
        assert!(
            out.join("org2/ca.pem").exists(),
            "nothing is removed without force"
        );
        write(&tiny, &out, true).unwrap();
        assert_eq!(
            names(&out),
            [
                "bundle.json",
                "genesis.json",
                "org1/ca.pem",
                "org1/mine.txt",
                "org2/notes"
            ]
        );
        assert_eq!(fs::read_to_string(out.join("org1/ca.pem")).unwrap(), "new 1");
        assert!(!out.join("org1/alice").exists(), "empty folders are removed");
        write(&bundle(&[("genesis.json", "{}")]), &out, true).unwrap();
        assert_eq!(
            names(&out),
            ["bundle.json", "genesis.json", "org1/mine.txt", "org2/notes"]
        );
    }

    #[test]
    fn links_and_foreign_documents_never_cause_removal() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("ca.pem"), "x").unwrap();
        symlink(outside.path(), folder.path().join("org1")).unwrap();
        fs::write(outside.path().join("evil"), "x").unwrap();
        let evil = format!("{}/evil", outside.path().display());
        let document = serde_json::json!({ "files": { "org1/ca.pem": "x", evil: "x", "../evil": "x" } });
        fs::write(folder.path().join(DOCUMENT), document.to_string()).unwrap();
        write(&response("genesis.json"), folder.path(), true).unwrap();
        assert_eq!(names(outside.path()), ["ca.pem", "evil"]);
        fs::write(folder.path().join(DOCUMENT), "mine").unwrap();
        write(&response("other.json"), folder.path(), true).unwrap();
        assert!(folder.path().join("genesis.json").exists());
    }
}
