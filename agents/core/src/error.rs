//! Errors of platforms, as the executor distinguishes them.

use ipnet::Ipv4Net;

/// An error of a platform. Each variant is one branch of the executor.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The platform is unresponsive. The call may have happened: observe again later.
    #[error("the platform is unresponsive: {0}")]
    Unreachable(String),
    /// The platform cannot do it now; retry.
    #[error("the platform is busy: {0}")]
    Busy(String),
    /// A dependency of the platform is down or full: a log server, a registry, its disk. The same call
    /// succeeds once the dependency recovers; recreating the object does not help.
    #[error("{0}")]
    Dependency(String),
    /// A foreign object has the name. It was not touched.
    #[error("{0} exists and is not Chainpool's: remove or rename it, then try again")]
    Foreign(String),
    /// A chosen address is in use by a foreign object: another choice may work.
    #[error("{reason}")]
    Occupied {
        /// The address in use.
        place: Place,
        /// By what, and the remedy.
        reason: String,
    },
    /// A setting of a connection is invalid.
    #[error("{field}: {why}")]
    Setting {
        /// Its name in `HostCreate`.
        field: &'static str,
        /// Why, and the remedy.
        why: String,
    },
    /// The platform rejects the request permanently.
    #[error("{0}")]
    Refused(String),
    /// This kind of platform does not support it.
    #[error("this platform cannot {0}")]
    Unsupported(String),
}

impl Error {
    /// Returns true if the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Busy(_) | Self::Dependency(_))
    }
}

/// An address that the planner chooses for a cluster and that others on the platform may use already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The addresses of its network.
    Subnet(Ipv4Net),
    /// A published port.
    Port(u16),
}

/// The result of a call to a platform.
pub type Result<T, E = Error> = std::result::Result<T, E>;
