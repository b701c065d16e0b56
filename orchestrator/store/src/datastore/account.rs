//! Accounts, and the tokens and sessions that speak for them.

use crate::{
    AccountRow, Conn, Result, TokenRow, Tx,
    entity::{account, token},
};
use chainpool_api::Timestamp;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait,
    QueryFilter, QueryOrder, sea_query::ExprTrait,
};
use uuid::Uuid;

impl<C: ConnectionTrait> Conn<C> {
    /// An account.
    pub async fn account(&self, id: Uuid) -> Result<Option<AccountRow>> {
        Ok(account::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// An account by its name.
    pub async fn account_named(&self, name: &str) -> Result<Option<AccountRow>> {
        Ok(account::Entity::find()
            .filter(account::Column::Name.eq(name))
            .one(&self.0)
            .await?)
    }

    /// An account by its name or its id.
    pub async fn account_called(&self, name_or_id: &str) -> Result<Option<AccountRow>> {
        match (self.account_named(name_or_id).await?, name_or_id.parse()) {
            (None, Ok(id)) => self.account(id).await,
            (found, _) => Ok(found),
        }
    }

    /// The account that a one-time link is for.
    pub async fn account_of_link(&self, digest: &[u8]) -> Result<Option<AccountRow>> {
        Ok(account::Entity::find()
            .filter(account::Column::Link.eq(digest.to_vec()))
            .one(&self.0)
            .await?)
    }

    /// All accounts, oldest first.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>> {
        Ok(account::Entity::find()
            .order_by_asc(account::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// A token or session with its account, by the digest of its secret.
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

    /// A token.
    pub async fn token(&self, id: Uuid) -> Result<Option<TokenRow>> {
        Ok(token::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// Tokens (not sessions) of one account or of all.
    pub async fn tokens(&self, account: Option<Uuid>) -> Result<Vec<TokenRow>> {
        let mut query = token::Entity::find()
            .filter(token::Column::Session.eq(false))
            .order_by_asc(token::Column::Id);
        if let Some(account) = account {
            query = query.filter(token::Column::AccountId.eq(account));
        }
        Ok(query.all(&self.0).await?)
    }

    /// How many tokens (not sessions) an account has that are good at this moment.
    pub async fn tokens_count(&self, account: Uuid, now: Timestamp) -> Result<u64> {
        let lives = token::Column::ExpiresAt
            .is_null()
            .or(token::Column::ExpiresAt.gt(now.0));
        let own = token::Entity::find()
            .filter(token::Column::AccountId.eq(account))
            .filter(token::Column::Session.eq(false));
        Ok(own.filter(lives).count(&self.0).await?)
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

    /// Saves an account that was read in this transaction.
    pub async fn account_save(&mut self, row: AccountRow) -> Result<()> {
        row.into_active_model().reset_all().update(&self.0).await?;
        Ok(())
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

    /// Ends a token or session.
    pub async fn token_delete(&mut self, id: Uuid) -> Result<()> {
        token::Entity::delete_by_id(id).exec(&self.0).await?;
        Ok(())
    }

    /// Ends an account's sessions, and its tokens but for those of one name; answers how many sessions and tokens ended.
    pub async fn tokens_end(&mut self, account: Uuid, but: &str) -> Result<(u64, u64)> {
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

    /// Forgets tokens and sessions whose time has run out.
    pub(crate) async fn tokens_forget(&mut self, now: Timestamp) -> Result<u64> {
        Ok(token::Entity::delete_many()
            .filter(token::Column::ExpiresAt.lt(now.0))
            .exec(&self.0)
            .await?
            .rows_affected)
    }
}
