//! Repeated requests. A request with the header `Idempotency-Key` is remembered with its answer for 24 h, in the
//! transaction of its change. One that arrives while the first is under way waits for it: both get one answer.

use crate::{Caller, Error, Orchestrator, RequestKey, Result};
use chainpool_api::{self as api, Timestamp};
use chainpool_store::{IdempotencyRow, Json, Tx};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

/// How long an answer is remembered.
const KEPT_SECONDS: i64 = 24 * 60 * 60;

/// The longest key.
const KEY_LENGTH: usize = 128;

/// Account, route, key.
type Key = (Uuid, String, String);

type Locks = Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>;

/// The requests with a key that are under way.
#[derive(Default)]
pub(crate) struct InFlight(Arc<Locks>);

/// The turn of a request among those with its key: the others wait until it is dropped.
pub(crate) struct Turn {
    locks: Arc<Locks>,
    key: Key,
    lock: Option<Arc<tokio::sync::Mutex<()>>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl InFlight {
    async fn turn(&self, key: Key) -> Turn {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = locks.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(key.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        // Made before it waits, so that one that is cancelled meanwhile leaves nothing.
        let mut turn = Turn {
            locks: Arc::clone(&self.0),
            key,
            lock: Some(Arc::clone(&lock)),
            held: None,
        };
        turn.held = Some(lock.lock_owned().await);
        turn
    }

    /// How many keys are under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        drop((self.held.take(), self.lock.take()));
        if locks.get(&self.key).is_some_and(|lock| lock.strong_count() == 0) {
            locks.remove(&self.key);
        }
    }
}

impl Orchestrator {
    /// What was answered to the same request before. The turn must be kept until this one is answered.
    pub(crate) async fn remembered(&self, caller: &Caller) -> Result<(Option<Turn>, Option<Uuid>)> {
        let Some(RequestKey { route, key, body }) = &caller.key else {
            return Ok((None, None));
        };
        if key.len() > KEY_LENGTH {
            return Err(Error::field(
                "Idempotency-Key",
                format!("use {KEY_LENGTH} characters at most"),
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
        let before = Timestamp::now().plus_seconds(-KEPT_SECONDS);
        if row.created_at.0 < before {
            // Else it stands in the way of the new answer until the next hourly run.
            let mut tx = self.store().begin().await?;
            tx.answers_forget(before).await?;
            tx.commit("old answers forgotten").await?;
            return Ok((Some(turn), None));
        }
        if row.body != body {
            return Err(Error::Invalid(api::Problem {
                code: "idempotency_key_reused".into(),
                message: format!(
                    "the Idempotency-Key {key:?} was used for another request within 24 h; take a new key"
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

    /// Keeps the answer to a request that changed nothing.
    pub(crate) async fn remember_known(&self, caller: &Caller, id: Uuid) -> Result<()> {
        let Some(RequestKey { route, key, .. }) = &caller.key else {
            return Ok(());
        };
        let mut tx = self.store().begin().await?;
        // There is one when a request with this key was cancelled while it was granted.
        if tx.answer(caller.account_id, route, key).await?.is_none() {
            self.remember(&mut tx, caller, id).await?;
            tx.commit("answer kept").await?;
        }
        Ok(())
    }

    /// Keeps what is answered to a request, in the same transaction.
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
