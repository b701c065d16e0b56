//! Names of the boot actions.

/// Boot actions.
pub(crate) const JOIN: &str = "channels";
pub(crate) const MEMBERS: &str = "members";
pub(crate) const DEPLOY: &str = "chaincodes";
pub(crate) const COMMIT: &str = "commit";
