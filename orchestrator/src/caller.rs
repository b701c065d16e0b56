//! Who asks.

use crate::{Error, Result};
use chainpool_api::Role;
use uuid::Uuid;

/// Who asks, and what ties a repeated request to the first.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account.
    pub account_id: Uuid,
    /// Its name.
    pub account: String,
    /// What it may do.
    pub role: Role,
    /// May apply and release for other holders.
    pub lease_any: bool,
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
    /// Refuses whoever may not do this.
    pub(crate) fn must_be(&self, least: Role) -> Result<()> {
        if self.role >= least {
            Ok(())
        } else {
            Err(Error::Forbidden(format!("this needs the role {least}; {} is {}", self.account, self.role)))
        }
    }
}
