//! The bundle of a lease: printed, or written as files.

use crate::{
    client::Answer,
    exit::{Exit, Failure, Result},
    output::{self, NONE, clean},
};
use chainpool_api::{Bundle, BundleNode, Endpoint};
use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

/// The whole answer, beside the files that are in it.
const DOCUMENT: &str = "bundle.json";

/// The two commands that show that the ledger works, and what to know of them.
pub(crate) fn commands(bundle: &Bundle) -> String {
    let mut text = format!("commit a transaction:\n  {}\nread it back:\n  {}", clean(&bundle.write), clean(&bundle.read));
    for note in &bundle.notes {
        let _infallible = write!(text, "\nnote: {}", clean(note));
    }
    text
}

/// All but the files' content.
pub(crate) fn text(bundle: &Bundle) -> String {
    let rows = bundle.nodes.iter().map(|BundleNode { name, identities, endpoints }| {
        let endpoints: Vec<String> = endpoints.iter().map(|Endpoint { name, address }| format!("{name} {address}")).collect();
        let identities: Vec<String> = identities.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let or_none = |list: Vec<String>| if list.is_empty() { NONE.to_owned() } else { list.join(", ") };
        vec![name.clone(), or_none(endpoints), or_none(identities)]
    });
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

/// Writes the files and the document to a folder that only its owner can read: there may be keys in it.
pub(crate) fn write(answer: &Answer<Bundle>, folder: &Path, force: bool) -> Result<()> {
    let document = format!("{:#}\n", answer.json);
    let mut files = vec![(folder.join(DOCUMENT), document.as_str())];
    for (name, content) in &answer.value.files {
        files.push((place(folder, name)?, content));
    }
    if let Some((path, _)) = files.iter().find(|(path, _)| !force && path.exists()) {
        return Err(Failure::new(
            Exit::Conflict,
            format!("{} is there already; choose another folder or overwrite with --force", path.display()),
        ));
    }
    for (path, content) in files {
        write_file(&path, content, force)
            .map_err(|error| Failure::new(Exit::Wrong, format!("cannot write {}: {error}", path.display())))?;
        output::line(path.display())?;
    }
    Ok(())
}

/// Where a file of the bundle goes: never outside the folder, whatever its name says.
fn place(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || name.is_empty() || name == DOCUMENT {
        return Err(Failure::new(Exit::Wrong, format!("the server names a file {name:?}, which is no name for a file in a bundle")));
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
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

    fn answer(file: &str) -> Answer<Bundle> {
        let value = Bundle {
            lease_id: uuid::Uuid::from_u128(1),
            cluster: "alpha".into(),
            network_type: "cometbft".into(),
            chain_id: "cp-1".into(),
            nodes: vec![],
            write: "curl a".into(),
            read: "curl b".into(),
            files: BTreeMap::from([(file.to_owned(), "{}".to_owned())]),
            notes: vec![],
        };
        Answer { json: serde_json::to_value(&value).unwrap(), value }
    }

    #[test]
    fn files_are_their_owners_alone_and_never_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        write(&answer("genesis.json"), &out, false).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&out), mode(&out.join("genesis.json")), mode(&out.join(DOCUMENT))), (0o700, 0o600, 0o600));
        fs::write(out.join("genesis.json"), "mine").unwrap();
        assert_eq!(write(&answer("genesis.json"), &out, false).unwrap_err().exit, Exit::Conflict);
        assert_eq!(fs::read_to_string(out.join("genesis.json")).unwrap(), "mine");
        write(&answer("genesis.json"), &out, true).unwrap();
        assert_eq!(fs::read_to_string(out.join("genesis.json")).unwrap(), "{}");
    }

    #[test]
    fn no_file_is_written_outside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["../evil", "/etc/evil", "a/../../evil", "", ".", "bundle.json"] {
            assert!(write(&answer(name), folder.path(), true).is_err(), "{name}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{name}");
        }
    }
}
