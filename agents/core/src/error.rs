//! What went wrong at a platform, as far as the executor must know.

use ipnet::Ipv4Net;

/// Says what the executor may do next; every variant is one branch there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The platform does not answer. What was asked may have happened: look again later.
    #[error("the platform does not answer: {0}")]
    Unreachable(String),
    /// The platform answered that it cannot do it now; worth another try.
    #[error("the platform is busy: {0}")]
    Busy(String),
    /// Something that the platform itself stands on is down or full: a log server, a registry, its disk. The same will go through once that is
    /// put right, and not before: making the thing anew would meet it again.
    #[error("{0}")]
    Dependency(String),
    /// The name is taken by something that is not ours. It was not touched.
    #[error("{0} exists and is not Chainpool's: remove or rename it, then try again")]
    Foreign(String),
    /// An address of our choice is in use by something that is not ours: another choice may do.
    #[error("{words}")]
    Occupied {
        /// What is in use.
        place: Place,
        /// By what, and what to do about it.
        words: String,
    },
    /// One setting of a connection cannot be used.
    #[error("{field}: {why}")]
    Setting {
        /// Its name, as `HostCreate` has it.
        field: &'static str,
        /// Why, and what to give instead.
        why: String,
    },
    /// The platform will not do it, now or later, as asked.
    #[error("{0}")]
    Refused(String),
    /// This kind of platform cannot do it at all.
    #[error("this platform cannot {0}")]
    Unsupported(String),
}

impl Error {
    /// Whether the same call may go through later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Busy(_) | Self::Dependency(_))
    }
}

/// What the planner chooses for a cluster and others on the platform may use already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The addresses of its network.
    Subnet(Ipv4Net),
    /// A published port.
    Port(u16),
}

/// The result of a call to a platform.
pub type Result<T, E = Error> = std::result::Result<T, E>;
