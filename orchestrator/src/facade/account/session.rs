//! Sessions: sign-in and sign-out, setting passwords, and authentication of secrets.

use super::{
    credential::{audit, digest, secret},
    credential_cache::Lookup,
    password::PASSWORD_LENGTH,
    sign_in_failures::Failure,
    sign_in_limit::Source,
    token::LOCAL_TOKEN,
};
use crate::{Caller, Error, Orchestrator, Result};
use chainpool_api::{self as api, Timestamp};
use chainpool_store::{AccountRow, TokenRow, Tx};
use std::{future::Future, time::Instant};
use uuid::Uuid;

/// The lifetime of a session.
const SESSION_SECONDS: i64 = 12 * 60 * 60;

/// The maximum length of an account name, in characters.
const NAME_LENGTH: usize = 40;

/// A token or session with its account.
type Credential = (TokenRow, AccountRow);

fn caller_of((token, account): &Credential) -> Caller {
    let account = Caller::new(account.id, account.name.clone(), account.role.0);
    Caller {
        lease_any: token.lease_any,
        credential: Some(token.id),
        ..account
    }
}

impl Orchestrator {
    /// Signs in to an account; `from` is the client's address, for the rate limits.
    pub async fn sign_in(&self, sign_in: api::SignIn, from: &str) -> Result<api::Session> {
        let api::SignIn { account, password } = sign_in;
        // Checked before anything is stored or computed.
        if account.chars().count() > NAME_LENGTH {
            return Err(Error::field(
                "account",
                format!("account names have at most {NAME_LENGTH} characters"),
            ));
        }
        if password.chars().count() > PASSWORD_LENGTH.1 {
            return Err(Error::field(
                "password",
                format!("passwords have at most {} characters", PASSWORD_LENGTH.1),
            ));
        }
        let (source, authentication) = (Source::of(from), &self.inner.authentication);
        if let Err(limited) = authentication
            .sign_in_limit
            .admit(source, &account, Instant::now())
        {
            self.sign_in_failed(Failure::Limited, None, source).await?;
            return Err(limited);
        }
        let row = self.store().read().account_named(&account).await?;
        let right = authentication
            .passwords
            .verify(row.as_ref().and_then(|row| row.password.clone()), password)
            .await?;
        let session = match &row {
            Some(row) if right => self.session_create(row, source).await,
            _ => Err(Error::Unauthenticated),
        };
        match &session {
            Ok(_) => authentication
                .sign_in_limit
                .succeeded(source, &account, Instant::now()),
            Err(Error::Unauthenticated) => self.sign_in_failed(Failure::Wrong, row.as_ref(), source).await?,
            Err(_) => {}
        }
        session
    }

    /// Creates a session after the password was verified; refused if the password has changed since.
    pub(super) async fn session_create(&self, verified: &AccountRow, source: Source) -> Result<api::Session> {
        let mut tx = self.store().begin().await?;
        let unchanged = |row: &AccountRow| row.password == verified.password;
        let row = tx
            .account(verified.id)
            .await?
            .filter(unchanged)
            .ok_or(Error::Unauthenticated)?;
        let session = session_insert(&mut tx, &row, source, Timestamp::now()).await?;
        tx.commit("session created").await?;
        Ok(session)
    }

    /// Ends a session.
    pub async fn sign_out(&self, secret: &str) -> Result<()> {
        let _revocation = self.inner.authentication.credentials.revocation();
        let mut tx = self.store().begin().await?;
        let Some((token, account)) = tx.token_of(&digest(secret)).await? else {
            return Ok(());
        };
        audit(
            &mut tx,
            &account.name,
            "session_delete",
            token.id,
            token.name,
            Timestamp::now(),
        )
        .await?;
        tx.token_delete(token.id).await?;
        Ok(tx.commit("session ended").await?)
    }

