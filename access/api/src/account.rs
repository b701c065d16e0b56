//! Accounts, tokens, sessions.

use crate::{Timestamp, text_enum::text_enum};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

text_enum! {
    /// What an account may do.
    Role {
        /// Applies, and works with what it holds.
        User = "user",
        /// Also works with hosts and all clusters.
        Operator = "operator",
        /// Also works with accounts, backup and restore.
        Admin = "admin",
    }
}

/// Somebody, or some program, who may ask.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Its identity.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whether it has set a password.
    pub has_password: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Makes an account; it sets its password through a one-time link.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountCreate {
    /// Its name.
    #[schema(max_length = 40, pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$")]
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// Signs in.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The account's name.
    #[schema(max_length = 40)]
    pub account: String,
    /// Its password.
    #[schema(max_length = 1024)]
    pub password: String,
}

/// Sets a password by a one-time link.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordSet {
    /// The secret part of the link.
    pub link: String,
    /// The new password, 12 to 1024 characters.
    #[schema(min_length = 12, max_length = 1024)]
    pub password: String,
}

/// A one-time link that sets a password. Shown once; lives 1 h and works once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ResetLink {
    /// The secret part of the link: what `PasswordSet` takes as `link`.
    pub link: String,
}

/// A signed-in session. The secret is shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Send as `Authorization: Bearer …`.
    pub token: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Makes a token for a program.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// What it is for, without control characters.
    #[schema(min_length = 1, max_length = 80)]
    pub name: String,
    /// Allows applying for named holders, stored as `<account>/<holder>`; reaches every lease that the token's own account
    /// applied for, and no other.
    #[serde(default)]
    pub lease_any: bool,
    /// For this account (admins only); the caller's own when absent.
    #[serde(default)]
    pub account: Option<String>,
    /// Seconds until it expires, 10 years at most; absent: never.
    #[schema(minimum = 1, maximum = 315_360_000)]
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
}

/// A token without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its identity.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// Whose it is.
    pub account: String,
    /// Whether it may apply for named holders and reaches every lease that its account applied for.
    pub lease_any: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A new token. The secret is shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The token.
    pub token: Token,
    /// Send as `Authorization: Bearer …`.
    pub secret: String,
}

/// Who the caller is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The account's name.
    pub account: String,
    /// What it may do.
    pub role: Role,
    /// Whether it may apply for named holders and reaches every lease that its account applied for.
    pub lease_any: bool,
}
