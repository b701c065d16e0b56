//! Health of hosts and ledgers: evidence in; verdict, history and repair requests out.

mod assessment;
mod evidence;
pub(crate) mod host_assessment;
mod reconcile;
