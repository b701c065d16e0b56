//! Accounts with their tokens and sessions.

use crate::{
    AccountRow, Conn, Result, TokenRow, Tx,
    datastore::save::save,
    entity::{account, token},
};
use chainpool_api::Timestamp;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder,
    sea_query::ExprTrait,
};
use uuid::Uuid;

impl<C: ConnectionTrait> Conn<C> {
    /// Reads an account by id.
    pub async fn account(&self, id: Uuid) -> Result<Option<AccountRow>> {
        Ok(account::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// Reads an account by name.
    pub async fn account_named(&self, name: &str) -> Result<Option<AccountRow>> {
        Ok(account::Entity::find()
            .filter(account::Column::Name.eq(name))
            .one(&self.0)
            .await?)
    }

    /// Reads an account by name or id.
    pub async fn account_named_or_id(&self, name_or_id: &str) -> Result<Option<AccountRow>> {
        match (self.account_named(name_or_id).await?, name_or_id.parse()) {
            (None, Ok(id)) => self.account(id).await,
            (found, _) => Ok(found),
        }
    }

    /// Reads the account of a one-time link.
    pub async fn account_of_link(&self, digest: &[u8]) -> Result<Option<AccountRow>> {
        Ok(account::Entity::find()
            .filter(account::Column::Link.eq(digest.to_vec()))
            .one(&self.0)
            .await?)
    }

    /// Lists all accounts, oldest first.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>> {
        Ok(account::Entity::find()
            .order_by_asc(account::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// Reads a token or session with its account, by the digest of its secret.
    pub async fn token_of(&self, digest: &[u8]) -> Result<Option<(TokenRow, AccountRow)>> {
        let Some(token) = token::Entity::find()
            .filter(token::Column::Digest.eq(digest.to_vec()))
            .one(&self.0)
            .await?
        else {
            return Ok(None);
        };
        Ok(self
            .account(token.account_id)
            .await?
            .map(|account| (token, account)))
    }

    /// Reads a token by id.
    pub async fn token(&self, id: Uuid) -> Result<Option<TokenRow>> {
        Ok(token::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// Lists the tokens (not sessions) of one account or of all accounts.
    pub async fn tokens(&self, account: Option<Uuid>) -> Result<Vec<TokenRow>> {
        let mut query = token::Entity::find()
            .filter(token::Column::Session.eq(false))
            .order_by_asc(token::Column::Id);
        if let Some(account) = account {
            query = query.filter(token::Column::AccountId.eq(account));
        }
        Ok(query.all(&self.0).await?)
    }

    /// Counts the unexpired tokens (not sessions) of an account.
    pub async fn tokens_count(&self, account: Uuid, now: Timestamp) -> Result<u64> {
        let unexpired = token::Column::ExpiresAt
            .is_null()
            .or(token::Column::ExpiresAt.gt(now.0));
        let own = token::Entity::find()
            .filter(token::Column::AccountId.eq(account))
            .filter(token::Column::Session.eq(false));
        Ok(own.filter(unexpired).count(&self.0).await?)
    }
}

impl Tx {
    /// Adds an account.
    pub async fn account_insert(&mut self, row: AccountRow) -> Result<()> {
        account::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// Saves an account and returns it with its new version. [`Error::Overtaken`](crate::Error::Overtaken): it was changed since
    /// it was read, which cannot happen to a row read in this transaction.
    pub async fn account_save(&mut self, row: AccountRow) -> Result<AccountRow> {
        save(&self.0, row).await
    }

    /// Removes an account with its tokens and sessions.
    pub async fn account_delete(&mut self, id: Uuid) -> Result<()> {
        token::Entity::delete_many()
            .filter(token::Column::AccountId.eq(id))
            .exec(&self.0)
            .await?;
        account::Entity::delete_by_id(id).exec(&self.0).await?;
        Ok(())
    }

    /// Adds a token or session.
    pub async fn token_insert(&mut self, row: TokenRow) -> Result<()> {
        token::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// Revokes a token or session.
    pub async fn token_delete(&mut self, id: Uuid) -> Result<()> {
        token::Entity::delete_by_id(id).exec(&self.0).await?;
        Ok(())
    }

    /// Revokes an account's sessions, and its tokens except those of one name. Returns the numbers of revoked
    /// sessions and tokens.
    pub async fn tokens_revoke(&mut self, account: Uuid, but: &str) -> Result<(u64, u64)> {
        let own = || token::Entity::delete_many().filter(token::Column::AccountId.eq(account));
        let sessions = own()
            .filter(token::Column::Session.eq(true))
            .exec(&self.0)
            .await?;
        let tokens = own()
            .filter(token::Column::Session.eq(false))
            .filter(token::Column::Name.ne(but))
            .exec(&self.0)
            .await?;
        Ok((sessions.rows_affected, tokens.rows_affected))
    }

    /// Deletes expired tokens and sessions.
    pub(crate) async fn tokens_prune(&mut self, now: Timestamp) -> Result<u64> {
        Ok(token::Entity::delete_many()
            .filter(token::Column::ExpiresAt.lt(now.0))
            .exec(&self.0)
            .await?
            .rows_affected)
    }
}
