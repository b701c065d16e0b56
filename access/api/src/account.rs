//! Accounts, API tokens, sessions.

use crate::{Timestamp, text_enum::text_enum};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

text_enum! {
    /// Permissions of an account.
    Role {
        /// Leases clusters and works with the clusters it holds.
        User = "user",
        /// Also manages hosts and all clusters.
        Operator = "operator",
        /// Also manages accounts, backup and restore.
        Admin = "admin",
    }
}

/// A person or program with access to Chainpool.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Unique identifier.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Permissions.
    pub role: Role,
    /// `true` if a password is set.
    pub has_password: bool,
    /// Creation time.
    pub created_at: Timestamp,
}

/// A new account. Its password is set through a one-time link.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountCreate {
    /// Name.
    #[schema(max_length = 40, pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$")]
    pub name: String,
    /// Permissions.
    pub role: Role,
}

/// Credentials of an account.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// Account name.
    #[schema(max_length = 40)]
    pub account: String,
    /// Password.
    #[schema(max_length = 1024)]
    pub password: String,
}

/// A new password and the one-time link that authorizes it.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordSet {
    /// Secret part of the link.
    pub link: String,
    /// New password, 12 to 1024 characters.
    #[schema(min_length = 12, max_length = 1024)]
    pub password: String,
}

/// A one-time link to set a password. Shown once, expires after 1 hour.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ResetLink {
    /// Secret part of the link, for the field `link` of `PasswordSet`.
    pub link: String,
}

/// A signed-in session. The secret is shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Secret for the header `Authorization: Bearer …`.
    pub token: String,
    /// Expiry.
    pub expires_at: Timestamp,
}

/// A new API token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// Purpose, 1 to 80 characters, no control characters.
    #[schema(min_length = 1, max_length = 80)]
    pub name: String,
    /// Permission to lease for named holders, stored as `<account>/<holder>`, and access to all leases of the
    /// token's account, but no others (admins only).
    #[serde(default)]
    pub lease_any: bool,
    /// Account of the token (admins only); default: the caller's.
    #[serde(default)]
    pub account: Option<String>,
    /// Lifetime in seconds, at most 10 years; absent: no expiry.
    #[schema(minimum = 1, maximum = 315_360_000)]
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
}

/// An API token without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Unique identifier.
    pub id: Uuid,
    /// Purpose.
    pub name: String,
    /// Account of the token.
    pub account: String,
    /// `true` if the token may lease for named holders and access all leases of its account.
    pub lease_any: bool,
    /// Creation time.
    pub created_at: Timestamp,
    /// Expiry; absent: no expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A new API token. The secret is shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// Token.
    pub token: Token,
    /// Secret for the header `Authorization: Bearer …`.
    pub secret: String,
}

/// The caller's account and permissions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// Account name.
    pub account: String,
    /// Permissions.
    pub role: Role,
    /// `true` if the token may lease for named holders and access all leases of its account.
    pub lease_any: bool,
}
