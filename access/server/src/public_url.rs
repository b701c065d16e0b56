//! Addresses of servers as people write them: the public URL of this one, and what the command line calls `--server`.

use std::{fmt, str::FromStr};
use url::Url;

/// First segments of our own paths. A proxy may pass the base path on or take it away; a base path that begins like one
/// of ours could not be told from it.
const OWN: [&str; 17] = [
    "account",
    "admin",
    "api",
    "clusters",
    "events",
    "healthz",
    "hosts",
    "leases",
    "network-types",
    "operations",
    "search",
    "sign-in",
    "sign-out",
    "static",
    "status",
    "theme",
    "welcome",
];

/// An `http` or `https` address with a host, and nothing after the path. The error says what is wrong with it, never the
/// address itself where it may hold a secret.
pub fn http_url(text: &str) -> Result<Url, String> {
    let shown = if text.contains('@') {
        "this".to_owned()
    } else {
        format!("{text:?}")
    };
    let wrong = |why: &str| {
        format!(
            "{shown} is not a server's address: {why}; write it like https://pool.example.org or http://127.0.0.1:8080"
        )
    };
    // The parser drops some white space and would take the rest as another address.
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(wrong("it contains white space"));
    }
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("it must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a server's address holds no user and no password; programs sign in with a token".to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it ends with the path"));
    }
    Ok(url)
}

/// The address that users reach this server at, with the path below which all of it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    url: String,
    base: String,
    https: bool,
}

impl PublicUrl {
    /// Whether it is https.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The path below which everything stands, such as `/pool`; empty at the root.
    pub fn base(&self) -> &str {
        &self.base
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = http_url(text)?;
        let base = url.path().trim_end_matches('/').to_owned();
        let mut segments = base.split('/').skip(1);
        // Plain segments: they stand in cookies and in pages as they are.
        if !segments
            .clone()
            .all(|segment| !segment.is_empty() && segment.bytes().all(is_plain))
        {
            return Err(format!(
                "the path {:?} is not usable; use letters, digits, - . _ and ~ between single slashes",
                url.path()
            ));
        }
        if let Some(first) = segments.next().filter(|first| OWN.contains(first)) {
            return Err(format!(
                "the path must not begin with /{first}, which is one of Chainpool's own; use another, such as /chainpool"
            ));
        }
        let https = url.scheme() == "https";
        Ok(Self {
            url: format!("{}{base}", url.origin().ascii_serialization()),
            base,
            https,
        })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// RFC 3986: unreserved.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_keeps_its_path_and_loses_its_last_slash() {
        for (text, url, base) in [
            ("https://pool.example.org", "https://pool.example.org", ""),
            ("https://pool.example.org/", "https://pool.example.org", ""),
            ("http://127.0.0.1:8094/", "http://127.0.0.1:8094", ""),
            (
                "https://tools.example/pool",
                "https://tools.example/pool",
                "/pool",
            ),
            (
                "https://tools.example:8443/a/b-1//",
                "https://tools.example:8443/a/b-1",
                "/a/b-1",
            ),
            (
                "HTTPS://Tools.Example:443/x/../pool",
                "https://tools.example/pool",
                "/pool",
            ),
            ("https://[::1]:8443/pool", "https://[::1]:8443/pool", "/pool"),
        ] {
            let parsed: PublicUrl = text.parse().unwrap();
            assert_eq!(
                (parsed.to_string().as_str(), parsed.base()),
                (url, base),
                "{text}"
            );
            assert_eq!(parsed.is_https(), url.starts_with("https"));
        }
    }

    #[test]
    fn what_is_no_public_url_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "not a server's address"),
            ("nonsense", "not a server's address"),
            ("ftp://pool.example.org", "http:// or https://"),
            ("file:///etc/passwd", "http:// or https://"),
            ("https://a b", "white space"),
            (" https://a", "white space"),
            ("https://a\n", "white space"),
            ("https://", "not a server's address"),
            ("https://u@pool.example.org", "no user"),
            ("https://u:s3cret@pool.example.org", "no user"),
            ("https://u:s3cret@", "not a server's address"),
            ("https://pool.example.org?x=1", "ends with the path"),
            ("https://pool.example.org/#x", "ends with the path"),
            ("https://pool.example.org/a;b", "not usable"),
            ("https://pool.example.org/a%20b", "not usable"),
            ("https://pool.example.org/a//b", "not usable"),
            ("https://pool.example.org/api/x", "/api"),
            ("https://pool.example.org/hosts", "/hosts"),
        ] {
            let said = text.parse::<PublicUrl>().unwrap_err();
            assert!(said.contains(why) && !said.contains("s3cret"), "{text:?}: {said}");
        }
    }
}
