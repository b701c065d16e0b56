//! What one listener bears.

use std::time::Duration;

/// Bounds on connections, so that those who ask for nothing keep nobody out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address, or of one IPv6 /64. Trusted proxies and this machine are not bounded by it.
    pub connections_per_address: usize,
    /// Until a TLS handshake must be over.
    pub handshake: Duration,
    /// Until the head of the first request must have come, whatever the protocol.
    pub first_request: Duration,
    /// How long a connection may be without a request after that.
    pub idle: Duration,
    /// How often an HTTP/2 client is asked whether it is there, and how long it has for its answer.
    pub ping: Duration,
    /// Requests with a body of people who are not signed in, at once.
    pub anonymous_bodies: usize,
    /// The same of one address.
    pub anonymous_bodies_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 256,
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(20),
            idle: Duration::from_mins(1),
            ping: Duration::from_secs(20),
            anonymous_bodies: 1024,
            anonymous_bodies_per_address: 32,
        }
    }
}

impl Limits {
    /// As many connections as a process with so many files may have: the other half is for the hosts and the database.
    #[must_use]
    pub fn for_files(files: u64) -> Self {
        let default = Self::default();
        let half = usize::try_from(files / 2).unwrap_or(usize::MAX);
        Self {
            connections: half.clamp(16, default.connections),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_files_are_for_connections() {
        for (files, connections) in [
            (0, 16),
            (256, 128),
            (1024, 512),
            (1 << 20, 16_384),
            (u64::MAX, 16_384),
        ] {
            assert_eq!(Limits::for_files(files).connections, connections, "{files}");
        }
    }
}
