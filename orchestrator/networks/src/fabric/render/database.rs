//! State databases of peers: embedded, or a `CouchDB` node beside each peer, which supports rich queries.
//!
//! Settings of Fabric 2.5: `sampleconfig/core.yaml`, `internal/peer/node/config.go`; of `CouchDB` 3.4: its
//! image's `docker-entrypoint.sh`.

use crate::{
    RenderRequest,
    fabric::{
        model::{
            names,
            ports::{DATABASE_PORT, HTTP},
        },
        organisations::member::Member,
        render::{
            environment,
            images::{self, COUCHDB},
            memory::DATABASE_MEMORY,
        },
    },
};
use chainpool_agent::{
    Audience, Limits, NodeName, NodeSpec, Port, Protocol, Secret, SpecHash, Variable, Volume,
};
use std::collections::BTreeMap;

/// User and data folder of its image.
const USER: &str = "5984:5984";
const DATA: &str = "/opt/couchdb/data";

/// Account of the peer.
const ACCOUNT: &str = "peer";

/// Further settings of a peer with a database. It tries to connect eleven times in two minutes at its start,
/// and four times in a second for a block. Then it exits and the platform restarts it.
pub(crate) fn peer_settings(peer: &NodeName, password: &Secret<Vec<u8>>) -> BTreeMap<String, Variable> {
    let settings = [
        ("CORE_LEDGER_STATE_STATEDATABASE", "CouchDB".to_owned()),
        (
            "CORE_LEDGER_STATE_COUCHDBCONFIG_COUCHDBADDRESS",
            format!("{}:{DATABASE_PORT}", names::database(peer)),
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
    environment::environment(settings)
        .into_iter()
        .chain([secret])
        .collect()
}

/// The node of a member's database. Its root is writable: the image writes the account to its own folder at
/// the start.
pub(crate) fn node(request: &RenderRequest, member: &Member, password: &Secret<Vec<u8>>) -> NodeSpec {
    let account = environment::environment([("COUCHDB_USER", ACCOUNT.to_owned())]);
    NodeSpec {
        name: names::database(&member.name),
        images: request
            .images
            .get(COUCHDB)
            .cloned()
            .unwrap_or_else(images::database),
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
            shared: false,
        }],
        ports: vec![Port {
            name: HTTP.to_owned(),
            inside: DATABASE_PORT,
            protocol: Protocol::Tcp,
            audience: Audience::Peers,
            published: None,
        }],
        limits: Limits {
            memory_bytes: DATABASE_MEMORY,
            processes: 512,
            cpu_millis: None,
        },
        readiness: None,
        result: false,
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
