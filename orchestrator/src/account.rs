//! Accounts, sessions, tokens. Secrets are random, shown once, and kept as their SHA-256.

use crate::{Caller, Error, Orchestrator, Result, policy};
use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chainpool_api::{self as api, Role, Timestamp};
use chainpool_store::{AccountRow, Audit, TokenRow, Word};
use rand::Rng;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use uuid::Uuid;

const SESSION_SECONDS: i64 = 12 * 60 * 60;
const LINK_SECONDS: i64 = 60 * 60;
const TRIES_A_MINUTE: usize = 5;

/// Callers by the digest of their secret, so that a token costs one look-up in memory. Emptied at every change of an
/// account or token; this process is the only writer.
#[derive(Default)]
pub(crate) struct CallerCache(Mutex<HashMap<[u8; 32], Known>>);

/// A caller, and until when.
type Known = (Caller, Option<Timestamp>);

/// Counts sign-ins by address and account.
#[derive(Default)]
pub(crate) struct SignInLimit(Mutex<HashMap<(String, String), Vec<Timestamp>>>);

impl CallerCache {
    fn get(&self, digest: &[u8; 32], now: Timestamp) -> Option<Caller> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).filter(|(_, until)| until.is_none_or(|until| now < until)).map(|(caller, _)| caller.clone())
    }

    fn put(&self, digest: [u8; 32], caller: Caller, until: Option<Timestamp>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > 10_000 {
            known.clear();
        }
        known.insert(digest, (caller, until));
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl SignInLimit {
    fn check(&self, from: &str, account: &str, now: Timestamp) -> Result<()> {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tries.retain(|_, times| times.last().is_some_and(|last| now.millis_since(*last) < 60_000));
        let times = tries.entry((from.to_owned(), account.to_owned())).or_default();
        times.retain(|at| now.millis_since(*at) < 60_000);
        if times.len() >= TRIES_A_MINUTE {
            return Err(Error::TooMany(60));
        }
        times.push(now);
        Ok(())
    }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn secret(prefix: &str) -> String {
    let mut bytes = [0u8; 32];
    rand::rng().fill(&mut bytes);
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn caller_of(token: &TokenRow, account: &AccountRow) -> Caller {
    Caller {
        account_id: account.id,
        account: account.name.clone(),
        role: account.role.0,
        lease_any: token.lease_any,
        request_id: None,
        key: None,
    }
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

fn view_token(row: TokenRow, account: String) -> api::Token {
    api::Token {
        id: row.id,
        name: row.name,
        account,
        lease_any: row.lease_any,
        created_at: row.created_at.0,
        expires_at: row.expires_at.map(|m| m.0),
    }
}

impl Orchestrator {
    /// Signs an account in; `from` is the client's address, for the rate limit.
    pub async fn sign_in(&self, sign_in: api::SignIn, from: &str) -> Result<api::Session> {
        let api::SignIn { account, password } = sign_in;
        self.inner.sign_ins.check(from, &account, Timestamp::now())?;
        let row = self.store().read().account_named(&account).await?;
        let stored = row.as_ref().and_then(|r| r.password.clone());
        // An unknown account costs the same time as a wrong password.
        let right = tokio::task::spawn_blocking(move || verify(stored.as_deref(), &password)).await.map_err(Error::internal)?;
        match row {
            Some(row) if right => self.session(&row).await,
            _ => Err(Error::Unauthenticated),
        }
    }

    async fn session(&self, account: &AccountRow) -> Result<api::Session> {
        let now = Timestamp::now();
        let secret = secret("cps");
        let expires_at = now.plus_seconds(SESSION_SECONDS);
        let row = TokenRow {
            id: Uuid::now_v7(),
            account_id: account.id,
            name: "session".to_owned(),
            digest: digest(&secret).to_vec(),
            session: true,
            lease_any: false,
            created_at: now.into(),
            expires_at: Some(expires_at.into()),
        };
        let mut tx = self.store().begin().await?;
        tx.audit_insert(
            Audit { author: &account.name, verb: "session_create", subject: &account.id.to_string(), detail: String::new() },
            now,
        )
        .await?;
        tx.token_insert(row).await?;
        tx.commit("session created").await?;
        Ok(api::Session { token: secret, expires_at })
    }

    /// Ends a session.
    pub async fn sign_out(&self, secret: &str) -> Result<()> {
        if let Some((token, _)) = self.store().read().token_of(&digest(secret)).await? {
            let mut tx = self.store().begin().await?;
            tx.token_delete(token.id).await?;
            tx.commit("session ended").await?;
            self.inner.callers.clear();
        }
        Ok(())
    }

    /// Whose session or token this is.
    pub async fn authenticate(&self, secret: &str) -> Result<Caller> {
        let (digest, now) = (digest(secret), Timestamp::now());
        if let Some(caller) = self.inner.callers.get(&digest, now) {
            return Ok(caller);
        }
        let (token, account) = self.store().read().token_of(&digest).await?.ok_or(Error::Unauthenticated)?;
        let until = token.expires_at.map(|m| m.0);
        if until.is_some_and(|until| now >= until) {
            return Err(Error::Unauthenticated);
        }
        let caller = caller_of(&token, &account);
        self.inner.callers.put(digest, caller.clone(), until);
        Ok(caller)
    }

    /// Sets a password by a one-time link and signs in.
    pub async fn password_set(&self, set: api::PasswordSet) -> Result<api::Session> {
        let api::PasswordSet { link, password } = set;
        if password.chars().count() < 12 || password.len() > 1024 {
            return Err(Error::field("password", "use 12 characters at least"));
        }
        self.link_account(&link).await?;
        let hashed = tokio::task::spawn_blocking(move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()))
            .await
            .map_err(Error::internal)?
            .map_err(|e| Error::internal(e.to_string()))?;
        let mut tx = self.store().begin().await?;
        let mut row = tx.account_of_link(&digest(&link)).await?.ok_or_else(link_over)?;
        row.password = Some(hashed);
        row.link = None;
        row.link_expires_at = None;
        tx.tokens_end(row.id, false).await?;
        tx.audit_insert(
            Audit { author: &row.name, verb: "password_set", subject: &row.id.to_string(), detail: String::new() },
            Timestamp::now(),
        )
        .await?;
        tx.account_save(row.clone()).await?;
        tx.commit("password set").await?;
        self.inner.callers.clear();
        self.session(&row).await
    }

    /// The account that a one-time link is for; refused when it is used up or too old.
    pub async fn link_account(&self, link: &str) -> Result<String> {
        let row = self.store().read().account_of_link(&digest(link)).await?.ok_or_else(link_over)?;
        if row.link_expires_at.is_none_or(|at| at.0 <= Timestamp::now()) { Err(link_over()) } else { Ok(row.name) }
    }

    /// All accounts.
    pub async fn account_list(&self, caller: &Caller) -> Result<Vec<api::Account>> {
        caller.must_be(Role::Admin)?;
        Ok(self.store().read().accounts().await?.iter().map(view).collect())
    }

    /// Makes an account.
    pub async fn account_create(&self, caller: &Caller, new: api::AccountCreate) -> Result<api::Account> {
        caller.must_be(Role::Admin)?;
        crate::accept::check_name("name", &new.name)?;
        if new.name == crate::caller::WATCHDOG {
            return Err(Error::field("name", "this name is Chainpool's own"));
        }
        let now = Timestamp::now();
        let row = AccountRow {
            id: Uuid::now_v7(),
            name: new.name,
            role: Word(new.role),
            password: None,
            link: None,
            link_expires_at: None,
            created_at: now.into(),
        };
        let mut tx = self.store().begin().await?;
        if tx.account_named(&row.name).await?.is_some() {
            return Err(Error::conflict("account_exists", format!("there is an account {:?} already", row.name)));
        }
        tx.audit_insert(
            Audit {
                author: &caller.account,
                verb: "account_create",
                subject: &row.id.to_string(),
                detail: format!("{} {}", row.name, row.role.0),
            },
            now,
        )
        .await?;
        tx.account_insert(row.clone()).await?;
        tx.commit("account created").await?;
        Ok(view(&row))
    }

    /// Removes an account that holds nothing.
    pub async fn account_delete(&self, caller: &Caller, account: &str) -> Result<()> {
        caller.must_be(Role::Admin)?;
        let row = self.store().read().account_named(account).await?.ok_or_else(|| Error::not_found("account", account))?;
        if row.id == caller.account_id {
            return Err(Error::conflict("own_account", "you cannot remove the account that you are signed in with"));
        }
        let held = self.held_by(account).await?;
        if held > 0 {
            return Err(Error::conflict("account_holds", format!("account {account} holds {held} clusters; release them first")));
        }
        let mut tx = self.store().begin().await?;
        tx.audit_insert(
            Audit { author: &caller.account, verb: "account_delete", subject: &row.id.to_string(), detail: row.name.clone() },
            Timestamp::now(),
        )
        .await?;
        tx.account_delete(row.id).await?;
        tx.commit("account deleted").await?;
        self.inner.callers.clear();
        Ok(())
    }

    /// Makes the secret part of a one-time link that sets a password; lives 1 h.
    pub async fn account_reset_link(&self, caller: &Caller, account: &str) -> Result<String> {
        caller.must_be(Role::Admin)?;
        let link = secret("cpl");
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        let mut row = tx.account_named(account).await?.ok_or_else(|| Error::not_found("account", account))?;
        row.link = Some(digest(&link).to_vec());
        row.link_expires_at = Some(now.plus_seconds(LINK_SECONDS).into());
        tx.audit_insert(
            Audit { author: &caller.account, verb: "account_reset_link", subject: &row.id.to_string(), detail: row.name.clone() },
            now,
        )
        .await?;
        tx.account_save(row).await?;
        tx.commit("link made").await?;
        Ok(link)
    }

    /// The caller's tokens; an admin's list holds all.
    pub async fn token_list(&self, caller: &Caller) -> Result<Vec<api::Token>> {
        let names: HashMap<Uuid, String> = self.store().read().accounts().await?.into_iter().map(|a| (a.id, a.name)).collect();
        let only = (!policy::administers(caller)).then_some(caller.account_id);
        let rows = self.store().read().tokens(only).await?;
        Ok(rows
            .into_iter()
            .map(|row| (names.get(&row.account_id).cloned().unwrap_or_default(), row))
            .map(|(name, row)| view_token(row, name))
            .collect())
    }

    /// Makes a token.
    pub async fn token_create(&self, caller: &Caller, new: api::TokenCreate) -> Result<api::TokenMade> {
        let api::TokenCreate { name, lease_any, account, ttl_seconds } = new;
        if name.is_empty() || name.len() > 80 || name.chars().any(char::is_control) {
            return Err(Error::field("name", "use 1 to 80 characters that say what the token is for"));
        }
        let account = account.unwrap_or_else(|| caller.account.clone());
        if account != caller.account || lease_any {
            caller.must_be(Role::Admin)?;
        }
        let row = self
            .store()
            .read()
            .account_named(&account)
            .await?
            .ok_or_else(|| Error::field("account", format!("there is no account {account:?}")))?;
        let now = Timestamp::now();
        let secret = secret("cpt");
        let ttl = ttl_seconds.map(i64::try_from).transpose().map_err(|_| Error::field("ttl_seconds", "too large"))?;
        let token = TokenRow {
            id: Uuid::now_v7(),
            account_id: row.id,
            name,
            digest: digest(&secret).to_vec(),
            session: false,
            lease_any,
            created_at: now.into(),
            expires_at: ttl.map(|ttl| now.plus_seconds(ttl).into()),
        };
        let mut tx = self.store().begin().await?;
        tx.audit_insert(
            Audit {
                author: &caller.account,
                verb: "token_create",
                subject: &token.id.to_string(),
                detail: format!("{} for {account}", token.name),
            },
            now,
        )
        .await?;
        tx.token_insert(token.clone()).await?;
        tx.commit("token created").await?;
        Ok(api::TokenMade { token: view_token(token, account), secret })
    }

    /// Ends a token.
    pub async fn token_delete(&self, caller: &Caller, token: Uuid) -> Result<()> {
        let row = self.store().read().token(token).await?.filter(|row| policy::may_use_token(caller, row));
        let row = row.ok_or_else(|| Error::not_found("token", token.to_string()))?;
        let mut tx = self.store().begin().await?;
        tx.audit_insert(
            Audit { author: &caller.account, verb: "token_delete", subject: &token.to_string(), detail: row.name.clone() },
            Timestamp::now(),
        )
        .await?;
        tx.token_delete(token).await?;
        tx.commit("token deleted").await?;
        self.inner.callers.clear();
        Ok(())
    }

    /// The local administrator: whoever runs the server may act as the account `admin`, which is made when there is
    /// none. Gives the caller, a token for the CLI on this machine, and a one-time link while no password is set.
    pub async fn local_admin(&self) -> Result<(Caller, String, Option<String>)> {
        let known = self.store().read().account_named("admin").await?;
        let row = match known {
            Some(row) => row,
            None => {
                let now = Timestamp::now();
                let row = AccountRow {
                    id: Uuid::now_v7(),
                    name: "admin".into(),
                    role: Word(Role::Admin),
                    password: None,
                    link: None,
                    link_expires_at: None,
                    created_at: now.into(),
                };
                let mut tx = self.store().begin().await?;
                tx.account_insert(row.clone()).await?;
                tx.commit("administrator created").await?;
                row
            }
        };
        let caller = Caller::local_admin(row.id, row.name.clone());
        for old in self.store().read().tokens(Some(row.id)).await?.into_iter().filter(|t| t.name == "this machine") {
            let mut tx = self.store().begin().await?;
            tx.token_delete(old.id).await?;
            tx.commit("token deleted").await?;
        }
        let new = api::TokenCreate { name: "this machine".into(), lease_any: true, account: None, ttl_seconds: None };
        let token = self.token_create(&caller, new).await?.secret;
        let link = if row.password.is_none() { Some(self.account_reset_link(&caller, "admin").await?) } else { None };
        Ok((caller, token, link))
    }
}

fn link_over() -> Error {
    Error::field("link", "the link was used, is too old, or never was one; make another on the server: chainpool account reset-link admin")
}

fn verify(stored: Option<&str>, password: &str) -> bool {
    // The hash of a password that nobody knows.
    const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$V8z6a7tgnL9QhZkpHWtj9zYB0d0M9zNlqPXZ8oYgKjM";
    let parsed = PasswordHash::new(stored.unwrap_or(NOBODY));
    let right = parsed.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    right && stored.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_try_in_a_minute_is_refused() {
        let limit = SignInLimit::default();
        let now = Timestamp(1_000_000);
        assert!((0..5).all(|_| limit.check("a", "admin", now).is_ok()));
        assert!(limit.check("a", "admin", now).is_err());
        assert!(limit.check("b", "admin", now).is_ok());
        assert!(limit.check("a", "admin", now.plus_seconds(61)).is_ok());
    }

    #[test]
    fn only_the_right_password_fits_and_nobodys_never_does() {
        let hash = Argon2::default().hash_password(b"correct horse battery").expect("a hash").to_string();
        assert!(verify(Some(&hash), "correct horse battery"));
        assert!(!verify(Some(&hash), "wrong"));
        assert!(!verify(None, "wrong"));
    }
}
