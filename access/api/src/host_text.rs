//! Parsing of a host's text settings. Errors say what to write instead.

use std::{fmt, net::IpAddr, str::FromStr};

/// The maximum length of a text setting.
const MAX_LENGTH: usize = 255;

/// A host name (RFC 1123) or an IP address, without scheme, port, path or brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A host name.
    Name(String),
}

/// The reason why a text is invalid; the end of a sentence that starts with the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

impl FromStr for PublicAddress {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() => Err(Malformed(
                "is an address that clients cannot connect to; use an address of the host",
            )),
            Ok(ip) => Ok(Self::Ip(ip)),
            Err(_) if is_host_name(text) => Ok(Self::Name(text.to_owned())),
            Err(_) => Err(Malformed(
                "is not an address; use a host name or an IP address without scheme, port, path or brackets",
            )),
        }
    }
}

impl fmt::Display for PublicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl PublicAddress {
    /// Returns `true` for an address of this machine only.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// RFC 1123: labels of letters, digits and inner hyphens; at most 253 characters. The last label is not
/// numeric, otherwise it would be a mistyped IPv4 address.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// Splits `host`, `host:port` or `[v6]:port`; a port is 1 to 65535.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let port = if rest.is_empty() {
                None
            } else {
                Some(rest.strip_prefix(':')?)
            };
            (host.parse::<std::net::Ipv6Addr>().is_ok().then_some(host)?, port)
        }
        None => text
            .rsplit_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_host = text.starts_with('[') || is_host_name(host) || host.parse::<std::net::Ipv4Addr>().is_ok();
    let port = match port {
        Some(port) => Some(
            port.parse::<u16>()
                .ok()
                .filter(|number| *number > 0 && port.bytes().all(|b| b.is_ascii_digit()))?,
        ),
        None => None,
    };
    is_host.then_some((host, port))
}

/// Returns `true` if the first part of an image name is a registry and not a path: it has a dot or a port, or
/// is `localhost`.
fn is_registry(text: &str) -> bool {
    (text.contains(['.', ':']) || text == "localhost") && host_and_port(text).is_some()
}

/// Parses a mirror, `host[:port][/path]`, and returns its registry.
pub fn registry_of_mirror(mirror: &str) -> Result<&str, Malformed> {
    let trimmed = mirror.strip_suffix('/').unwrap_or(mirror);
    let (registry, path) = trimmed
        .split_once('/')
        .map_or((trimmed, None), |(registry, path)| (registry, Some(path)));
    if mirror.len() <= MAX_LENGTH && is_registry(registry) && path.is_none_or(is_repository) {
        Ok(registry)
    } else {
        Err(Malformed(
            "is not a registry; use host[:port][/path], such as registry.example:5000, without scheme and spaces",
        ))
    }
}

/// Validates the registry of a login, `host[:port]`.
pub fn check_registry(registry: &str) -> Result<(), Malformed> {
    if registry.len() <= MAX_LENGTH && is_registry(registry) {
        Ok(())
    } else {
        Err(Malformed(
            "is not a registry; use host[:port], such as registry.example:5000, or docker.io",
        ))
    }
}

/// Validates an image reference: `[registry/]name[:tag][@digest]`.
pub fn check_image(reference: &str) -> Result<(), Malformed> {
    let (rest, digest) = reference
        .split_once('@')
        .map_or((reference, None), |(rest, digest)| (rest, Some(digest)));
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let repository = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            is_registry(first).then_some(rest)
        }
        _ => Some(name),
    };
    let is_tag = |tag: &str| {
        (1..=128).contains(&tag.len())
            && !tag.starts_with(['.', '-'])
            && tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    let is_digest = |digest: &str| {
        digest.split_once(':').is_some_and(|(algorithm, hex)| {
            !algorithm.is_empty()
                && algorithm
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && hex.len() >= 32
                && hex.bytes().all(|b| b.is_ascii_hexdigit())
        })
    };
    if reference.len() <= MAX_LENGTH
        && repository.is_some_and(is_repository)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
    {
        Ok(())
    } else {
        Err(Malformed(
            "is not an image reference of at most 255 characters; use a form such as registry.example/name:tag",
        ))
    }
}

/// Lower-case letters and digits with single separators inside, in parts separated by slashes.
fn is_repository(text: &str) -> bool {
    text.split('/').all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
            && !part.starts_with(['.', '_', '-'])
            && !part.ends_with(['.', '_', '-'])
            && !part.contains("..")
    })
}

