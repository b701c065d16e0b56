//! Values for the tests of this crate.

use chainpool_api as api;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a sample has the shape of its type")
}

const AT: &str = "2026-11-18T11:08:43.045Z";

/// A host with three of four clusters.
pub(crate) fn host(name: &str) -> api::Host {
    of(json!({
        "id": "0199a000-0000-7000-8000-0000000000a1", "name": name, "type": "docker", "address": "unix:///var/run/docker.sock",
        "engine_id": "e-1", "state": "active", "reason": "", "since": AT, "schedulable": true, "autofill": true, "capacity": 4,
        "memory_factor": 1.0, "disk_floor": 10, "fill": [{"type": "cometbft", "preset": "default", "share": 1, "parameters": {"validators": 4}}],
        "fill_paused": {}, "public_address": "127.0.0.1", "bind": "127.0.0.1", "ports": [20000, 29999], "subnets": "10.213.0.0/16",
        "log": {"type": "local", "level": "info"}, "images": {"cometbft": ["a:1", "b:2"]}, "insecure": false, "clusters": 3, "offered": 1,
        "leased": 1, "created_at": AT
    }))
}

/// A cluster of four nodes, the last of which exited.
pub(crate) fn cluster(name: &str, health: api::HealthState) -> api::Cluster {
    let node = |name: &str, alive: bool| {
        let seen = if alive {
            json!({"process": "running", "answers": true, "height": 1200, "hash": "AB12CD34EF56AB78CD90", "block_at": AT, "peers": 2})
        } else {
            json!({"process": "exited 137", "answers": false, "silent": "connection refused"})
        };
        json!({"name": name, "image": "chainpool-cometbft", "endpoints": [{"name": "rpc", "address": "127.0.0.1:20001"}], "evidence": seen})
    };
    of(json!({
        "id": "0199a000-0000-7000-8000-0000000000c1", "name": name, "host_id": "0199a000-0000-7000-8000-0000000000a1", "host": "host-a",
        "network_type": "cometbft", "preset": "default", "version": "0.38", "consensus": "bft", "size": 4, "parameters": {"validators": 4},
        "labels": {}, "state": "ready", "generation": 1, "chain_id": "cp-0000000000c1-1",
        "health": {"state": health, "reason": "3 of 4 validators respond", "since": AT, "checked_at": AT}, "offered": false, "holder": "alice",
        "lease_id": "0199a000-0000-7000-8000-0000000000d1", "height": 1200,
        "proof": {"transaction": "F00D", "height": 3, "key": "k", "value": "v", "written_to": "node0", "read_from": "node0", "at": AT},
        "created_at": AT, "nodes": [node("node0", true), node("node1", true), node("node2", true), node("node3", false)]
    }))
}

/// A cluster whose evidence has sections and a drawing: two organisations on two channels, one without a leader.
pub(crate) fn fabric_cluster() -> api::Cluster {
    let node = |name: &str, process: &str| json!({"name": name, "endpoints": [], "evidence": {"process": process, "answers": process == "running"}});
    let drawn = |name: &str, group: Option<&str>, role: &str, mark: &str| json!({"name": name, "group": group, "role": role, "mark": mark});
    let edge = |from: &str, meaning: &str, to: &str, mark: &str| json!({"from": from, "to": to, "meaning": meaning, "mark": mark});
    let row =
        |label: &str, values: [&str; 2], mark: &str| json!({"label": label, "values": values, "mark": mark});
    let mut cluster = cluster("umber", api::HealthState::Degraded);
    cluster.nodes = ["orderer0", "peer0-org1", "couchdb0-org1", "basic"]
        .map(|name| of(node(name, "running")))
        .into();
    cluster.nodes.push(of(node("peer0-org2", "exited 137")));
    cluster.evidence = Some(of(json!({
        "nodes": {}, "channels": {},
        "sections": [{"title": "Channels", "columns": ["blocks", "leader"], "rows": [row("ch1", ["12", "orderer0"], "ok"), row("ch2", ["9", "none"], "problem")]}],
        "drawing": {
            "groups": [{"name": "org1", "title": "org1"}, {"name": "org2", "title": "org2"}],
            "nodes": [
                drawn("orderer0", None, "orderer", "ok"), drawn("basic", None, "chaincode", "problem"),
                drawn("peer0-org1", Some("org1"), "peer", "ok"), drawn("couchdb0-org1", Some("org1"), "database", "ok"),
                drawn("peer0-org2", Some("org2"), "peer", "problem"),
                drawn("channel ch1", None, "channel", "ok"), drawn("channel ch2", None, "channel", "problem"),
            ],
            "edges": [
                edge("orderer0", "leads", "channel ch1", "ok"), edge("orderer0", "has joined", "channel ch2", "ok"),
                edge("peer0-org1", "has joined", "channel ch1", "ok"), edge("peer0-org1", "has joined", "channel ch2", "attention"),
                edge("peer0-org2", "has joined", "channel ch1", "ok"), edge("peer0-org1", "stores its state in", "couchdb0-org1", "ok"),
                edge("peer0-org1", "calls", "basic", "problem"),
            ],
        },
    })));
    cluster
}

/// The network type of the samples.
pub(crate) fn network_type() -> api::NetworkType {
    of(json!({
        "name": "cometbft", "about": "A BFT ledger.", "version": "0.38", "consensus": "bft",
        "parameters": [{"name": "validators", "about": "Number of validators.", "kind": "integer", "default": 4, "min": 1, "max": 16},
                       {"name": "empty_blocks", "about": "Create blocks when idle.", "kind": "boolean", "default": true}],
        "presets": [{"name": "default", "about": "Four validators.", "parameters": {}}], "images": {"cometbft": ["chainpool/cometbft:0.38.21"]}
    }))
}
