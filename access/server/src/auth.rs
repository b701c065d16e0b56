//! Who asks: the bearer token of a session or of a program, and nothing else. Cookies are not looked at, so no page
//! elsewhere can make a browser ask in its user's name.

use crate::{
    error::{Answer, Refusal},
    request::request_id,
    state::Server,
};
use axum::extract::{ConnectInfo, FromRequestParts};
use chainpool_orchestrator::{Caller, Error, RequestKey, StreamOf};
use http::{Extensions, HeaderMap, HeaderName, Method, header, request::Parts};
use sha2::{Digest, Sha256};
use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

/// Makes a repeated request the same one.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Who asks, on a route that takes no body. The anonymous gets no further than this.
pub(crate) struct Auth(pub(crate) Caller);

impl FromRequestParts<Server> for Auth {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Answer<Self> {
        let mut caller = caller(parts, server).await?;
        caller.key = request_key(parts, &[])?;
        Ok(Self(caller))
    }
}

/// The secret that was sent, for the few routes that act on it.
pub(crate) struct Bearer(pub(crate) String);

impl FromRequestParts<Server> for Bearer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Server) -> Answer<Self> {
        Ok(Self(bearer(&parts.headers)?.to_owned()))
    }
}

/// Where the request comes from, for the limit on sign-ins.
pub(crate) struct From(pub(crate) String);

impl FromRequestParts<Server> for From {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Server) -> Answer<Self> {
        Ok(Self(client(&parts.extensions).map_or_else(
            || "unknown".to_owned(),
            |address| address.to_string(),
        )))
    }
}

/// The client's address, as the listener found it.
pub(crate) fn client(extensions: &Extensions) -> Option<IpAddr> {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip())
}

/// Finds out who asks. The limit comes first, because a token over it shall cost nothing more.
pub(crate) async fn caller(parts: &Parts, server: &Server) -> Answer<Caller> {
    let secret = bearer(&parts.headers)?;
    if let Some(limiter) = &server.limiter
        && !limiter.take(secret, Instant::now())
    {
        return Err(Refusal::too_many(1));
    }
    let mut caller = server.orchestrator.authenticate(secret).await?;
    caller.request_id = request_id(&parts.headers);
    Ok(caller)
}

/// The token in `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Answer<&str> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .ok_or(Error::Unauthenticated)?;
    match value.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") && !secret.trim().is_empty() => {
            Ok(secret.trim())
        }
        _ => Err(Error::Unauthenticated.into()),
    }
}

/// What makes this request and another the same; absent without the header. The query counts as part of the body,
/// because `?force=true` asks for something else.
pub(crate) fn request_key(parts: &Parts, body: &[u8]) -> Answer<Option<RequestKey>> {
    let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    if matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(None);
    }
    let visible = value.as_bytes().iter().all(u8::is_ascii_graphic);
    let key = value
        .to_str()
        .ok()
        .filter(|key| visible && (1..=128).contains(&key.len()));
    let key = key.ok_or_else(|| {
        Refusal::field(
            "Idempotency-Key",
            "must be 1 to 128 visible ASCII characters without spaces",
        )
    })?;
    let mut hash = Sha256::new();
    if let Some(query) = parts.uri.query() {
        hash.update(query);
        hash.update([0]);
    }
    hash.update(body);
    let route = format!("{} {}", parts.method, parts.uri.path());
    Ok(Some(RequestKey {
        route,
        key: key.to_owned(),
        body: hash.finalize().into(),
    }))
}

/// Ends when a stream must: at shutdown, or when its caller may not go on.
pub(crate) async fn stream_end(server: Server, caller: Caller, secret: String, of: StreamOf) {
    tokio::select! {
        () = server.orchestrator.stream_end(&caller, &secret, of) => (),
        () = server.shutdown.cancelled() => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_a_bearer_token_counts() {
        let token = |value: &str| {
            bearer(&parts("GET", "/", &[("authorization", value)]).headers)
                .ok()
                .map(str::to_owned)
        };
        assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("bearer  abc ").as_deref(), Some("abc"));
        for bad in ["", "abc", "Bearer", "Bearer  ", "Basic YTpi"] {
            assert_eq!(token(bad), None, "{bad:?}");
        }
        assert!(bearer(&parts("GET", "/", &[("cookie", "session=abc")]).headers).is_err());
    }

    #[test]
    fn a_key_covers_route_query_and_body() {
        let key = |uri: &str, body: &[u8]| {
            request_key(&parts("POST", uri, &[("idempotency-key", "k1")]), body)
                .unwrap()
                .unwrap()
        };
        assert_eq!(key("/a", b"x").route, "POST /a");
        assert_eq!(key("/a", b"x"), key("/a", b"x"));
        assert_eq!(key("/a", b"x").body, <[u8; 32]>::from(Sha256::digest(b"x")));
        assert_ne!(key("/a", b"x").body, key("/a", b"y").body);
        assert_ne!(key("/a?force=true", b"").body, key("/a", b"").body);
        assert_eq!(
            request_key(&parts("GET", "/a", &[("idempotency-key", "k1")]), b"").unwrap(),
            None
        );
        assert_eq!(request_key(&parts("POST", "/a", &[]), b"").unwrap(), None);
    }

    #[test]
    fn a_bad_key_is_refused_by_name() {
        for bad in ["", "a b", "a\tb", &"k".repeat(129)] {
            let refusal = request_key(&parts("POST", "/a", &[("idempotency-key", bad)]), b"").unwrap_err();
            assert!(
                refusal.problem("r").fields.contains_key("Idempotency-Key"),
                "{bad:?}"
            );
        }
    }
}
