//! In-memory state of authentication.

use super::{
    credential_cache::CredentialCache, password::PasswordHasher, sign_in_failures::SignInFailures,
    sign_in_limit::SignInLimit,
};

/// In-memory state of authentication; lost at a restart.
#[derive(Default)]
pub(crate) struct Authentication {
    pub(super) credentials: CredentialCache,
    pub(super) sign_in_limit: SignInLimit,
    pub(super) sign_in_failures: SignInFailures,
    pub(super) passwords: PasswordHasher,
}