/// Validates a syslog server.
pub fn check_syslog_server(server: &str) -> Result<(), Malformed> {
    let rest = ["udp://", "tcp://", "tcp+tls://"]
        .iter()
        .find_map(|scheme| server.strip_prefix(scheme));
    if server.len() <= MAX_LENGTH
        && rest
            .and_then(host_and_port)
            .is_some_and(|(_, port)| port.is_some())
    {
        Ok(())
    } else {
        Err(Malformed(
            "is not a syslog server; use udp://10.0.0.9:514, or tcp:// or tcp+tls:// with host and port",
        ))
    }
}

/// Validates a Kubernetes name (RFC 1123 subdomain).
pub fn check_storage_class(name: &str) -> Result<(), Malformed> {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(part) {
        Ok(())
    } else {
        Err(Malformed(
            "is not a storage class name; use at most 253 of a-z, 0-9, - and .",
        ))
    }
}

/// Shortens a text of any length for a message.
pub fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        text.to_owned()
    } else {
        text.chars().take(SHOWN).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_a_host_name_or_an_ip_address() {
        for good in [
            "pool.example.org",
            "a",
            "1.2.3.4",
            "fd00::5",
            "localhost",
            "xn--bcher-kva.example",
            "3com.example",
            "127.0.0.1",
        ] {
            assert_eq!(
                good.parse::<PublicAddress>().map(|a| a.to_string()),
                Ok(good.to_owned())
            );
        }
        let long = [
            "a".repeat(300),
            format!("{}.example", "a".repeat(64)),
            vec!["abcdefg"; 33].join("."),
        ];
        let bad = [
            "",
            "$(id>pwn)",
            "`id`",
            "a b",
            "a;b",
            "a\nb",
            "x@y",
            "-x",
            "x-",
            "https://x",
            "x/y",
            "pool.example.org:443",
            "1.2.3.4:80",
            "[::1]",
            "pool_1.example",
            "a..example",
            "a.",
            ".a",
            "1.2.3.400",
            "1.2.3",
            "'",
            "\"",
            "ü.example",
            "fe80::1%eth0",
            "0.0.0.0",
            "::",
            "224.0.0.1",
        ];
        for bad in bad.into_iter().chain(long.iter().map(String::as_str)) {
            assert!(bad.parse::<PublicAddress>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_mirror_is_a_registry_with_a_path() {
        for (good, registry) in [
            ("mirror.example", "mirror.example"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("localhost/", "localhost"),
            ("[::1]:5000/a/b-c_d", "[::1]:5000"),
            ("Mirror.example:5000/team/x", "Mirror.example:5000"),
        ] {
            assert_eq!(registry_of_mirror(good), Ok(registry));
        }
        let long = format!("m.example/{}", "a".repeat(300));
        let bad = [
            "",
            "mirror",
            "https://m.example",
            "m.example/a b",
            "m.example/\"x\"",
            "m.example:0",
            "m.example:99999",
            "u@m.example",
            "m.example//a",
            "m.example/A",
            "m.example:+5",
            &long,
        ];
        for bad in bad {
            assert!(registry_of_mirror(bad).is_err(), "{bad:?}");
        }
        assert!(
            check_registry("docker.io").is_ok()
                && check_registry("m.example/x").is_err()
                && check_registry("m").is_err()
        );
    }

    #[test]
    fn an_image_reference_has_the_form_that_engines_accept() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for good in [
            "a",
            "a:1",
            "x/y:1",
            "cometbft/cometbft:v0.38.17",
            "127.0.0.1:1/none:1",
            "m.example:5000/a/b__c:A.b-c",
            "localhost/x",
            &digest,
        ] {
            assert!(check_image(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            "A",
            "a b",
            "a:",
            "a:-x",
            "a//b",
            "https://m.example/a",
            "/a",
            "a/",
            "a@sha256:0",
            "a@x",
            "-a",
            "m.example:x/a",
            "a..b",
            &long,
        ] {
            assert!(check_image(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_syslog_server_has_scheme_host_and_port() {
        for good in [
            "udp://10.0.0.9:514",
            "tcp://logs.example:601",
            "tcp+tls://[fd00::9]:6514",
        ] {
            assert!(check_syslog_server(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "10.0.0.9:514",
            "udp://",
            "udp://10.0.0.9",
            "udp://a\nb:1",
            "udp://a:0",
            "udp://a:65536",
            "udp://a b:1",
            "http://a:1",
            "udp://fd00::9:5",
            "udp://a:514/x",
        ] {
            assert!(check_syslog_server(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_storage_class_has_a_kubernetes_name() {
        assert!(check_storage_class("fast").is_ok() && check_storage_class("csi.ssd-1").is_ok());
        for bad in ["", "Fast", "a b", "a_b", "-a", "a."] {
            assert!(check_storage_class(bad).is_err(), "{bad:?}");
        }
    }
}
