//! Limits of a listener.

use std::time::Duration;

/// Limits on connections, which keep idle clients from blocking others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of connections.
    pub connections: usize,
    /// Maximum number of connections per address or IPv6 /64. Trusted proxies and this machine are exempt.
    pub connections_per_address: usize,
    /// Time limit of a TLS handshake.
    pub handshake: Duration,
    /// Time limit for the head of the first request, in any protocol.
    pub first_request: Duration,
    /// Maximum idle time after the first request.
    pub idle: Duration,
    /// Interval and timeout of HTTP/2 pings.
    pub ping: Duration,
    /// Maximum number of concurrent anonymous requests with a body.
    pub anonymous_bodies: usize,
    /// The same per address.
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
    /// Default limits with half of `files` for connections; the other half is for hosts and database.
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
    fn connections_use_half_of_the_open_files() {
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