    /// Returns the caller of a session or token.
    pub async fn authenticate(&self, secret: &str) -> Result<Caller> {
        let digest = digest(secret);
        self.authenticate_by(digest, async { Ok(self.store().read().token_of(&digest).await?) })
            .await
    }

    /// Like [`Self::authenticate`] with a given database query, which runs on a cache miss.
    pub(super) async fn authenticate_by(
        &self,
        digest: [u8; 32],
        query: impl Future<Output = Result<Option<Credential>>>,
    ) -> Result<Caller> {
        let (now, at, credentials) = (
            Timestamp::now(),
            Instant::now(),
            &self.inner.authentication.credentials,
        );
        let revision = match credentials.get(&digest, now, at) {
            Lookup::Hit(caller) => return Ok(caller),
            Lookup::Miss(revision) => revision,
        };
        let found = query.await?.ok_or(Error::Unauthenticated)?;
        let expires_at = found.0.expires_at.map(|moment| moment.0);
        if expires_at.is_some_and(|expires| now >= expires) {
            return Err(Error::Unauthenticated);
        }
        let caller = caller_of(&found);
        credentials.put(revision, digest, caller.clone(), expires_at, at);
        Ok(caller)
    }

    /// Sets a password with a one-time link and signs in; `from` is the client's address. Revokes all
    /// sessions and tokens of the account except the server's own token: a holder of the previous password
    /// may have created some.
    pub async fn password_set(&self, set: api::PasswordSet, from: &str) -> Result<api::Session> {
        let api::PasswordSet { link, password } = set;
        let (min, max) = PASSWORD_LENGTH;
        match password.chars().count() {
            count if count < min => {
                return Err(Error::field("password", format!("use at least {min} characters")));
            }
            count if count > max => {
                return Err(Error::field("password", format!("use at most {max} characters")));
            }
            _ => {}
        }
        self.link_account(&link).await?;
        let hashed = self.inner.authentication.passwords.hash(password).await?;
        let (now, source) = (Timestamp::now(), Source::of(from));
        let _revocation = self.inner.authentication.credentials.revocation();
        let mut tx = self.store().begin().await?;
        let mut row = tx
            .account_of_link(&digest(&link))
            .await?
            .filter(|row| link_is_valid(row, now))
            .ok_or_else(invalid_link)?;
        row.password = Some(hashed);
        row.link = None;
        row.link_expires_at = None;
        let (sessions, tokens) = tx.tokens_revoke(row.id, LOCAL_TOKEN).await?;
        let detail = format!("from {source}; ended {sessions} sessions and {tokens} tokens");
        audit(&mut tx, &row.name, "password_set", row.id, detail, now).await?;
        tx.account_save(row.clone()).await?;
        let session = session_insert(&mut tx, &row, source, now).await?;
        tx.commit("password set").await?;
        self.inner
            .authentication
            .sign_in_limit
            .succeeded(source, &row.name, Instant::now());
        Ok(session)
    }

    /// Returns the account of a one-time link; refused if the link was used or has expired.
    pub async fn link_account(&self, link: &str) -> Result<String> {
        let row = self.store().read().account_of_link(&digest(link)).await?;
        row.filter(|row| link_is_valid(row, Timestamp::now()))
            .map(|row| row.name)
            .ok_or_else(invalid_link)
    }
}

fn link_is_valid(row: &AccountRow, now: Timestamp) -> bool {
    row.link_expires_at.is_some_and(|at| now < at.0)
}

fn invalid_link() -> Error {
    Error::field(
        "link",
        "the link is invalid, expired or already used; create another one on the server: chainpool account reset-link admin",
    )
}

async fn session_insert(
    tx: &mut Tx,
    account: &AccountRow,
    source: Source,
    now: Timestamp,
) -> Result<api::Session> {
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
    audit(
        tx,
        &account.name,
        "session_create",
        account.id,
        format!("from {source}"),
        now,
    )
    .await?;
    tx.token_insert(row).await?;
    Ok(api::Session {
        token: secret,
        expires_at,
    })
}
