//! Boot actions that turn running nodes into a network: nodes join channels, channels add members, chaincodes
//! deploy.

mod commit;
mod deploy;
mod failures;
mod join;
mod members;
mod ordering;

use crate::{
    InitError, Nodes,
    fabric::{
        client::access::Access,
        model::actions::{COMMIT, DEPLOY, JOIN, MEMBERS},
    },
};

/// Performs an action. Idempotent.
pub(crate) async fn init(nodes: &Nodes, action: &str) -> Result<(), InitError> {
    let access = Access::new(nodes).map_err(|e| InitError::new(e.to_string()))?;
    match action {
        JOIN => join::channels(&access).await,
        MEMBERS => members::add_members(&access).await,
        DEPLOY => deploy::chaincodes(&access).await,
        COMMIT => commit::commit(&access).await,
        other => Err(InitError::new(format!("fabric has no action {other:?}"))),
    }
}
