//! Who asks.

use crate::policy;
use chainpool_api::Role;
use uuid::Uuid;

/// The name of the watchdog as the author of what it does. No account may have it.
pub(crate) const WATCHDOG: &str = "chainpool";

/// Who asks, and what ties a repeated request to the first.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account.
    pub account_id: Uuid,
    /// Its name.
    pub account: String,
    /// What it may do.
    pub role: Role,
    /// May name other holders, and reaches every lease that its account applied for.
    pub lease_any: bool,
    /// The token or session that the request came with; `None` for this process itself.
    pub credential: Option<Uuid>,
    /// Names the request in logs and in the audit.
    pub request_id: Option<String>,
    /// From the header `Idempotency-Key`: the same key makes a repeated request the same operation.
    pub key: Option<RequestKey>,
}

/// What makes two requests the same: (account, route, key) for 24 hours; another body under the same key is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// Method and path.
    pub route: String,
    /// What the client sent.
    pub key: String,
    /// SHA-256 of the body.
    pub body: [u8; 32],
}

impl Caller {
    /// An account with a role, as its sessions have it.
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

    /// The watchdog: repairs, resets, fills and expires by itself. It has no account, so nobody can sign in as it.
    pub fn watchdog() -> Self {
        Self::new(Uuid::nil(), WATCHDOG, Role::Operator)
    }

    /// The reader of `admin.context`: acts as the account `admin`, and may name holders.
    pub(crate) fn local_admin(account_id: Uuid, account: impl Into<String>) -> Self {
        Self {
            lease_any: true,
            ..Self::new(account_id, account, Role::Admin)
        }
    }

    /// Whether it works with hosts and all clusters. For what a page offers; the façade refuses by itself.
    pub fn operates(&self) -> bool {
        policy::operates(self)
    }

    /// Whether it works with accounts. For what a page offers; the façade refuses by itself.
    pub fn administers(&self) -> bool {
        policy::administers(self)
    }
}
