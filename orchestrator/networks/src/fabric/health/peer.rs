//! Health of a responsive peer: its operations endpoint reports failed dependencies.
//!
//! Fabric 2.5: `core/ledger/kvledger/txmgmt/privacyenabledstate/db.go` registers the check `couchdb`;
//! `fabric-lib-go/healthz` serves it.

use crate::fabric::{
    client::{access::Access, control::Control},
    health::messages::HEALTH_UNKNOWN,
    model::ports::METRICS,
};
use chainpool_agent::NodeName;
use http::StatusCode;
use serde::Deserialize;

/// Human-readable reason if a peer is not functional. `None`: it is.
pub(crate) async fn unable(access: &Access, node: &NodeName) -> Option<String> {
    let asked = async {
        let mut control = Control::connect(access, node, METRICS).await?;
        control.http.get("/healthz").await
    };
    match asked.await {
        Ok((StatusCode::OK, _)) => None,
        Ok((status, body)) => Some(
            failed(&body).unwrap_or_else(|| format!("{HEALTH_UNKNOWN}: the peer returned status {status}")),
        ),
        // The peer's own check waits longer for the database than this call waits for the peer.
        Err(why) => Some(format!("{HEALTH_UNKNOWN}: {why}")),
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

/// The failed checks as the peer reports them.
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
    fn failed_checks_are_reported_as_the_peer_words_them() {
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
