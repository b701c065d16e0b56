//! Credentials: secrets, their digests, their audit entries, and their check within a transaction.

use crate::{Caller, Error, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chainpool_api::Timestamp;
use chainpool_store::{Audit, TokenRow, Tx};
use rand::Rng;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The stored form of a secret.
pub(super) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Generates a secret; the prefix names its kind.
pub(super) fn secret(prefix: &str) -> String {
    let mut bytes = [0u8; 32];
    rand::rng().fill(&mut bytes);
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Writes an audit entry about a credential or an account.
pub(super) async fn audit(
    tx: &mut Tx,
    author: &str,
    verb: &str,
    subject: Uuid,
    detail: String,
    now: Timestamp,
) -> Result<()> {
    Ok(tx
        .audit_insert(
            Audit {
                author,
                verb,
                subject: &subject.to_string(),
                detail,
            },
            now,
        )
        .await?)
}

/// Refuses a caller whose account or credential was revoked or expired after its request was admitted;
/// returns the credential. A caller without a credential is this process itself.
pub(super) async fn recheck(tx: &Tx, caller: &Caller, now: Timestamp) -> Result<Option<TokenRow>> {
    let Some(id) = caller.credential else {
        return Ok(None);
    };
    let is_valid =
        |row: &TokenRow| row.account_id == caller.account_id && row.expires_at.is_none_or(|at| at.0 > now);
    let row = tx
        .token(id)
        .await?
        .filter(is_valid)
        .ok_or(Error::Unauthenticated)?;
    tx.account(caller.account_id)
        .await?
        .ok_or(Error::Unauthenticated)?;
    Ok(Some(row))
}
