//! The cookies of a request.

use axum_extra::extract::cookie::Cookie;
use http::{HeaderMap, header};

/// The value of a cookie; `None` if empty. Of several with this name the first counts: browsers send the one
/// with the longest path first (RFC 6265, section 5.4), and a cookie from a previous base path must not hide
/// it.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(Cookie::split_parse_encoded)
        .flatten()
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| (header::COOKIE, HeaderValue::from_static(line)))
            .collect()
    }

    #[test]
    fn one_cookie_is_found_among_others() {
        let headers = headers(&[
            "a=1; chainpool_session=s3cret=; ; b; =c",
            "chainpool_theme=dark; d=%C3%BC%ff; empty=; encoded=a%20b",
        ]);
        assert_eq!(cookie(&headers, "chainpool_session").as_deref(), Some("s3cret="));
        assert_eq!(cookie(&headers, "chainpool_theme").as_deref(), Some("dark"));
        assert_eq!(cookie(&headers, "encoded").as_deref(), Some("a b"));
        assert_eq!(
            (cookie(&headers, "empty"), cookie(&headers, "none")),
            (None, None)
        );
    }

    #[test]
    fn the_first_cookie_of_a_name_counts() {
        for lines in [&["s=new; s=old"][..], &["s=new", "s=old"]] {
            assert_eq!(cookie(&headers(lines), "s").as_deref(), Some("new"));
        }
    }
}
