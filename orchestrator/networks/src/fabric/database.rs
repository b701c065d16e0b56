//! Where peers keep the state: inside, or in a `CouchDB` beside each of them, which can be asked for more than keys.
//!
//! Settings by Fabric 2.5: `sampleconfig/core.yaml`, `internal/peer/node/config.go`; by `CouchDB` 3.4: its image's `docker-entrypoint.sh`.

use super::{
    organisation::{Member, Role, peers},
    parameters::Parameters,
    render,
};
use crate::Order;
use chainpool_agent::{
    Audience, Limits, NodeName, NodeSpec, Port, Protocol, Secret, SpecHash, Variable, Volume,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a `CouchDB` is called for a host's own images.
pub(super) const ROLE: &str = "couchdb";
/// Its port, for its peer alone: it speaks no TLS.
pub(super) const HTTP: &str = "http";
const PORT: u16 = 5984;

/// Whom its image runs it as, and where that keeps its data.
const USER: &str = "5984:5984";
const DATA: &str = "/opt/couchdb/data";

/// By which a peer signs in.
const ACCOUNT: &str = "peer";

/// Idle it takes about 60 MB; the rest is for queries and views under way, and for what the system caches of its files.
pub(super) const MEMORY: u64 = 512 * render::MIB;

/// A place for the state. Specs of before there was a choice mean the one inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StateDatabase {
    /// Inside the peer.
    #[default]
    LevelDb,
    /// A node beside it.
    CouchDb,
}

impl StateDatabase {
    pub(super) const ALL: [Self; 2] = [Self::LevelDb, Self::CouchDb];

    /// As parameters write it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::LevelDb => "leveldb",
            Self::CouchDb => "couchdb",
        }
    }

    /// Whether it is what is meant where nothing is said.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The image that will do. There is none of ours: `CouchDB` is in no registry of packages.
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

/// All databases of a network, each with its peer.
pub(super) fn names(parameters: &Parameters) -> Vec<(NodeName, NodeName)> {
    match parameters.state_database {
        StateDatabase::LevelDb => vec![],
        StateDatabase::CouchDb => (1..=parameters.organisations)
            .flat_map(|n| peers(parameters, n))
            .map(|peer| (name(&peer), peer))
            .collect(),
    }
}

/// What a peer is told on top of the rest. It tries eleven times in two minutes to reach its database while it starts, and four times in
/// a second for a block; then it ends, and is started anew.
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

/// The node of a member's database. Its image writes the account into its own folder at the start, so its root can be written.
pub(super) fn node(order: &Order, member: &Member, password: &Secret<Vec<u8>>) -> NodeSpec {
    let account = render::environment([("COUCHDB_USER", ACCOUNT.to_owned())]);
    NodeSpec {
        name: name(&member.name),
        images: order.images.get(ROLE).cloned().unwrap_or_else(images),
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
        log: order.log.clone(),
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
