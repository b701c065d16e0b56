//! Sessions: the cookie, the redirect to the sign-in page, and the rejection of cross-site forms.

use crate::{
    error::{Rejection, render_rejection},
    site::Site,
    state::App,
};
use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use chainpool_api::{Session, Timestamp};
use chainpool_orchestrator::{Access, Caller, Error, StreamScope};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use std::{convert::Infallible, net::SocketAddr, sync::Arc};
use uuid::Uuid;

const THEME: &str = "chainpool_theme";

/// `Retry-After` for too many concurrent forms, in seconds.
const FORMS_RETRY_AFTER: u64 = 5;

/// Properties of a request that do not depend on sign-in.
#[derive(Debug, Clone)]
pub(crate) struct RequestInfo {
    /// Path and query.
    pub(crate) path: String,
    /// `light`, `dark` or `auto`.
    pub(crate) theme: &'static str,
    /// True for HTTPS: the cookie is then marked `Secure`.
    pub(crate) https: bool,
    /// True if the script requests the content only, without the frame.
    pub(crate) fragment: bool,
    /// The request ID, for logs and the audit log.
    pub(crate) request_id: String,
    /// The client's address, for the sign-in limit.
    pub(crate) client_address: String,
    /// The session secret from the cookie.
    pub(crate) secret: Option<String>,
    /// How browsers reach the dashboard.
    pub(crate) site: Arc<Site>,
}

/// A signed-in request.
#[derive(Debug, Clone)]
pub(crate) struct AuthedRequest {
    /// The caller.
    pub(crate) caller: Caller,
    /// Properties of the request.
    pub(crate) info: RequestInfo,
}

impl AuthedRequest {
    /// Resolves when a stream of this request must end: the caller is signed out or loses access.
    pub(crate) fn stream_end(
        &self,
        app: &App,
        scope: StreamScope,
    ) -> Result<impl Future<Output = ()> + Send + use<>, Rejection> {
        let secret = self.info.secret.as_ref().ok_or(Error::Unauthenticated)?;
        Ok(app.orchestrator.stream_end(&self.caller, secret, scope))
    }

    /// The value of a query parameter; `None` if empty.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        self.info.query(name)
    }
}

impl RequestInfo {
    fn of(request: &Request) -> Self {
        let headers = request.headers();
        let uri = request.uri();
        let site = request
            .extensions()
            .get::<Arc<Site>>()
            .cloned()
            .unwrap_or_default();
        let theme = match cookie(headers, THEME).as_deref() {
            Some("light") => "light",
            Some("dark") => "dark",
            _ => "auto",
        };
        let id = headers
            .get("x-request-id")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Self {
            path: uri
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str)
                .to_owned(),
            theme,
            https: site.is_https(headers),
            fragment: headers.contains_key("x-fragment"),
            request_id: id.unwrap_or_else(|| Uuid::now_v7().to_string()),
            client_address: peer.map_or_else(|| "unknown".to_owned(), |info| info.0.ip().to_string()),
            secret: site.session(request),
            site,
        }
    }

    /// The value of a query parameter; `None` if empty.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let query = query.split('#').next().unwrap_or_default();
        let pairs: Vec<(String, String)> =
            axum::extract::Query::try_from_uri(&format!("/?{query}").parse().ok()?)
                .ok()?
                .0;
        pairs
            .into_iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    }
}

impl<S: Sync> FromRequestParts<S> for AuthedRequest {
    type Rejection = Rejection;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Error::Unauthenticated.into())
    }
}

impl<S: Sync> FromRequestParts<S> for RequestInfo {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts
            .extensions
            .get::<Self>()
            .cloned()
            .expect("every route has a layer that inserts it"))
    }
}

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

/// The value of a cookie.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut pairs = all
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
        .filter(|value| !value.is_empty())
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

    #[test]
    fn one_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::COOKIE,
            HeaderValue::from_static("a=1; chainpool_session=s3cret=; chainpool_theme=dark"),
        );
        assert_eq!(cookie(&headers, "chainpool_session").as_deref(), Some("s3cret="));
        assert_eq!(cookie(&headers, "none"), None);
    }
}
