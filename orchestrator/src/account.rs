//! Accounts and authentication. Secrets are random, shown once, and stored as SHA-256 digests.
//!
//! Every change of a credential is checked again in its own transaction: after a request was admitted, the
//! account, password or token may have been revoked.

mod credential_cache;
mod password;
mod session;
mod sign_in_failures;
mod sign_in_limit;
#[cfg(test)]
mod tests;
mod token;

use crate::{Caller, Error, Orchestrator, Result, caller::WATCHDOG, policy, text::counted};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chainpool_api::{self as api, Role, Timestamp};
use chainpool_store::{AccountRow, Audit, ClusterQuery, EnumColumn, RowVersion, TokenRow, Tx};
use credential_cache::CredentialCache;
use password::PasswordHasher;
use rand::Rng;
use sha2::{Digest, Sha256};
use sign_in_failures::SignInFailures;
use sign_in_limit::SignInLimit;
use uuid::Uuid;

/// The lifetime of a one-time link.
const LINK_SECONDS: i64 = 60 * 60;

/// In-memory state of authentication; lost at a restart.
#[derive(Default)]
pub(crate) struct Authentication {
    credentials: CredentialCache,
    sign_in_limit: SignInLimit,
    sign_in_failures: SignInFailures,
    passwords: PasswordHasher,
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn secret(prefix: &str) -> String {
    let mut bytes = [0u8; 32];
    rand::rng().fill(&mut bytes);
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn view(row: &AccountRow) -> api::Account {
    api::Account {
        id: row.id,
        name: row.name.clone(),
        role: row.role.0,
        has_password: row.password.is_some(),
        created_at: row.created_at.0,
    }
}

fn new_account(name: String, role: Role, now: Timestamp) -> AccountRow {
    AccountRow {
        id: Uuid::now_v7(),
        name,
        role: EnumColumn(role),
        password: None,
        link: None,
        link_expires_at: None,
        created_at: now.into(),
        row_version: RowVersion::default(),
    }
}

/// Writes an audit entry about a credential or an account.
async fn audit(
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
async fn recheck(tx: &Tx, caller: &Caller, now: Timestamp) -> Result<Option<TokenRow>> {
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

impl Orchestrator {
    /// Lists all accounts.
    pub async fn account_list(&self, caller: &Caller) -> Result<Vec<api::Account>> {
        policy::must_administer(caller)?;
        Ok(self.store().read().accounts().await?.iter().map(view).collect())
    }

    /// Creates an account.
    pub async fn account_create(&self, caller: &Caller, new: api::AccountCreate) -> Result<api::Account> {
        policy::must_administer(caller)?;
        crate::admission::check_name("name", &new.name)?;
        if new.name == crate::caller::WATCHDOG {
            return Err(Error::field("name", "this name is reserved for Chainpool"));
        }
        let now = Timestamp::now();
        let row = new_account(new.name, new.role, now);
        let mut tx = self.store().begin().await?;
        recheck(&tx, caller, now).await?;
        if tx.account_named(&row.name).await?.is_some() {
            return Err(Error::conflict(
                "account_exists",
                format!("account {:?} already exists", row.name),
            ));
        }
        audit(
            &mut tx,
            &caller.account,
            "account_create",
            row.id,
            format!("{} {}", row.name, row.role.0),
            now,
        )
        .await?;
        tx.account_insert(row.clone()).await?;
        tx.commit("account created").await?;
        Ok(view(&row))
    }

    /// Deletes an account without leases and revokes its sessions and tokens.
    pub async fn account_delete(&self, caller: &Caller, account: &str) -> Result<()> {
        policy::must_administer(caller)?;
        let now = Timestamp::now();
        let _revocation = self.inner.authentication.credentials.revocation();
        let mut tx = self.store().begin().await?;
        recheck(&tx, caller, now).await?;
        let row = tx
            .account_named_or_id(account)
            .await?
            .ok_or_else(|| Error::not_found("account", account))?;
        if row.id == caller.account_id {
            return Err(Error::conflict(
                "own_account",
                "cannot delete the account that you are signed in with",
            ));
        }
        let query = ClusterQuery {
            applied_by: Some(row.name.clone()),
            ..ClusterQuery::default()
        };
        let held = tx.cluster_page(&query).await?.len();
        if held > 0 {
            let text = format!(
                "account {} holds {}; release them first",
                row.name,
                counted(held, "cluster")
            );
            return Err(Error::conflict("account_holds", text));
        }
        audit(
            &mut tx,
            &caller.account,
            "account_delete",
            row.id,
            row.name.clone(),
            now,
        )
        .await?;
        tx.account_delete(row.id).await?;
        tx.commit("account deleted").await?;
        Ok(())
    }

    /// Creates a one-time link that sets a password and returns its secret; valid for 1 h.
    pub async fn account_reset_link(&self, caller: &Caller, account: &str) -> Result<String> {
        policy::must_administer(caller)?;
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        recheck(&tx, caller, now).await?;
        let row = tx
            .account_named_or_id(account)
            .await?
            .ok_or_else(|| Error::not_found("account", account))?;
        let link = link_insert(&mut tx, &caller.account, row, now).await?;
        tx.commit("link created").await?;
        Ok(link)
    }

    /// Returns the local administrator: the operator of the server may act as the account `admin`, which is
    /// created if missing. Returns the caller, a token for the CLI on this machine, and a one-time link while
    /// no password is set.
    pub async fn local_admin(&self) -> Result<(Caller, String, Option<String>)> {
        let now = Timestamp::now();
        let _revocation = self.inner.authentication.credentials.revocation();
        let mut tx = self.store().begin().await?;
        let row = match tx.account_named("admin").await? {
            Some(row) => row,
            None => {
                let row = new_account("admin".into(), Role::Admin, now);
                audit(
                    &mut tx,
                    WATCHDOG,
                    "account_create",
                    row.id,
                    format!("{} {}", row.name, row.role.0),
                    now,
                )
                .await?;
                tx.account_insert(row.clone()).await?;
                row
            }
        };
        let secret = token::replace_local(&mut tx, &row, now).await?;
        let link = match row.password {
            None => Some(link_insert(&mut tx, &row.name, row.clone(), now).await?),
            Some(_) => None,
        };
        tx.commit("local administrator ready").await?;
        Ok((Caller::local_admin(row.id, row.name), secret, link))
    }
}

/// Creates a one-time link for an account; the previous one becomes invalid.
async fn link_insert(tx: &mut Tx, author: &str, mut row: AccountRow, now: Timestamp) -> Result<String> {
    let link = secret("cpl");
    row.link = Some(digest(&link).to_vec());
    row.link_expires_at = Some(now.plus_seconds(LINK_SECONDS).into());
    audit(tx, author, "account_reset_link", row.id, row.name.clone(), now).await?;
    tx.account_save(row).await?;
    Ok(link)
}
