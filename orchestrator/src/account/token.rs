//! Tokens: credentials of programs.

use super::{audit, digest, recheck, secret};
use crate::{Caller, Error, Orchestrator, Result, policy};
use chainpool_api::{self as api, Timestamp};
use chainpool_store::{AccountRow, TokenRow, Tx};
use std::collections::HashMap;
use uuid::Uuid;

/// The name of the local administrator's token. Nobody else may use it: a new password does not end that token, because
/// whoever reads the data folder has more than it gives.
pub(super) const LOCAL_TOKEN: &str = "this machine";

/// How many tokens an account may have.
pub(super) const MOST_TOKENS: u64 = 100;

/// The longest life of a token: 10 years.
const MOST_SECONDS: u64 = 10 * 365 * 24 * 60 * 60;

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

/// A new token and its secret.
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

/// Puts a fresh token of the local administrator in the place of the previous one; its secret.
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
            "use 1 to 80 characters that say what the token is for",
        ));
    }
    if name == LOCAL_TOKEN {
        return Err(Error::field(
            "name",
            format!("{name:?} is the name of the server's own token; choose another"),
        ));
    }
    Ok(())
}

fn expiry(ttl_seconds: Option<u64>, now: Timestamp) -> Result<Option<Timestamp>> {
    let Some(ttl) = ttl_seconds else { return Ok(None) };
    if !(1..=MOST_SECONDS).contains(&ttl) {
        let text = format!(
            "a token lives 1 second at least and {MOST_SECONDS} seconds (10 years) at most; leave it out for no expiry"
        );
        return Err(Error::field("ttl_seconds", text));
    }
    Ok(Some(
        now.plus_seconds(i64::try_from(ttl).map_err(Error::internal)?),
    ))
}

/// Refuses what a token would make beyond itself: a longer life or more scope. A session may make any.
fn check_maker(maker: &TokenRow, new: &TokenRow) -> Result<()> {
    if maker.session {
        return Ok(());
    }
    if new.lease_any && !maker.lease_any {
        return Err(Error::Forbidden(
            "a token without the scope lease:any makes none that has it; sign in to make one, or leave lease_any out".into(),
        ));
    }
    if let Some(ends) = maker.expires_at
        && new.expires_at.is_none_or(|expires| expires > ends)
    {
        let text = format!(
            "a token makes none that outlives it, and this one expires at {}; ask for less, or sign in",
            ends.0
        );
        return Err(Error::field("ttl_seconds", text));
    }
    Ok(())
}

impl Orchestrator {
    /// The caller's tokens; an admin's list holds all.
    pub async fn token_list(&self, caller: &Caller) -> Result<Vec<api::Token>> {
        let names: HashMap<Uuid, String> = self
            .store()
            .read()
            .accounts()
            .await?
            .into_iter()
            .map(|a| (a.id, a.name))
            .collect();
        let only = (!policy::administers(caller)).then_some(caller.account_id);
        let rows = self.store().read().tokens(only).await?;
        Ok(rows
            .into_iter()
            .map(|row| (names.get(&row.account_id).cloned().unwrap_or_default(), row))
            .map(|(name, row)| view(row, name))
            .collect())
    }

    /// Makes a token.
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
            policy::must_administer(caller)?;
        }
        let mut tx = self.store().begin().await?;
        let maker = recheck(&tx, caller, now).await?;
        let owner = tx
            .account_named(&account)
            .await?
            .ok_or_else(|| Error::field("account", format!("there is no account {account:?}")))?;
        if tx.tokens_count(owner.id, now).await? >= MOST_TOKENS {
            let text = format!(
                "account {account} has {MOST_TOKENS} tokens, which is the limit; delete some: chainpool token list"
            );
            return Err(Error::conflict("too_many_tokens", text));
        }
        let (token, secret) = new_token(owner.id, name, lease_any, now, expires_at);
        let mut detail = format!("{} for {account}", token.name);
        if let Some(maker) = maker {
            check_maker(&maker, &token)?;
            let kind = if maker.session { "session" } else { "token" };
            detail = format!("{detail}, by {kind} {}", maker.id);
        }
        audit(&mut tx, &caller.account, "token_create", token.id, detail, now).await?;
        tx.token_insert(token.clone()).await?;
        tx.commit("token created").await?;
        Ok(api::TokenMade {
            token: view(token, account),
            secret,
        })
    }

    /// Ends a token.
    pub async fn token_delete(&self, caller: &Caller, token: Uuid) -> Result<()> {
        let now = Timestamp::now();
        let _revocation = self.inner.authentication.credentials.revocation();
        let mut tx = self.store().begin().await?;
        recheck(&tx, caller, now).await?;
        let row = tx
            .token(token)
            .await?
            .filter(|row| policy::may_use_token(caller, row))
            .ok_or_else(|| Error::not_found("token", token.to_string()))?;
        audit(&mut tx, &caller.account, "token_delete", token, row.name, now).await?;
        tx.token_delete(token).await?;
        Ok(tx.commit("token deleted").await?)
    }
}
