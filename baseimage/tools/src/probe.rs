//! Checks that a service responds, for the HEALTHCHECK of an image without shell and curl.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Maximum length of a status line; real ones are far shorter.
const STATUS_LINE: usize = 1024;

/// The service to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A TCP connection to `host:port` succeeds.
    Tcp(String),
    /// `GET` of a path at `host:port` returns a status from 200 to 399.
    Http {
        /// `host:port`.
        authority: String,
        /// The path and query, with the leading slash.
        path: String,
    },
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| format!("{text}: use http://HOST[:PORT][/PATH] or tcp://HOST:PORT"))?;
        if rest.chars().any(|c| c.is_ascii_control() || c == ' ') {
            return Err(format!(
                "{text:?}: remove spaces and control characters from the address"
            ));
        }
        match scheme {
            "tcp" if has_port(rest) && !rest.contains('/') => Ok(Self::Tcp(rest.to_owned())),
            "tcp" => Err(format!("{text}: use tcp://HOST:PORT")),
            "http" => {
                let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
                if authority.is_empty() {
                    return Err(format!("{text}: missing host"));
                }
                let authority = if has_port(authority) {
                    authority.to_owned()
                } else {
                    format!("{authority}:80")
                };
                Ok(Self::Http {
                    authority,
                    path: path.to_owned(),
                })
            }
            _ => Err(format!("{text}: use http:// or tcp://")),
        }
    }
}

/// Returns true if `host:port` has a port. An IPv6 address is in brackets.
fn has_port(authority: &str) -> bool {
    authority
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Checks once, with a time limit from connection to status line.
pub fn check(target: &Target, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    match target {
        Target::Tcp(authority) => connect(authority, deadline).map(drop),
        Target::Http { authority, path } => {
            let stream = connect(authority, deadline)?;
            let status = http_status(stream, authority, path, deadline)
                .map_err(|error| format!("{authority}: {error}"))?;
            if (200..400).contains(&status) {
                Ok(())
            } else {
                Err(format!("{authority}{path}: status {status}"))
            }
        }
    }
}

/// Connects to the first address of the host that accepts.
fn connect(authority: &str, deadline: Instant) -> Result<TcpStream, String> {
    let addresses = authority
        .to_socket_addrs()
        .map_err(|error| format!("{authority}: {error}"))?;
    let mut failure = format!("{authority}: no address");
    for address in addresses {
        match remaining(deadline).and_then(|left| TcpStream::connect_timeout(&address, left)) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = format!("{address}: {error}"),
        }
    }
    Err(failure)
}

fn http_status(mut stream: TcpStream, authority: &str, path: &str, deadline: Instant) -> io::Result<u16> {
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: chainpool-probe\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    let mut block = [0; 256];
    while !line.contains(&b'\n') && line.len() < STATUS_LINE {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(&mut block)? {
            0 => break,
            count => line.extend_from_slice(&block[..count]),
        }
    }
    parse_status(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the response is not HTTP"))
}

/// The code in `HTTP/1.1 200 OK`.
fn parse_status(line: &[u8]) -> Option<u16> {
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok()
}

/// The remaining time; an error if there is none.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
        .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "timed out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_or_refused() {
        let http = |authority: &str, path: &str| {
            Ok(Target::Http {
                authority: authority.into(),
                path: path.into(),
            })
        };
        assert_eq!(
            "http://127.0.0.1:8080/api/v1/status?a=b".parse(),
            http("127.0.0.1:8080", "/api/v1/status?a=b")
        );
        assert_eq!("http://localhost".parse(), http("localhost:80", "/"));
        assert_eq!("http://[::1]:8080".parse(), http("[::1]:8080", "/"));
        assert_eq!("tcp://n1:26656".parse(), Ok(Target::Tcp("n1:26656".into())));
        for wrong in [
            "n1:80",
            "tcp://n1",
            "tcp://:80",
            "tcp://n1:0",
            "tcp://n1:80/x",
            "http:///x",
            "https://n1",
            "http://n1/a\r\nX: y",
            "http://n1/a b",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_status_line_is_parsed() {
        assert_eq!(parse_status(b"HTTP/1.1 204 No Content\r\nA: b"), Some(204));
        assert_eq!(parse_status(b"HTTP/1.0 503\n"), Some(503));
        for wrong in ["", "SSH-2.0-x 200\n", "HTTP/1.1\n", "HTTP/1.1 ok\n"] {
            assert_eq!(parse_status(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
