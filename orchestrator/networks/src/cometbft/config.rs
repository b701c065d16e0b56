//! `config.toml` of a validator. Other settings keep the program's defaults.

use super::{keys::Identity, parameters::Parameters};
use chainpool_agent::NodeName;
use chainpool_api::LogLevel;
use serde_json::json;
use std::collections::BTreeMap;

/// Ports inside a node. The program limits connections per address of `laddr` (`node.go`, `startRPC`), so
/// clients that exhaust one port do not affect the other.
pub(super) const RPC_PORT: u16 = 26657;
pub(super) const HEALTH_PORT: u16 = 26659;
pub(super) const P2P_PORT: u16 = 26656;

/// All other validators by node name, each several times.
///
/// `Switch.dialPeersAsync` waits a random time of up to 3 s before each dial and retries a name only after 5
/// to 8 s; neither is configurable. It handles each list entry separately and skips connected ones, so
/// repeated entries make the first dial and retries earlier. Earlier validators are repeated more often than
/// later ones, so two rarely dial each other at once, which would cost one connection. There is no
/// alternative: an address book is dialled at once but holds no names, and `seeds` without an address make
/// the node exit.
///
/// Measured with four processes on two shared cores, started 0.15 s apart, ten rounds each, without the
/// settings of the Go runtime, from the first start to a transaction read on another node, median (worst):
/// defaults 1.93 s (2.60), with the timings of [`config`] 1.60 (2.00), with repeated names too 1.45 (1.55).
/// Repeating later ones 1, 5 or 20 times makes no significant difference (1.46, 1.45, 1.54). 1 s of it is the
/// program's own wait before it votes (`switchToConsensusIntervalSeconds`). As rendered, in containers of one
/// Docker 20.10 on the same busy machine, five rounds: 2.2 to 2.4 s after the first start, about 1.1 s after
/// the last. Names without an address yet cost nothing there (30 in 10 ms, also with a dead name server), and
/// the validator that starts later finds the earlier one.
pub(super) fn peers(of: &NodeName, names: &[NodeName], validators: &BTreeMap<NodeName, Identity>) -> String {
    let mine = names.iter().position(|name| name == of).unwrap_or_default();
    let times = (60 / names.len().max(2).saturating_sub(1)).clamp(1, 20);
    let entries = names
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != mine)
        .flat_map(|(at, name)| {
            let entry = format!("{}@{name}:{P2P_PORT}", validators[name].node_id);
            std::iter::repeat_n(entry, if at < mine { times } else { times.div_ceil(4) })
        });
    entries.collect::<Vec<_>>().join(",")
}

/// Renders the file.
pub(super) fn config(parameters: &Parameters, level: LogLevel, name: &NodeName, peers: &str) -> String {
    let Parameters {
        validators: _,
        block_interval_ms,
        empty_blocks,
        empty_block_interval_s,
        cors_origins,
        max_open_connections,
    } = parameters;
    // A JSON array of strings is one in TOML, too.
    let cors_origins = json!(cors_origins);
    let commit_timeout = parameters.commit_timeout().as_millis();
    let level = match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warning | LogLevel::Error => "error",
    };
    format!(
        r#"moniker = "{name}"
proxy_app = "persistent_kvstore"
log_level = "{level}"

[rpc]
laddr = "tcp://0.0.0.0:{RPC_PORT},tcp://0.0.0.0:{HEALTH_PORT}"
cors_allowed_origins = {cors_origins}
max_open_connections = {max_open_connections}
timeout_broadcast_tx_commit = "{commit_timeout}ms"

[p2p]
laddr = "tcp://0.0.0.0:{P2P_PORT}"
persistent_peers = "{peers}"
persistent_peers_max_dial_period = "5s"
addr_book_file = "data/addrbook.json"
addr_book_strict = false
allow_duplicate_ip = true
pex = false
flush_throttle_timeout = "10ms"

[mempool]
max_txs_bytes = 67108864

[consensus]
timeout_commit = "{block_interval_ms}ms"
create_empty_blocks = {empty_blocks}
create_empty_blocks_interval = "{empty_block_interval_s}s"
peer_gossip_sleep_duration = "20ms"
"#
    )
}
