//! Package of a chaincode that runs as a service; it holds the chaincode's address.
//!
//! Format of Fabric 2.5: `core/chaincode/persistence/chaincode_package.go`,
//! `ccaas_builder/cmd/build/main.go`.

use flate2::{Compression, GzBuilder};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use tar::{Builder, EntryType, Header};

/// Returns the package id, `label:hash`, and the package. Peers connect to the chaincode at the address. The
/// label is the name without the version, so a node keeps its id across versions. With a new id a peer would
/// call the current version on a node that identifies as the next one and wait for its start, and commit no
/// block meanwhile.
pub(crate) fn package(name: &str, address: &str) -> (String, Vec<u8>) {
    let connection = json!({"address": address, "dial_timeout": "10s", "tls_required": false}).to_string();
    let metadata = json!({"path": "", "type": "ccaas", "label": name}).to_string();
    let made = tar_gz(&[("connection.json", connection.as_bytes())])
        .and_then(|code| tar_gz(&[("metadata.json", metadata.as_bytes()), ("code.tar.gz", &code)]));
    let bytes = made.expect("memory takes every write, and the names are short");
    (format!("{name}:{}", hex::encode(Sha256::digest(&bytes))), bytes)
}

/// The same files give the same bytes: no time, no owner.
fn tar_gz(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *content)?;
    }
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::default());
    gzip.write_all(&tar.into_inner()?)?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::{collections::BTreeMap, io::Read};

    fn unpacked(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(GzDecoder::new(bytes));
        let entries = archive.entries().expect("entries").map(|entry| {
            let mut entry = entry.expect("an entry");
            assert_eq!(entry.header().entry_type(), EntryType::Regular);
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            (entry.path().expect("a path").display().to_string(), content)
        });
        entries.collect()
    }

    #[test]
    fn a_package_holds_the_address_of_the_chaincode() {
        let (id, bytes) = package("basic", "cc-basic:9999");
        assert_eq!(id, format!("basic:{}", hex::encode(Sha256::digest(&bytes))));
        let outer = unpacked(&bytes);
        assert_eq!(outer.keys().collect::<Vec<_>>(), ["code.tar.gz", "metadata.json"]);
        let metadata: serde_json::Value = serde_json::from_slice(&outer["metadata.json"]).expect("json");
        assert_eq!(metadata, json!({"path": "", "type": "ccaas", "label": "basic"}));
        let inner = unpacked(&outer["code.tar.gz"]);
        let connection: serde_json::Value = serde_json::from_slice(&inner["connection.json"]).expect("json");
        assert_eq!(
            connection,
            json!({"address": "cc-basic:9999", "dial_timeout": "10s", "tls_required": false})
        );
    }

    #[test]
    fn the_same_chaincode_gives_the_same_bytes() {
        assert_eq!(package("a", "cc-a:9999"), package("a", "cc-a:9999"));
        assert_ne!(package("a", "cc-a:9999").0, package("b", "cc-a:9999").0);
    }
}
