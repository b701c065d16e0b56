//! State databases of peers: embedded, or a `CouchDB` node beside each peer, which supports rich queries.
//!
//! Settings of Fabric 2.5: `sampleconfig/core.yaml`, `internal/peer/node/config.go`; of `CouchDB` 3.4: its
//! image's `docker-entrypoint.sh`.

use super::{
    organisation::{Member, Role, peers},
    parameters::Parameters,
    render,
};
use crate::RenderRequest;
use chainpool_agent::{
    Audience, Limits, NodeName, NodeSpec, Port, Protocol, Secret, SpecHash, Variable, Volume,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Role of a `CouchDB` in image overrides.
pub(super) const ROLE: &str = "couchdb";
/// Its port, for its peer only: it has no TLS.
pub(super) const HTTP: &str = "http";
const PORT: u16 = 5984;

/// User and data folder of its image.
const USER: &str = "5984:5984";
const DATA: &str = "/opt/couchdb/data";

/// Account of the peer.
const ACCOUNT: &str = "peer";

/// It uses about 60 MB when idle; the rest is for queries, views and the page cache.
pub(super) const MEMORY: u64 = 512 * render::MIB;

/// A state database. Specs without one are `LevelDb`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StateDatabase {
    /// Embedded in the peer.
    #[default]
    LevelDb,
    /// A node beside the peer.
    CouchDb,
}

impl StateDatabase {
    pub(super) const ALL: [Self; 2] = [Self::LevelDb, Self::CouchDb];

    /// Parameter value.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::LevelDb => "leveldb",
            Self::CouchDb => "couchdb",
        }
    }

    /// Default values are not stored.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Suitable images. Chainpool builds none: `CouchDB` is in no package registry.
pub(super) fn images() -> Vec<String> {
    vec!["couchdb:3.4.2".to_owned()]
}

/// The node of a peer's database: `db0-org1` of `peer0-org1`.
pub(super) fn name(peer: &NodeName) -> NodeName {
    let rest = peer
        .as_str()
        .strip_prefix(Role::Peer.as_str())
        .unwrap_or(peer.as_str());
    NodeName::parse(&format!("db{rest}")).expect("it is shorter than the peer's")
}

/// All databases of a network with their peers.
pub(super) fn names(parameters: &Parameters) -> Vec<(NodeName, NodeName)> {
    match parameters.state_database {
        StateDatabase::LevelDb => vec![],
        StateDatabase::CouchDb => (1..=parameters.organisations)
            .flat_map(|n| peers(parameters, n))
            .map(|peer| (name(&peer), peer))
            .collect(),
    }
}

/// Further settings of a peer with a database. It tries to connect eleven times in two minutes at its start,
/// and four times in a second for a block. Then it exits and the platform restarts it.
pub(super) fn peer_settings(peer: &NodeName, password: &Secret<Vec<u8>>) -> BTreeMap<String, Variable> {
    let settings = [
        ("CORE_LEDGER_STATE_STATEDATABASE", "CouchDB".to_owned()),
        (
            "CORE_LEDGER_STATE_COUCHDBCONFIG_COUCHDBADDRESS",
            format!("{}:{PORT}", name(peer)),
        ),
        ("CORE_LEDGER_STATE_COUCHDBCONFIG_USERNAME", ACCOUNT.to_owned()),
        ("CORE_LEDGER_STATE_COUCHDBCONFIG_MAXRETRIES", "3".to_owned()),
        (
            "CORE_LEDGER_STATE_COUCHDBCONFIG_MAXRETRIESONSTARTUP",
            "10".to_owned(),
        ),
        ("CORE_LEDGER_STATE_COUCHDBCONFIG_REQUESTTIMEOUT", "35s".to_owned()),
        (
            "CORE_LEDGER_STATE_COUCHDBCONFIG_INTERNALQUERYLIMIT",
            "1000".to_owned(),
        ),
        (
            "CORE_LEDGER_STATE_COUCHDBCONFIG_MAXBATCHUPDATESIZE",
            "1000".to_owned(),
        ),
        (
            "CORE_LEDGER_STATE_COUCHDBCONFIG_CREATEGLOBALCHANGESDB",
            "false".to_owned(),
        ),
        ("CORE_LEDGER_STATE_COUCHDBCONFIG_CACHESIZE", "64".to_owned()),
    ];
    let secret = (
        "CORE_LEDGER_STATE_COUCHDBCONFIG_PASSWORD".to_owned(),
        secret(password),
    );
    render::environment(settings)
        .into_iter()
        .chain([secret])
        .collect()
}

/// The node of a member's database. Its root is writable: the image writes the account to its own folder at
/// the start.
pub(super) fn node(request: &RenderRequest, member: &Member, password: &Secret<Vec<u8>>) -> NodeSpec {
    let account = render::environment([("COUCHDB_USER", ACCOUNT.to_owned())]);
    NodeSpec {
        name: name(&member.name),
        images: request.images.get(ROLE).cloned().unwrap_or_else(images),
        command: vec![],
        user: Some(USER.to_owned()),
        env: account
            .into_iter()
            .chain([("COUCHDB_PASSWORD".to_owned(), secret(password))])
            .collect(),
        files: vec![],
        volumes: vec![Volume {
            name: "data".to_owned(),
            path: DATA.to_owned(),
        }],
        ports: vec![Port {
            name: HTTP.to_owned(),
            inside: PORT,
            protocol: Protocol::Tcp,
            audience: Audience::Peers,
            published: None,
        }],
        limits: Limits {
            memory_bytes: MEMORY,
            processes: 512,
        },
        read_only_root: false,
        log: request.log.clone(),
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: 10,
        machine: None,
        hash: SpecHash(String::new()),
    }
}

fn secret(password: &Secret<Vec<u8>>) -> Variable {
    Variable::Secret(Secret::new(
        String::from_utf8_lossy(password.expose()).into_owned(),
    ))
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
