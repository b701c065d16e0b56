//! Idempotent requests. The response to a request with the header `Idempotency-Key` is stored for 24 h, in
//! the transaction of its change. A request that arrives while the first one is in progress waits for it;
//! both get the same response.

pub(crate) mod in_flight;

use crate::{Caller, Error, Orchestrator, RequestKey, Result};
use chainpool_api::{self as api, Timestamp};
use chainpool_store::{IdempotencyRow, Json, Tx};
use in_flight::Turn;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How long a response is kept.
const RETENTION_SECONDS: i64 = 24 * 60 * 60;

/// The maximum length of a key.
const KEY_LENGTH: usize = 128;

impl Orchestrator {
    /// Returns the stored response to the same request. Keep the turn until this request is answered.
    pub(crate) async fn remembered(&self, caller: &Caller) -> Result<(Option<Turn>, Option<Uuid>)> {
        let Some(RequestKey { route, key, body }) = &caller.key else {
            return Ok((None, None));
        };
        if key.len() > KEY_LENGTH {
            return Err(Error::field(
                "Idempotency-Key",
                format!("use at most {KEY_LENGTH} characters"),
            ));
        }
        let turn = self
            .inner
            .idempotency
            .turn((caller.account_id, route.clone(), key.clone()))
            .await;
        let Some(row) = self.store().read().answer(caller.account_id, route, key).await? else {
            return Ok((Some(turn), None));
        };
        let before = Timestamp::now().plus_seconds(-RETENTION_SECONDS);
        if row.created_at.0 < before {
            // Otherwise it would block the new response until the next hourly run.
            let mut tx = self.store().begin().await?;
            tx.answers_prune(before).await?;
            tx.commit("expired responses deleted").await?;
            return Ok((Some(turn), None));
        }
        if row.body != body {
            return Err(Error::Invalid(api::Problem {
                code: "idempotency_key_reused".into(),
                message: format!(
                    "the Idempotency-Key {key:?} was used for a different request within 24 h; use a new key"
                ),
                fields: BTreeMap::new(),
                request_id: None,
            }));
        }
        Ok((
            Some(turn),
            row.answer
                .0
                .get("id")
                .and_then(|id| id.as_str())
                .and_then(|id| id.parse().ok()),
        ))
    }

    /// Stores the response to a request that changed nothing.
    pub(crate) async fn remember_known(&self, caller: &Caller, id: Uuid) -> Result<()> {
        let Some(RequestKey { route, key, .. }) = &caller.key else {
            return Ok(());
        };
        let mut tx = self.store().begin().await?;
        // One exists if a request with this key was cancelled while it was granted.
        if tx.answer(caller.account_id, route, key).await?.is_none() {
            self.remember(&mut tx, caller, id).await?;
            tx.commit("response recorded").await?;
        }
        Ok(())
    }

    /// Stores the response to a request in the same transaction.
    pub(crate) async fn remember(&self, tx: &mut Tx, caller: &Caller, id: Uuid) -> Result<()> {
        if let Some(RequestKey { route, key, body }) = &caller.key {
            let row = IdempotencyRow {
                account_id: caller.account_id,
                route: route.clone(),
                name: key.clone(),
                body: body.to_vec(),
                answer: Json(serde_json::json!({ "id": id })),
                created_at: Timestamp::now().into(),
            };
            tx.answer_insert(row).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
