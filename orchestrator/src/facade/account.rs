//! Accounts and authentication. Secrets are random, shown once, and stored as SHA-256 digests.
//!
//! Every change of a credential is checked again in its own transaction: after a request was admitted, the
//! account, password or token may have been revoked.

pub(crate) mod authentication;
mod credential;
mod credential_cache;
mod password;
mod session;
mod sign_in_audit;
mod sign_in_failures;
mod sign_in_limit;
#[cfg(test)]
mod tests;
mod token;

use crate::{
    Caller, Error, Orchestrator, Result, caller::WATCHDOG, facade::validation::check_name, permissions,
    text::counted,
};
use chainpool_api::{self as api, Role, Timestamp};
use chainpool_store::{AccountRow, ClusterQuery, EnumColumn, RowVersion, Tx};
use credential::{audit, digest, recheck, secret};
use uuid::Uuid;

/// The lifetime of a one-time link.
const LINK_SECONDS: i64 = 60 * 60;

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

impl Orchestrator {
    /// Lists all accounts.
    pub async fn account_list(&self, caller: &Caller) -> Result<Vec<api::Account>> {
        permissions::must_administer(caller)?;
        Ok(self.store().read().accounts().await?.iter().map(view).collect())
    }

    /// Creates an account.
    pub async fn account_create(&self, caller: &Caller, new: api::AccountCreate) -> Result<api::Account> {
        permissions::must_administer(caller)?;
        check_name("name", &new.name)?;
        if new.name == WATCHDOG {
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
        permissions::must_administer(caller)?;
        let now = Timestamp::now();
        let _revocation = self.authentication.credentials.revocation();
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
        permissions::must_administer(caller)?;
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
        let _revocation = self.authentication.credentials.revocation();
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
