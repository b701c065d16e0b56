//! Sessions: signing in and out, first and lost passwords, and the way from a secret to its caller.

use super::{
    audit, credential_cache::Lookup, digest, password::PASSWORD_LENGTH, secret, sign_in_failures::Failure,
    sign_in_limit::Source, token::LOCAL_TOKEN,
};
use crate::{Caller, Error, Orchestrator, Result};
use chainpool_api::{self as api, Timestamp};
use chainpool_store::{AccountRow, TokenRow, Tx};
use std::{future::Future, time::Instant};
use uuid::Uuid;

/// How long a session lives.
const SESSION_SECONDS: i64 = 12 * 60 * 60;

/// The longest name of an account, in characters.
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
    /// Signs an account in; `from` is the client's address, for the limits.
    pub async fn sign_in(&self, sign_in: api::SignIn, from: &str) -> Result<api::Session> {
        let api::SignIn { account, password } = sign_in;
        // Before anything is kept or computed for it.
        if account.chars().count() > NAME_LENGTH {
            return Err(Error::field(
                "account",
                format!("no account has a name of more than {NAME_LENGTH} characters"),
            ));
        }
        if password.chars().count() > PASSWORD_LENGTH.1 {
            return Err(Error::field(
                "password",
                format!("no password has more than {} characters", PASSWORD_LENGTH.1),
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

    /// Makes a session of an account whose password was right; refused when it is another one by now.
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

    /// Whose session or token this is.
    pub async fn authenticate(&self, secret: &str) -> Result<Caller> {
        let digest = digest(secret);
        self.authenticate_by(digest, async { Ok(self.store().read().token_of(&digest).await?) })
            .await
    }

    /// The same, by a given way to ask the database; it begins when the cache does not know.
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
        let asked = match credentials.get(&digest, now, at) {
            Lookup::Hit(caller) => return Ok(caller),
            Lookup::Miss(revision) => revision,
        };
        let found = query.await?.ok_or(Error::Unauthenticated)?;
        let expires_at = found.0.expires_at.map(|moment| moment.0);
        if expires_at.is_some_and(|expires| now >= expires) {
            return Err(Error::Unauthenticated);
        }
        let caller = caller_of(&found);
        credentials.put(asked, digest, caller.clone(), expires_at, at);
        Ok(caller)
    }

    /// Sets a password by a one-time link and signs in; `from` is the client's address. All that signed in by the
    /// former password ends with it: sessions, and tokens, because whoever had it may have made some.
    pub async fn password_set(&self, set: api::PasswordSet, from: &str) -> Result<api::Session> {
        let api::PasswordSet { link, password } = set;
        let (least, most) = PASSWORD_LENGTH;
        match password.chars().count() {
            count if count < least => {
                return Err(Error::field(
                    "password",
                    format!("use {least} characters at least"),
                ));
            }
            count if count > most => {
                return Err(Error::field("password", format!("use {most} characters at most")));
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
            .filter(|row| link_lives(row, now))
            .ok_or_else(link_over)?;
        row.password = Some(hashed);
        row.link = None;
        row.link_expires_at = None;
        let (sessions, tokens) = tx.tokens_end(row.id, LOCAL_TOKEN).await?;
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

    /// The account that a one-time link is for; refused when it is used up or too old.
    pub async fn link_account(&self, link: &str) -> Result<String> {
        let row = self.store().read().account_of_link(&digest(link)).await?;
        row.filter(|row| link_lives(row, Timestamp::now()))
            .map(|row| row.name)
            .ok_or_else(link_over)
    }
}

fn link_lives(row: &AccountRow, now: Timestamp) -> bool {
    row.link_expires_at.is_some_and(|at| now < at.0)
}

fn link_over() -> Error {
    Error::field(
        "link",
        "the link was used, is too old, or never was one; make another on the server: chainpool account reset-link admin",
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
