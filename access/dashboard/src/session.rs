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
use chainpool_api::{Session, Timestamp};
use chainpool_orchestrator::{Access, Error};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::net::SocketAddr;

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
pub(crate) fn start(mut response: Response, session: &Session, info: &RequestInfo) -> Response {
    let seconds = session.expires_at.millis_since(Timestamp::now()) / 1000;
    add_cookie(
        &mut response,
        &info.site.session_cookie(info.https),
        &session.token,
        seconds.max(0),
        info,
        true,
    );
    response
}

/// Removes the session cookie.
pub(crate) fn end(mut response: Response, info: &RequestInfo) -> Response {
    add_cookie(
        &mut response,
        &info.site.session_cookie(info.https),
        "",
        0,
        info,
        true,
    );
    response
}

/// Stores the theme for a year.
pub(crate) fn remember_theme(mut response: Response, theme: &str, info: &RequestInfo) -> Response {
    add_cookie(&mut response, THEME, theme, 31_536_000, info, false);
    response
}

fn add_cookie(
    response: &mut Response,
    name: &str,
    value: &str,
    seconds: i64,
    info: &RequestInfo,
    strict: bool,
) {
    let same_site = if strict { "Strict" } else { "Lax" };
    let secure = if info.https { "; Secure" } else { "" };
    let path = info.site.cookie_path();
    let cookie =
        format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite={same_site}{secure}");
    let cookie = HeaderValue::try_from(cookie).expect("names, tokens and paths are visible ASCII");
    response.headers_mut().append(header::SET_COOKIE, cookie);
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
