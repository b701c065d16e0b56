//! Calls to nodes over the platform's byte streams: errors, time limits, and HTTP.

pub(crate) mod call;
pub(crate) mod http;
