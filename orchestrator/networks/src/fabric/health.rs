//! Whether a peer that answers can do its part: its own operations endpoint says whether it reaches what it needs.
//!
//! Fabric 2.5: `core/ledger/kvledger/txmgmt/privacyenabledstate/db.go` registers the check `couchdb`; `fabric-lib-go/healthz` answers.

use super::{access::Access, connect::Http, render::METRICS, words::UNTOLD};
use chainpool_agent::NodeName;
use http::StatusCode;
use serde::Deserialize;

/// Why a peer can do nothing. `None`: it can.
pub(super) async fn unable(access: &Access, node: &NodeName) -> Option<String> {
    let asked = async { Http::connect(access, node, METRICS).await?.get("/healthz").await };
    match asked.await {
        Ok((StatusCode::OK, _)) => None,
        Ok((status, body)) => Some(failed(&body).unwrap_or_else(|| format!("{UNTOLD}: it answers {status}"))),
        // The check waits for the database for longer than we do for the check.
        Err(why) => Some(format!("{UNTOLD}: {why}")),
    }
}

#[derive(Deserialize)]
struct Health {
    failed_checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    component: String,
    reason: String,
}

/// What failed, in the peer's own words.
fn failed(body: &[u8]) -> Option<String> {
    let health: Health = serde_json::from_slice(body).ok()?;
    let checks: Vec<String> = health
        .failed_checks
        .into_iter()
        .map(|Check { component, reason }| format!("{component}: {reason}"))
        .collect();
    (!checks.is_empty()).then(|| checks.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_in_the_peers_words() {
        let body = r#"{"status":"Service Unavailable","time":"2026-11-27T11:00:00Z","failed_checks":[{"component":"couchdb","reason":"failed to connect"}]}"#;
        assert_eq!(
            failed(body.as_bytes()).as_deref(),
            Some("couchdb: failed to connect")
        );
        assert_eq!(
            (failed(b"{}"), failed(b"no"), failed(br#"{"failed_checks":[]}"#)),
            (None, None, None)
        );
    }
}
