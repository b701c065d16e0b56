//! Who may: the one place that decides. Each method of the façade takes its caller and asks here; front ends decide nothing.
//!
//! | who | may |
//! |---|---|
//! | user | apply, up to the number of leases that the server allows; use the leases that it holds, with the clusters under them |
//! | token with `lease_any` | also name other holders, and use every lease that its account applied for |
//! | operator | also use all leases, clusters, hosts and operations |
//! | admin | also accounts, all tokens, backup, resume |
//! | watchdog | what an operator may; it is never a request |
//!
//! What a caller may not read does not exist for it (404). What its role does not let it do is refused (403).

use crate::{Caller, Error, Result};
use chainpool_api::Role;
use chainpool_store::{LeaseRow, OperationRow, TokenRow};

/// The least that a route of a front end asks of its caller. The tables of routes name it, and their tests hold it
/// against the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody need be signed in.
    Anyone,
    /// An account with this role or a higher one.
    AtLeast(Role),
}

impl Access {
    /// Refuses a caller for whom this is too much.
    pub fn check(self, caller: &Caller) -> Result<()> {
        match self {
            Self::Anyone => Ok(()),
            Self::AtLeast(role) => must_be(caller, role),
        }
    }
}

/// Which leases a caller sees, and with them which clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct VisibleLeases {
    /// Those of these holders; `None`: of all.
    pub(crate) holders: Option<Vec<String>>,
    /// Those that this account applied for; `None`: all.
    pub(crate) applied_by: Option<String>,
}

/// A holder as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The account's own name, or `<account>/<holder>` for one that a token with `lease_any` names.
    pub(crate) stored: String,
    /// The bare name, under which leases were stored before.
    pub(crate) former: Option<String>,
}

/// Works with hosts, all clusters, all leases and all operations.
pub(crate) fn operates(caller: &Caller) -> bool {
    caller.role >= Role::Operator
}

/// Works with accounts, all tokens, backup and resume.
pub(crate) fn administers(caller: &Caller) -> bool {
    caller.role >= Role::Admin
}

/// Refuses a caller below this role.
pub(crate) fn must_be(caller: &Caller, least: Role) -> Result<()> {
    if caller.role >= least {
        return Ok(());
    }
    Err(Error::Forbidden(format!(
        "this needs the role {least}; {} is {}; ask an admin for it",
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

/// Whether it may use a lease: read, renew and release it, take its bundle, work with its cluster. A name alone is not
/// enough: a lease belongs to the account that applied for it.
pub(crate) fn may_use_lease(caller: &Caller, lease: &LeaseRow) -> bool {
    operates(caller)
        || (lease.applied_by == caller.account && (caller.lease_any || lease.holder == caller.account))
}

/// The leases that it sees, and of those the ones of one holder when it names one. The same rule as [`may_use_lease`].
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

/// Whether it may read a cluster that has this active lease, or none, and work with it.
pub(crate) fn may_use_cluster(caller: &Caller, lease: Option<&LeaseRow>) -> bool {
    operates(caller) || lease.is_some_and(|lease| may_use_lease(caller, lease))
}

/// Whether it may read an operation: what it asked for itself, and what was done with what it holds since it holds it.
/// `lease` is the active one of the operation's cluster.
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

/// Whether it sees what a cluster went through before its present holder had it.
pub(crate) fn sees_earlier_generations(caller: &Caller) -> bool {
    operates(caller)
}

/// Whether a lease of its may have no end.
pub(crate) fn may_hold_for_ever(caller: &Caller) -> bool {
    operates(caller)
}

/// How many active leases of its own it may have, where there is a limit; a setting of 0 is none. Who works with the pool, or applies for
/// others, may have any number.
pub(crate) fn lease_limit(caller: &Caller, setting: u32) -> Option<u32> {
    (setting > 0 && !operates(caller) && !caller.lease_any).then_some(setting)
}

/// Whether it may read and end a token.
pub(crate) fn may_use_token(caller: &Caller, token: &TokenRow) -> bool {
    administers(caller) || token.account_id == caller.account_id
}

/// The holder of a lease that it applies for: itself, or one of its own that it names.
pub(crate) fn holder(caller: &Caller, named: Option<String>) -> Result<Holder> {
    let named = match named {
        Some(named) if caller.lease_any => named,
        Some(named) if named != caller.account => {
            return Err(Error::Forbidden(format!(
                "applying for another holder ({named}) needs a token with the scope lease:any"
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

/// The names under which the leases of a holder that it names may be stored.
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

/// A holder's name without the account's in front, which the API returns and a token may leave out.
fn bare<'a>(caller: &Caller, holder: &'a str) -> &'a str {
    holder
        .strip_prefix(caller.account.as_str())
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(holder)
}

#[cfg(test)]
mod tests;
