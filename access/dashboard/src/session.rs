//! Who asks: the cookie, the way to the sign-in page, and the refusal of posts from other sites.

use crate::{
    error::{Refused, refused_page},
    site::Site,
    state::App,
};
use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use chainpool_api::{Session, Timestamp};
use chainpool_orchestrator::{Access, Caller, Error, StreamOf};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use std::{convert::Infallible, net::SocketAddr, sync::Arc};
use uuid::Uuid;

const THEME: &str = "chainpool_theme";

/// Until who was refused for too many forms at once tries again, in seconds.
const FORMS_WAIT: u64 = 5;

/// How a request came.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// Path and query, for the way back.
    pub(crate) path: String,
    /// `light`, `dark` or `auto`.
    pub(crate) theme: &'static str,
    /// By https: the cookie may travel that way only.
    pub(crate) https: bool,
    /// The script asks again for what it shows: without the frame.
    pub(crate) fragment: bool,
    /// Names the request in logs and in the audit.
    pub(crate) request_id: String,
    /// The client's address, for the sign-in limit.
    pub(crate) from: String,
    /// The secret of the cookie.
    pub(crate) secret: Option<String>,
    /// Where the pages stand.
    pub(crate) site: Arc<Site>,
}

/// A signed-in request.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// Who asks.
    pub(crate) caller: Caller,
    /// How.
    pub(crate) manner: Manner,
}

impl Visit {
    /// Resolves when a stream of this visit must end: the visitor is signed out, or may not read any more what is shown.
    pub(crate) fn stream_end(
        &self,
        app: &App,
        of: StreamOf,
    ) -> Result<impl Future<Output = ()> + Send + use<>, Refused> {
        let secret = self.manner.secret.as_ref().ok_or(Error::Unauthenticated)?;
        Ok(app.orchestrator.stream_end(&self.caller, secret, of))
    }

    /// The value of one part of the query.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        self.manner.query(name)
    }
}

impl Manner {
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
        let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Self {
            path: uri
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str)
                .to_owned(),
            theme,
            https: site.is_https(headers),
            fragment: headers.contains_key("x-fragment"),
            request_id: id.unwrap_or_else(|| Uuid::now_v7().to_string()),
            from: from.map_or_else(|| "unknown".to_owned(), |info| info.0.ip().to_string()),
            secret: site.session(request),
            site,
        }
    }

    /// The value of one part of the query.
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

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Refused;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Error::Unauthenticated.into())
    }
}

impl<S: Sync> FromRequestParts<S> for Manner {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts
            .extensions
            .get::<Self>()
            .cloned()
            .expect("every page's route has a layer that puts it there"))
    }
}

/// Lets the signed-in through, sends others to the sign-in page, and draws what was refused as a page.
pub(crate) async fn require(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let manner = Manner::of(&request);
    let found = match &manner.secret {
        Some(secret) => app.orchestrator.authenticate(secret).await,
        None => Err(Error::Unauthenticated),
    };
    match found {
        Ok(mut caller) => {
            caller.request_id = Some(manner.request_id.clone());
            let visit = Visit {
                caller,
                manner: manner.clone(),
            };
            request.extensions_mut().insert(manner);
            request.extensions_mut().insert(visit.clone());
            let response = next.run(request).await;
            refused_page(&app, Some(&visit), &visit.manner, response).await
        }
        Err(Error::Unauthenticated) => sign_in_first(&request, &manner),
        Err(error) => refused_page(&app, None, &manner, Refused::from(error).into_response()).await,
    }
}

/// Lets through whom the façade's policy gives what a route asks for. It is the façade that refuses in each method, too; here
/// it does so before a form is read or a page without any data is drawn.
pub(crate) async fn permit(access: Access, visit: Visit, request: Request, next: Next) -> Response {
    match access.check(&visit.caller) {
        Ok(()) => next.run(request).await,
        Err(error) => Refused::from(error).into_response(),
    }
}

