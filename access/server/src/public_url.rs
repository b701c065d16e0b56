//! Server URLs from user input: this server's public URL, and `--server` of the command line.

use std::{fmt, str::FromStr};
use url::Url;

/// First segments of Chainpool's own paths. A proxy may keep or strip the base path, so a base path must not
/// start with one of them.
const RESERVED: [&str; 17] = [
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

/// Parses an `http` or `https` URL with a host and nothing after the path. The error never quotes a URL that
/// may contain a secret.
pub fn http_url(text: &str) -> Result<Url, String> {
    let shown = if text.contains('@') {
        "this".to_owned()
    } else {
        format!("{text:?}")
    };
    let wrong = |why: &str| {
        format!(
            "{shown} is not a server URL: {why}; use the form https://pool.example.org or http://127.0.0.1:8080"
        )
    };
    // The parser drops some white space and would accept a different URL.
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(wrong("contains white space"));
    }
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a server URL must contain no user and no password; use an API token".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must end with the path"));
    }
    Ok(url)
}

/// Public URL of this server, with its base path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    url: String,
    base: String,
    https: bool,
}

impl PublicUrl {
    /// `true` for https.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Base path, such as `/pool`; empty at the root.
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
        // Unreserved characters only: segments are used unescaped in cookies and pages.
        if !segments
            .clone()
            .all(|segment| !segment.is_empty() && segment.bytes().all(is_plain))
        {
            return Err(format!(
                "unsupported path {:?}; use letters, digits, - . _ and ~ between single slashes",
                url.path()
            ));
        }
        if let Some(first) = segments.next().filter(|first| RESERVED.contains(first)) {
            return Err(format!(
                "the path must not begin with /{first}, which is reserved; use another, such as /chainpool"
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
    fn a_public_url_keeps_its_path_without_trailing_slash() {
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
    fn an_invalid_public_url_is_rejected_with_the_reason() {
        for (text, why) in [
            ("", "not a server URL"),
            ("nonsense", "not a server URL"),
            ("ftp://pool.example.org", "http:// or https://"),
            ("file:///etc/passwd", "http:// or https://"),
            ("https://a b", "white space"),
            (" https://a", "white space"),
            ("https://a\n", "white space"),
            ("https://", "not a server URL"),
            ("https://u@pool.example.org", "no user"),
            ("https://u:s3cret@pool.example.org", "no user"),
            ("https://u:s3cret@", "not a server URL"),
            ("https://pool.example.org?x=1", "end with the path"),
            ("https://pool.example.org/#x", "end with the path"),
            ("https://pool.example.org/a;b", "unsupported path"),
            ("https://pool.example.org/a%20b", "unsupported path"),
            ("https://pool.example.org/a//b", "unsupported path"),
            ("https://pool.example.org/api/x", "/api"),
            ("https://pool.example.org/hosts", "/hosts"),
        ] {
            let error = text.parse::<PublicUrl>().unwrap_err();
            assert!(
                error.contains(why) && !error.contains("s3cret"),
                "{text:?}: {error}"
            );
        }
    }
}
