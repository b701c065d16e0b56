//! A request of a page: its properties, and its caller after sign-in.

use crate::{cookie::cookie, error::Rejection, site::Site, state::App};
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use chainpool_orchestrator::{Caller, Error, StreamScope};
use http::request::Parts;
use std::{convert::Infallible, net::SocketAddr, sync::Arc};
use url::form_urlencoded;
use uuid::Uuid;

/// The name of the theme cookie.
pub(crate) const THEME: &str = "chainpool_theme";

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
    /// The properties of a request.
    pub(crate) fn of(request: &Request) -> Self {
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
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
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
