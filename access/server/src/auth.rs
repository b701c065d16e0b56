//! Authentication by bearer token, of a session or a program. Cookies are ignored, which prevents cross-site
//! request forgery.

use crate::{
    error::{ApiError, ApiResult},
    request::request_id,
    state::Server,
};
use axum::extract::FromRequestParts;
use chainpool_orchestrator::{Caller, Error, RequestKey, StreamScope};
use http::{HeaderMap, HeaderName, Method, header, request::Parts};
use sha2::{Digest, Sha256};

/// Header that makes repeated requests idempotent.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The authenticated caller, on routes without a body.
pub(crate) struct Auth(pub(crate) Caller);

impl FromRequestParts<Server> for Auth {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> ApiResult<Self> {
        let mut caller = caller(parts, server).await?;
        caller.key = request_key(parts, &[])?;
        Ok(Self(caller))
    }
}

/// The secret of the request, for the few routes that need it.
pub(crate) struct Bearer(pub(crate) String);

impl FromRequestParts<Server> for Bearer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Server) -> ApiResult<Self> {
        Ok(Self(bearer(&parts.headers)?.to_owned()))
    }
}

/// Authenticates the caller. The rate limit comes first, so rejected requests stay cheap.
pub(crate) async fn caller(parts: &Parts, server: &Server) -> ApiResult<Caller> {
    let secret = bearer(&parts.headers)?;
    if let Some(limiter) = &server.limiter {
        limiter.take(secret).map_err(ApiError::too_many)?;
    }
    let mut caller = server.orchestrator.authenticate(secret).await?;
    caller.request_id = request_id(&parts.headers);
    Ok(caller)
}

/// The token in `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> ApiResult<&str> {
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

/// The idempotency key of the request; `None` without the header. The query counts as part of the body,
/// because `?force=true` is a different request.
pub(crate) fn request_key(parts: &Parts, body: &[u8]) -> ApiResult<Option<RequestKey>> {
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
        ApiError::field(
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

/// Completes when a stream must end: at shutdown, or when its caller loses access.
pub(crate) async fn stream_end(server: Server, caller: Caller, secret: String, of: StreamScope) {
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
    fn only_bearer_tokens_authenticate() {
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
    fn an_idempotency_key_covers_route_query_and_body() {
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
    fn an_invalid_idempotency_key_is_rejected_by_header_name() {
        for bad in ["", "a b", "a\tb", &"k".repeat(129)] {
            let error = request_key(&parts("POST", "/a", &[("idempotency-key", bad)]), b"").unwrap_err();
            assert!(
                error.problem("r").fields.contains_key("Idempotency-Key"),
                "{bad:?}"
            );
        }
    }
}
