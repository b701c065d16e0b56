//! Accounts, sessions, tokens.

use crate::{Caller, Orchestrator, Result};
use chainpool_api as api;

impl Orchestrator {
    /// Signs an account in; `from` is the client's address, for the rate limit.
    pub async fn sign_in(&self, sign_in: api::SignIn, from: &str) -> Result<api::Session> {
        todo!()
    }

    /// Ends a session.
    pub async fn sign_out(&self, secret: &str) -> Result<()> {
        todo!()
    }

    /// Whose session or token this is.
    pub async fn authenticate(&self, secret: &str) -> Result<Caller> {
        todo!()
    }

    /// Sets a password by a one-time link and signs in.
    pub async fn password_set(&self, set: api::PasswordSet) -> Result<api::Session> {
        todo!()
    }

    /// The account that a one-time link is for; refused when it is used up or too old.
    pub async fn link_account(&self, link: &str) -> Result<String> {
        todo!()
    }

    /// All accounts.
    pub async fn account_list(&self, caller: &Caller) -> Result<Vec<api::Account>> {
        todo!()
    }

    /// Makes an account.
    pub async fn account_create(&self, caller: &Caller, new: api::AccountCreate) -> Result<api::Account> {
        todo!()
    }

    /// Removes an account that holds nothing.
    pub async fn account_delete(&self, caller: &Caller, account: &str) -> Result<()> {
        todo!()
    }

    /// Makes the secret part of a one-time link that sets a password; lives 1 h.
    pub async fn account_reset_link(&self, caller: &Caller, account: &str) -> Result<String> {
        todo!()
    }

    /// The caller's tokens; an admin's list holds all.
    pub async fn token_list(&self, caller: &Caller) -> Result<Vec<api::Token>> {
        todo!()
    }

    /// Makes a token.
    pub async fn token_create(&self, caller: &Caller, new: api::TokenCreate) -> Result<api::TokenMade> {
        todo!()
    }

    /// Ends a token.
    pub async fn token_delete(&self, caller: &Caller, token: uuid::Uuid) -> Result<()> {
        todo!()
    }
}
