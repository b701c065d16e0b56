//! Base path of the public URL, such as `/pool`.
//!
//! A proxy may keep or strip the base path, so requests below it and at the root are equivalent. This module
//! strips it from requests and adds it to `Location`; the dashboard adds it to pages and cookies.

use axum::{Router, extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, Uri, header, uri::PathAndQuery};
use std::{convert::Infallible, sync::Arc};
use tower::{Service as _, service_fn};

/// Serves a router also below a base path; an empty one changes nothing.
pub(crate) fn with_base_path(base: &str, app: Router) -> Router {
    if base.is_empty() {
        return app;
    }
    let base: Arc<str> = base.into();
    let app = app.with_state(());
    Router::new().fallback_service(service_fn(move |mut request: Request| {
        let (base, mut app) = (Arc::clone(&base), app.clone());
        if let Some(stripped) = strip_base(request.uri(), &base) {
            *request.uri_mut() = stripped;
        }
        async move {
            let mut response: Response = app.call(request).await?;
            prefix_location(response.headers_mut(), &base);
            Ok::<_, Infallible>(response)
        }
    }))
}

/// The URI without the base path; `None` if it is not below it.
fn strip_base(uri: &Uri, base: &str) -> Option<Uri> {
    let rest = uri.path().strip_prefix(base)?;
    let path = match rest {
        "" => "/",
        rest if rest.starts_with('/') => rest,
        _ => return None,
    };
    let whole = uri
        .query()
        .map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(whole).ok()?);
    Uri::from_parts(parts).ok()
}

/// Adds the base path to a local `Location`.
fn prefix_location(headers: &mut HeaderMap, base: &str) {
    let Some(location) = headers.get(header::LOCATION).map(HeaderValue::as_bytes) else {
        return;
    };
    if location.starts_with(b"/") && !location.starts_with(b"//") {
        let prefixed = HeaderValue::from_bytes(&[base.as_bytes(), location].concat())
            .expect("a header value after unreserved characters");
        headers.insert(header::LOCATION, prefixed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_base_path_are_stripped() {
        for (uri, stripped) in [
            ("/pool", Some("/")),
            ("/pool/", Some("/")),
            ("/pool/hosts?state=active", Some("/hosts?state=active")),
            ("/pool?x=1", Some("/?x=1")),
            ("http://h:1/pool/a", Some("http://h:1/a")),
            ("/pool/pool/a", Some("/pool/a")),
            ("/poolside", None),
            ("/hosts", None),
            ("/", None),
        ] {
            assert_eq!(
                strip_base(&uri.parse().unwrap(), "/pool")
                    .map(|uri| uri.to_string())
                    .as_deref(),
                stripped,
                "{uri}"
            );
        }
    }

    #[test]
    fn only_local_locations_get_the_base_path() {
        for (location, prefixed) in [
            ("/status", "/pool/status"),
            ("//evil", "//evil"),
            ("https://a/", "https://a/"),
        ] {
            let mut headers = HeaderMap::from_iter([(header::LOCATION, location.parse().unwrap())]);
            prefix_location(&mut headers, "/pool");
            assert_eq!(headers[header::LOCATION], prefixed);
        }
    }
}
