//! Sessions: the cookie, the redirect to the sign-in page, and the rejection of cross-site forms.

use crate::{
    error::Rejection,
    error_page::render_rejection,
    redirect::encoded,
    request::{AuthedRequest, RequestInfo, THEME},
    state::App,
};
use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use chainpool_api::{Session, Timestamp};
use chainpool_orchestrator::{Access, Error};
use http::{HeaderMap, Method, StatusCode, header};
use std::net::SocketAddr;
use time::Duration;

/// `Retry-After` for too many concurrent forms, in seconds.
const FORMS_RETRY_AFTER: u64 = 5;

/// Requires sign-in: redirects other requests to the sign-in page, and renders rejections as pages.
pub(crate) async fn require_sign_in(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let info = RequestInfo::of(&request);
    let found = match &info.secret {
        Some(secret) => app.orchestrator.authenticate(secret).await,
        None => Err(Error::Unauthenticated),
    };
    match found {
        Ok(mut caller) => {
            caller.request_id = Some(info.request_id.clone());
            let authed = AuthedRequest {
                caller,
                info: info.clone(),
            };
            request.extensions_mut().insert(info);
            request.extensions_mut().insert(authed.clone());
            let response = next.run(request).await;
            render_rejection(&app, Some(&authed), &authed.info, response).await
        }
        Err(Error::Unauthenticated) => redirect_to_sign_in(&request, &info),
        Err(error) => render_rejection(&app, None, &info, Rejection::from(error).into_response()).await,
    }
}

/// Checks the access that a route requires. The façade checks again in each method; this check runs before a
/// form is read or a page without data is rendered.
pub(crate) async fn permit(access: Access, authed: AuthedRequest, request: Request, next: Next) -> Response {
    match access.check(&authed.caller) {
        Ok(()) => next.run(request).await,
        Err(error) => Rejection::from(error).into_response(),
    }
}

/// Allows requests without sign-in, for the sign-in pages.
pub(crate) async fn allow_anyone(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let info = RequestInfo::of(&request);
    request.extensions_mut().insert(info.clone());
    // Forms on these routes are read before the caller is known, so their concurrency is limited.
    let address = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let permit = if reads {
        None
    } else {
        info.site.anonymous.acquire(address)
    };
    let response = if reads || permit.is_some() {
        next.run(request).await
    } else {
        Rejection::from(Error::TooMany(FORMS_RETRY_AFTER)).into_response()
    };
    drop(permit);
    render_rejection(&app, None, &info, response).await
}

fn redirect_to_sign_in(request: &Request, info: &RequestInfo) -> Response {
    let accepts = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accepts.starts_with("text/event-stream") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let home = info.path == "/" || request.method() != Method::GET;
    let target = if home {
        "/sign-in".to_owned()
    } else {
        format!("/sign-in?next={}", encoded(&info.path))
    };
    Redirect::to(&target).into_response()
}

/// Adds the session cookie to a response.
pub(crate) fn start(response: Response, session: &Session, info: &RequestInfo) -> Response {
    let lifetime = Duration::milliseconds(session.expires_at.millis_since(Timestamp::now()));
    with_session_cookie(
        response,
        session.token.clone(),
        lifetime.max(Duration::ZERO),
        info,
    )
}

/// Removes the session cookie.
pub(crate) fn end(response: Response, info: &RequestInfo) -> Response {
    with_session_cookie(response, String::new(), Duration::ZERO, info)
}

/// Stores the theme for a year.
pub(crate) fn remember_theme(response: Response, theme: &'static str, info: &RequestInfo) -> Response {
    let cookie = Cookie::build((THEME, theme))
        .same_site(SameSite::Lax)
        .max_age(Duration::days(365));
    with_cookie(response, cookie, info)
}

fn with_session_cookie(
    response: Response,
    secret: String,
    lifetime: Duration,
    info: &RequestInfo,
) -> Response {
    let cookie = Cookie::build((info.site.session_cookie(info.https), secret))
        .same_site(SameSite::Strict)
        .max_age(lifetime);
    with_cookie(response, cookie, info)
}

fn with_cookie(response: Response, cookie: impl Into<Cookie<'static>>, info: &RequestInfo) -> Response {
    let mut cookie = cookie.into();
    cookie.set_path(info.site.cookie_path().to_owned());
    cookie.set_http_only(true);
    cookie.set_secure(info.https);
    (CookieJar::new().add(cookie), response).into_response()
}

/// Rejects state-changing requests from other sites. The cookie's `SameSite` does the same; this covers
/// browsers without support for it. A request without either header does not come from a page.
pub(crate) async fn reject_cross_site(request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) && is_cross_site(request.headers()) {
        return (
            StatusCode::FORBIDDEN,
            "the form was submitted from another site; open the dashboard and try again",
        )
            .into_response();
    }
    next.run(request).await
}

fn is_cross_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else {
        return false;
    };
    let Some((_, authority)) = origin.split_once("://") else {
        return true;
    };
    let own_hosts = [text("x-forwarded-host"), text("host")];
    !own_hosts
        .into_iter()
        .flatten()
        .any(|host| host.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn posts_from_other_sites_are_cross_site() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|(name, value)| {
                    (
                        http::HeaderName::from_static(name),
                        HeaderValue::from_static(value),
                    )
                })
                .collect::<HeaderMap>()
        };
        assert!(is_cross_site(&headers(&[("sec-fetch-site", "cross-site")])));
        assert!(is_cross_site(&headers(&[("sec-fetch-site", "same-site")])));
        assert!(is_cross_site(&headers(&[
            ("origin", "http://evil.example"),
            ("host", "127.0.0.1:8080")
        ])));
        assert!(is_cross_site(&headers(&[
            ("origin", "null"),
            ("host", "127.0.0.1:8080")
        ])));
        assert!(!is_cross_site(&headers(&[
            ("origin", "http://127.0.0.1:8080"),
            ("host", "127.0.0.1:8080")
        ])));
        assert!(!is_cross_site(&headers(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "null")
        ])));
        assert!(!is_cross_site(&headers(&[])));
    }
}