/// Lets everybody through: for the pages by which one gets in.
pub(crate) async fn anyone(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let manner = Manner::of(&request);
    request.extensions_mut().insert(manner.clone());
    // A form is read and answered before anybody knows who sends it: not too many of them at once.
    let address = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let share = if reads {
        None
    } else {
        manner.site.anonymous.take(address)
    };
    let response = if reads || share.is_some() {
        next.run(request).await
    } else {
        Refused::from(Error::TooMany(FORMS_WAIT)).into_response()
    };
    drop(share);
    refused_page(&app, None, &manner, response).await
}

fn sign_in_first(request: &Request, manner: &Manner) -> Response {
    let accepts = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accepts.starts_with("text/event-stream") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let home = manner.path == "/" || request.method() != Method::GET;
    let target = if home {
        "/sign-in".to_owned()
    } else {
        format!("/sign-in?next={}", encoded(&manner.path))
    };
    Redirect::to(&target).into_response()
}

/// A path on this site to go on to, or the first page: never another site.
pub(crate) fn local(next: Option<&str>) -> &str {
    let is_local = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && !path.contains('\\')
            && !path.contains(char::is_control)
    };
    next.filter(is_local).unwrap_or("/status")
}

/// A text as one part of an address.
pub(crate) fn encoded(text: &str) -> String {
    quoted(text, |byte| {
        byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte)
    })
}

/// An address as it may stand in a header: whatever is not visible ASCII is quoted.
pub(crate) fn visible(address: &str) -> String {
    quoted(address, |byte| byte.is_ascii_graphic())
}

fn quoted(text: &str, plain: impl Fn(u8) -> bool) -> String {
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

/// Adds a session's cookie to a response.
pub(crate) fn begin(mut response: Response, session: &Session, manner: &Manner) -> Response {
    let seconds = session.expires_at.millis_since(Timestamp::now()) / 1000;
    add_cookie(
        &mut response,
        &manner.site.session_cookie(manner.https),
        &session.token,
        seconds.max(0),
        manner,
        true,
    );
    response
}

/// Takes the session's cookie away.
pub(crate) fn end(mut response: Response, manner: &Manner) -> Response {
    add_cookie(
        &mut response,
        &manner.site.session_cookie(manner.https),
        "",
        0,
        manner,
        true,
    );
    response
}

/// Remembers the theme for a year.
pub(crate) fn remember_theme(mut response: Response, theme: &str, manner: &Manner) -> Response {
    add_cookie(&mut response, THEME, theme, 31_536_000, manner, false);
    response
}

fn add_cookie(response: &mut Response, name: &str, value: &str, seconds: i64, manner: &Manner, strict: bool) {
    let same_site = if strict { "Strict" } else { "Lax" };
    let secure = if manner.https { "; Secure" } else { "" };
    let path = manner.site.cookie_path();
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

/// Refuses what would change something when it comes from another site. The cookie's `SameSite` says the same; this holds
/// where a browser does not know it. A request without either header comes from no page at all.
pub(crate) async fn same_site_posts(request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) && is_foreign(request.headers()) {
        return (
            StatusCode::FORBIDDEN,
            "this form was sent from another site; open the dashboard and try again there",
        )
            .into_response();
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap) -> bool {
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
    let reached = [text("x-forwarded-host"), text("host")];
    !reached
        .into_iter()
        .flatten()
        .any(|host| host.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_never_leaves_the_site() {
        assert_eq!(local(Some("/hosts?state=active")), "/hosts?state=active");
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
            assert_eq!(local(Some(bad)), "/status", "{bad}");
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
    fn posts_of_other_sites_are_foreign() {
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
        assert!(is_foreign(&headers(&[("sec-fetch-site", "cross-site")])));
        assert!(is_foreign(&headers(&[("sec-fetch-site", "same-site")])));
        assert!(is_foreign(&headers(&[
            ("origin", "http://evil.example"),
            ("host", "127.0.0.1:8080")
        ])));
        assert!(is_foreign(&headers(&[
            ("origin", "null"),
            ("host", "127.0.0.1:8080")
        ])));
        assert!(!is_foreign(&headers(&[
            ("origin", "http://127.0.0.1:8080"),
            ("host", "127.0.0.1:8080")
        ])));
        assert!(!is_foreign(&headers(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "null")
        ])));
        assert!(!is_foreign(&headers(&[])));
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
