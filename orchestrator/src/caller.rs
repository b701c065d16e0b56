//! Callers of the façade.

use chainpool_api::Role;
use uuid::Uuid;

/// The name of the watchdog as an author. No account may have it.
pub(crate) const WATCHDOG: &str = "chainpool";

/// The caller of a request, with its idempotency key.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account.
    pub account_id: Uuid,
    /// The account's name.
    pub account: String,
    /// The account's role.
    pub role: Role,
    /// May name other holders, and may use every lease that its account applied for.
    pub lease_any: bool,
    /// The token or session of the request; `None` for this process itself.
    pub credential: Option<Uuid>,
    /// Identifies the request in logs and in the audit log.
    pub request_id: Option<String>,
    /// The idempotency key: a repeated request returns the same operation.
    pub key: Option<RequestKey>,
}

/// An idempotency key. Account, route and key identify a request for 24 hours; a different body under the
/// same key is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// Method and path.
    pub route: String,
    /// The key sent by the client.
    pub key: String,
    /// SHA-256 of the body.
    pub body: [u8; 32],
}

impl Caller {
    /// An account with a role, as for a session.
    pub fn new(account_id: Uuid, account: impl Into<String>, role: Role) -> Self {
        Self {
            account_id,
            account: account.into(),
            role,
            lease_any: false,
            credential: None,
            request_id: None,
            key: None,
        }
    }

    /// The watchdog: repairs, resets, fills and expires automatically. It has no account, so nobody can sign
    /// in as it.
    pub fn watchdog() -> Self {
        Self::new(Uuid::nil(), WATCHDOG, Role::Operator)
    }

    /// The local administrator (reader of `admin.context`): acts as the account `admin` and may name holders.
    pub(crate) fn local_admin(account_id: Uuid, account: impl Into<String>) -> Self {
        Self {
            lease_any: true,
            ..Self::new(account_id, account, Role::Admin)
        }
    }
}
