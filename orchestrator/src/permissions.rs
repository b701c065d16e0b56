//! Authorisation: the only place that decides. Each façade method takes its caller and asks here; front ends
//! decide nothing.
//!
//! | caller | permissions |
//! |---|---|
//! | user | apply, up to the server's lease limit; use its own leases and their clusters |
//! | token with `lease_any` | also name other holders; use every lease that its account applied for |
//! | operator | also use all leases, clusters, hosts and operations |
//! | admin | also accounts, all tokens, backup, resume |
//! | watchdog | as operator; never the caller of a request |
//!
//! Resources that a caller may not read are not found (404). Actions that its role does not permit are
//! refused (403).

use crate::{Caller, Error, Result};
use chainpool_api::Role;
use chainpool_store::{LeaseRow, OperationRow, TokenRow};

/// The minimum permission of a front-end route. The route tables declare it, and their tests compare it with
/// the responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No sign-in required.
    Anyone,
    /// An account with this role or a higher one.
    AtLeast(Role),
}

impl Access {
    /// Refuses a caller without this permission.
    pub fn check(self, caller: &Caller) -> Result<()> {
        match self {
            Self::Anyone => Ok(()),
            Self::AtLeast(role) => must_be(caller, role),
        }
    }
}

impl Caller {
    /// Returns `true` for operators and admins. For front ends to decide what to show; the façade enforces
    /// it.
    pub fn operates(&self) -> bool {
        operates(self)
    }

    /// Returns `true` for admins. For front ends to decide what to show; the façade enforces it.
    pub fn administers(&self) -> bool {
        administers(self)
    }
}

/// The leases that a caller sees, and with them the clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct VisibleLeases {
    /// Leases of these holders; `None`: all holders.
    pub(crate) holders: Option<Vec<String>>,
    /// Leases that this account applied for; `None`: all accounts.
    pub(crate) applied_by: Option<String>,
}

/// The stored form of a holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The account's own name, or `<account>/<holder>` for a holder named by a token with `lease_any`.
    pub(crate) stored: String,
    /// The bare name, used by previous versions.
    pub(crate) former: Option<String>,
}

/// Returns `true` for callers that manage hosts, all clusters, leases and operations.
pub(crate) fn operates(caller: &Caller) -> bool {
    caller.role >= Role::Operator
}

/// Returns `true` for callers that manage accounts, all tokens, backup and resume.
pub(crate) fn administers(caller: &Caller) -> bool {
    caller.role >= Role::Admin
}

/// Refuses a caller below this role.
pub(crate) fn must_be(caller: &Caller, least: Role) -> Result<()> {
    if caller.role >= least {
        return Ok(());
    }
    Err(Error::Forbidden(format!(
        "this requires the role {least}, but {} has the role {}; ask an admin",
        caller.account, caller.role
    )))
}

/// Refuses all but operators and admins.
pub(crate) fn must_operate(caller: &Caller) -> Result<()> {
    must_be(caller, Role::Operator)
}

/// Refuses all but admins.
pub(crate) fn must_administer(caller: &Caller) -> Result<()> {
    must_be(caller, Role::Admin)
}

/// Returns `true` if the caller may use a lease: read, renew and release it, read its bundle, work with its
/// cluster. The holder's name alone is not enough: a lease belongs to the account that applied for it.
pub(crate) fn may_use_lease(caller: &Caller, lease: &LeaseRow) -> bool {
    operates(caller)
        || (lease.applied_by == caller.account && (caller.lease_any || lease.holder == caller.account))
}

/// Returns the leases visible to the caller, optionally those of one holder. The same rule as
/// [`may_use_lease`].
pub(crate) fn visible_leases(caller: &Caller, holder: Option<&str>) -> VisibleLeases {
    let named = holder.map(|holder| names_of(caller, holder));
    if operates(caller) {
        return VisibleLeases {
            holders: named,
            applied_by: None,
        };
    }
    let applied_by = Some(caller.account.clone());
    if caller.lease_any {
        return VisibleLeases {
            holders: named,
            applied_by,
        };
    }
    let own = |named: Vec<String>| named.into_iter().filter(|name| *name == caller.account).collect();
    VisibleLeases {
        holders: Some(named.map_or_else(|| vec![caller.account.clone()], own)),
        applied_by,
    }
}

/// Returns `true` if the caller may read and use a cluster with this active lease, or none.
pub(crate) fn may_use_cluster(caller: &Caller, lease: Option<&LeaseRow>) -> bool {
    operates(caller) || lease.is_some_and(|lease| may_use_lease(caller, lease))
}

/// Returns `true` if the caller may read an operation: its own, or any on a cluster since the caller holds
/// it. `lease` is the active lease of the operation's cluster.
pub(crate) fn may_read_operation(
    caller: &Caller,
    operation: &OperationRow,
    lease: Option<&LeaseRow>,
) -> bool {
    let since = |lease: &LeaseRow| {
        operation.cluster_id == Some(lease.cluster_id) && operation.created_at.0 >= lease.created_at.0
    };
    operates(caller)
        || operation.author == caller.account
        || lease.is_some_and(|lease| may_use_lease(caller, lease) && since(lease))
}

/// Returns `true` if the caller sees the history of a cluster from before the current lease.
pub(crate) fn sees_previous_generations(caller: &Caller) -> bool {
    operates(caller)
}

/// Returns `true` if the caller may lease without expiry.
pub(crate) fn may_lease_without_expiry(caller: &Caller) -> bool {
    operates(caller)
}

/// Returns the caller's limit of own active leases, if any; a setting of 0 means no limit. Operators, admins
/// and tokens with `lease_any` have no limit.
pub(crate) fn lease_limit(caller: &Caller, setting: u32) -> Option<u32> {
    (setting > 0 && !operates(caller) && !caller.lease_any).then_some(setting)
}

/// Returns `true` if the caller may read and revoke a token.
pub(crate) fn may_use_token(caller: &Caller, token: &TokenRow) -> bool {
    administers(caller) || token.account_id == caller.account_id
}

/// Returns the holder of a new lease: the account itself, or a holder named by a token.
pub(crate) fn holder(caller: &Caller, named: Option<String>) -> Result<Holder> {
    let named = match named {
        Some(named) if caller.lease_any => named,
        Some(named) if named != caller.account => {
            return Err(Error::Forbidden(format!(
                "a lease for another holder ({named}) requires a token with the scope lease:any"
            )));
        }
        _ => {
            return Ok(Holder {
                stored: caller.account.clone(),
                former: None,
            });
        }
    };
    let bare = bare(caller, &named);
    if bare.is_empty() || bare.len() > 128 || bare.chars().any(char::is_control) {
        return Err(Error::field(
            "holder",
            "use 1 to 128 characters without control characters",
        ));
    }
    let former = (bare != caller.account).then(|| bare.to_owned());
    Ok(Holder {
        stored: format!("{}/{bare}", caller.account),
        former,
    })
}

/// Returns the stored names that a named holder may have.
fn names_of(caller: &Caller, holder: &str) -> Vec<String> {
    let mut names = vec![holder.to_owned()];
    if caller.lease_any {
        let bare = bare(caller, holder);
        names.extend([bare.to_owned(), format!("{}/{bare}", caller.account)]);
        names.sort();
        names.dedup();
    }
    names
}

/// Strips the account prefix, which the API returns and a token may omit.
fn bare<'a>(caller: &Caller, holder: &'a str) -> &'a str {
    holder
        .strip_prefix(caller.account.as_str())
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(holder)
}

#[cfg(test)]
mod tests;
