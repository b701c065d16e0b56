//! API tokens.

use super::credential::{audit, digest, recheck, secret};
use crate::{Caller, Error, Orchestrator, Result, permissions};
use chainpool_api::{self as api, Timestamp};
use chainpool_store::{AccountRow, TokenRow, Tx};
use std::collections::HashMap;
use uuid::Uuid;

/// The reserved name of the local administrator's token. A new password does not revoke that token, because
/// access to the data folder grants more than the token does.
pub(super) const LOCAL_TOKEN: &str = "this machine";

/// The maximum number of tokens of an account.
pub(super) const MAX_TOKENS: u64 = 100;

/// The maximum lifetime of a token: 10 years.
const MAX_SECONDS: u64 = 10 * 365 * 24 * 60 * 60;

fn view(row: TokenRow, account: String) -> api::Token {
    api::Token {
        id: row.id,
        name: row.name,
        account,
        lease_any: row.lease_any,
        created_at: row.created_at.0,
        expires_at: row.expires_at.map(|moment| moment.0),
    }
}

/// Creates a token and its secret.
fn new_token(
    account: Uuid,
    name: String,
    lease_any: bool,
    now: Timestamp,
    expires_at: Option<Timestamp>,
) -> (TokenRow, String) {
    let secret = secret("cpt");
    let row = TokenRow {
        id: Uuid::now_v7(),
        account_id: account,
        name,
        digest: digest(&secret).to_vec(),
        session: false,
        lease_any,
        created_at: now.into(),
        expires_at: expires_at.map(Into::into),
    };
    (row, secret)
}

/// Replaces the token of the local administrator and returns its secret.
pub(super) async fn replace_local(tx: &mut Tx, account: &AccountRow, now: Timestamp) -> Result<String> {
    for old in tx
        .tokens(Some(account.id))
        .await?
        .into_iter()
        .filter(|token| token.name == LOCAL_TOKEN)
    {
        tx.token_delete(old.id).await?;
    }
    let (row, secret) = new_token(account.id, LOCAL_TOKEN.to_owned(), true, now, None);
    audit(
        tx,
        &account.name,
        "token_create",
        row.id,
        format!("{LOCAL_TOKEN} for {}", account.name),
        now,
    )
    .await?;
    tx.token_insert(row).await?;
    Ok(secret)
}

fn check_token_name(name: &str) -> Result<()> {
    if name.is_empty() || name.chars().count() > 80 || name.chars().any(char::is_control) {
        return Err(Error::field(
            "name",
            "use 1 to 80 characters without control characters",
        ));
    }
    if name == LOCAL_TOKEN {
        return Err(Error::field(
            "name",
            format!("{name:?} is reserved for the server's own token; choose another name"),
        ));
    }
    Ok(())
}

fn expiry(ttl_seconds: Option<u64>, now: Timestamp) -> Result<Option<Timestamp>> {
    let Some(ttl) = ttl_seconds else { return Ok(None) };
    if !(1..=MAX_SECONDS).contains(&ttl) {
        let text = format!("use 1 to {MAX_SECONDS} seconds (10 years), or omit it for no expiry");
        return Err(Error::field("ttl_seconds", text));
    }
    Ok(Some(
        now.plus_seconds(i64::try_from(ttl).map_err(Error::internal)?),
    ))
}

/// Refuses a token with a longer lifetime or more scope than the token that creates it. A session may create
/// any.
fn check_creator(creator: &TokenRow, new: &TokenRow) -> Result<()> {
    if creator.session {
        return Ok(());
    }
    if new.lease_any && !creator.lease_any {
        return Err(Error::Forbidden(
            "a token without the scope lease:any cannot create a token with it; sign in to create it, or omit lease_any".into(),
        ));
    }
    if let Some(ends) = creator.expires_at
        && new.expires_at.is_none_or(|expires| expires > ends)
    {
        let text = format!(
            "a token cannot create a token that outlives it, and this one expires at {}; use a shorter time, or sign in",
            ends.0
        );
        return Err(Error::field("ttl_seconds", text));
    }
    Ok(())
}

impl Orchestrator {
    /// Lists the caller's tokens; for admins all tokens.
    pub async fn token_list(&self, caller: &Caller) -> Result<Vec<api::Token>> {
        let names: HashMap<Uuid, String> = self
            .store()
            .read()
            .accounts()
            .await?
            .into_iter()
            .map(|a| (a.id, a.name))
            .collect();
        let only = (!permissions::administers(caller)).then_some(caller.account_id);
        let rows = self.store().read().tokens(only).await?;
        Ok(rows
            .into_iter()
            .map(|row| (names.get(&row.account_id).cloned().unwrap_or_default(), row))
            .map(|(name, row)| view(row, name))
            .collect())
    }

    /// Creates a token.
    pub async fn token_create(&self, caller: &Caller, new: api::TokenCreate) -> Result<api::TokenMade> {
        let api::TokenCreate {
            name,
            lease_any,
            account,
            ttl_seconds,
        } = new;
        check_token_name(&name)?;
        let now = Timestamp::now();
        let expires_at = expiry(ttl_seconds, now)?;
        let account = account.unwrap_or_else(|| caller.account.clone());
        if account != caller.account || lease_any {
            permissions::must_administer(caller)?;
        }
        let mut tx = self.store().begin().await?;
        let creator = recheck(&tx, caller, now).await?;
        let owner = tx
            .account_named(&account)
            .await?
            .ok_or_else(|| Error::field("account", format!("account {account:?} does not exist")))?;
        if tx.tokens_count(owner.id, now).await? >= MAX_TOKENS {
            let text = format!(
                "account {account} has the maximum of {MAX_TOKENS} tokens; delete some: chainpool token list"
            );
            return Err(Error::conflict("too_many_tokens", text));
        }
        let (token, secret) = new_token(owner.id, name, lease_any, now, expires_at);
        let mut detail = format!("{} for {account}", token.name);
        if let Some(creator) = creator {
            check_creator(&creator, &token)?;
            let kind = if creator.session { "session" } else { "token" };
            detail = format!("{detail}, by {kind} {}", creator.id);
        }
        audit(&mut tx, &caller.account, "token_create", token.id, detail, now).await?;
        tx.token_insert(token.clone()).await?;
        tx.commit("token created").await?;
        Ok(api::TokenMade {
            token: view(token, account),
            secret,
        })
    }

    /// Revokes a token.
    pub async fn token_delete(&self, caller: &Caller, token: Uuid) -> Result<()> {
        let now = Timestamp::now();
        let _revocation = self.authentication.credentials.revocation();
        let mut tx = self.store().begin().await?;
        recheck(&tx, caller, now).await?;
        let row = tx
            .token(token)
            .await?
            .filter(|row| permissions::may_use_token(caller, row))
            .ok_or_else(|| Error::not_found("token", token.to_string()))?;
        audit(&mut tx, &caller.account, "token_delete", token, row.name, now).await?;
        tx.token_delete(token).await?;
        Ok(tx.commit("token deleted").await?)
    }
}
