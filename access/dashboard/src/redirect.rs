//! Redirects, and addresses in responses.

use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// Redirects after a form with 303, so that a reload does not submit it again.
pub(crate) fn see_other(address: &str) -> Response {
    Redirect::to(&visible(address)).into_response()
}

/// A redirect target on this site; the status page for anything else.
pub(crate) fn safe_redirect(next: Option<&str>) -> &str {
    let is_local = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && !path.contains('\\')
            && !path.contains(char::is_control)
    };
    next.filter(is_local).unwrap_or("/status")
}

/// Bytes of a query value to encode: all but the unreserved ones (RFC 3986) and `/`.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Bytes of an address to encode in a header: all but visible ASCII.
const INVISIBLE: &AsciiSet = &CONTROLS.add(b' ');

/// A percent-encoded query value.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, QUERY_VALUE).to_string()
}

/// An address for a header: everything but visible ASCII is percent-encoded.
pub(crate) fn visible(address: &str) -> String {
    utf8_percent_encode(address, INVISIBLE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_never_leaves_the_site() {
        assert_eq!(safe_redirect(Some("/hosts?state=active")), "/hosts?state=active");
        for bad in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "evil",
            "/a\r\nb",
            "/\u{b}/x",
            "/\u{7f}",
            "/\u{85}",
        ] {
            assert_eq!(safe_redirect(Some(bad)), "/status", "{bad}");
        }
    }

    #[test]
    fn an_address_in_a_header_is_visible_ascii() {
        assert_eq!(
            visible("/hosts?search=ü b\u{b}&x=%41"),
            "/hosts?search=%C3%BC%20b%0B&x=%41"
        );
    }
    #[test]
    fn a_query_value_keeps_only_unreserved_characters_and_slashes() {
        assert_eq!(
            encoded("/hosts?a=b&c=ü%+#\u{7f} -._~"),
            "/hosts%3Fa%3Db%26c%3D%C3%BC%25%2B%23%7F%20-._~"
        );
    }
}
