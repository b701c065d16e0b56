//! Redirects, and addresses in responses.

use axum::response::{IntoResponse, Redirect, Response};

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

/// A percent-encoded query value.
pub(crate) fn encoded(text: &str) -> String {
    percent_encode(text, |byte| {
        byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte)
    })
}

/// An address for a header: everything but visible ASCII is percent-encoded.
pub(crate) fn visible(address: &str) -> String {
    percent_encode(address, |byte| byte.is_ascii_graphic())
}

fn percent_encode(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
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
}
