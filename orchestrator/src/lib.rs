//! The middle: decides what shall be, writes it down, and sees it done. Serves no HTTP and never speaks Docker.

mod account;
mod caller;
mod cluster;
mod error;
mod host;
mod lease;
mod operation;
mod orchestrator;
mod status;

pub use chainpool_agent::{LogLine, LogQuery, LogStream}; // access passes these on and sees nothing else of the agents
pub use caller::{Caller, RequestKey};
pub use error::{Error, Result};
pub use lease::Applied;
pub use orchestrator::{Config, Orchestrator};
