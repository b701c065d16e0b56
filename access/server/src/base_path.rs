//! Everything below a path, such as `/pool`, where the public URL has one.
//!
//! A proxy may pass the path on or take it away: requests below it and at the root mean the same. Inside, no path has it;
//! it is taken off here and put before addresses that leave: `Location` here, those in pages and cookies by the dashboard.

use axum::{Router, extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, Uri, header, uri::PathAndQuery};
use std::{convert::Infallible, sync::Arc};
use tower::{Service as _, service_fn};

/// Serves a router below a path, too; an empty one changes nothing.
pub(crate) fn below(base: &str, app: Router) -> Router {
    if base.is_empty() {
        return app;
    }
    let base: Arc<str> = base.into();
    let app = app.with_state(());
    Router::new().fallback_service(service_fn(move |mut request: Request| {
        let (base, mut app) = (Arc::clone(&base), app.clone());
        if let Some(inside) = inside(request.uri(), &base) {
            *request.uri_mut() = inside;
        }
        async move {
            let mut response: Response = app.call(request).await?;
            put_before(response.headers_mut(), &base);
            Ok::<_, Infallible>(response)
        }
    }))
}

/// The address without the path; `None`: it is not below it.
fn inside(uri: &Uri, base: &str) -> Option<Uri> {
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

/// Puts the path before the address that an answer leads to, when it is one of this server.
fn put_before(headers: &mut HeaderMap, base: &str) {
    let Some(place) = headers.get(header::LOCATION).map(HeaderValue::as_bytes) else {
        return;
    };
    if place.starts_with(b"/") && !place.starts_with(b"//") {
        let whole = HeaderValue::from_bytes(&[base.as_bytes(), place].concat())
            .expect("a header's value after plain characters");
        headers.insert(header::LOCATION, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_the_path_loses_it() {
        for (outside, inside_is) in [
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
                inside(&outside.parse().unwrap(), "/pool")
                    .map(|uri| uri.to_string())
                    .as_deref(),
                inside_is,
                "{outside}"
            );
        }
    }

    #[test]
    fn an_address_of_this_server_gets_the_path() {
        for (place, whole) in [
            ("/status", "/pool/status"),
            ("//evil", "//evil"),
            ("https://a/", "https://a/"),
        ] {
            let mut headers = HeaderMap::from_iter([(header::LOCATION, place.parse().unwrap())]);
            put_before(&mut headers, "/pool");
            assert_eq!(headers[header::LOCATION], whole);
        }
    }
}
