//! JSON bodies: limited in size, with exactly the fields of the route. Errors name the field, before any
//! effect.

use crate::{
    auth::{caller, request_key},
    client_address::client,
    error::{ApiError, ApiResult},
    state::Server,
};
use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use chainpool_dashboard::ANONYMOUS_BODY_LIMIT;
use chainpool_orchestrator::Caller;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Value, error::Category};

/// Maximum body size in bytes.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;

/// Seconds in `Retry-After` after too many concurrent anonymous bodies.
const ANONYMOUS_RETRY_AFTER: u64 = 5;

/// The authenticated caller and the JSON body. Unauthenticated requests are rejected before the body is read.
pub(crate) struct AuthedJson<T> {
    /// The caller, with the idempotency key of the request.
    pub(crate) caller: Caller,
    /// The parsed body.
    pub(crate) body: T,
}

impl<T: DeserializeOwned> FromRequest<Server> for AuthedJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, server: &Server) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let mut caller = caller(&parts, server).await?;
        let bytes = read(&parts.headers, body, BODY_LIMIT).await?;
        caller.key = request_key(&parts, &bytes)?;
        Ok(Self {
            caller,
            body: parse(&parts.headers, &bytes)?,
        })
    }
}

/// The JSON body of a public route. Size and concurrency are limited, because an anonymous client may never
/// send the rest.
pub(crate) struct PublicJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Server> for PublicJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, server: &Server) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let _permit = server
            .site
            .anonymous
            .acquire(client(&parts.extensions))
            .ok_or_else(|| ApiError::too_many(ANONYMOUS_RETRY_AFTER))?;
        let bytes = read(&parts.headers, body, ANONYMOUS_BODY_LIMIT).await?;
        Ok(Self(parse(&parts.headers, &bytes)?))
    }
}

/// Reads a body up to the limit. A larger `Content-Length` is rejected without reading.
async fn read(headers: &HeaderMap, body: Body, limit: usize) -> ApiResult<Bytes> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if declared.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(ApiError::too_large(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(limit)),
        Err(_) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "body_incomplete",
            "the body is incomplete; send it again",
        )),
    }
}

/// Parses a body. An empty one counts as `{}`, so a route whose fields are all optional needs none.
fn parse<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> ApiResult<T> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    if bytes != b"{}" && !is_json(headers) {
        return Err(ApiError::field(
            "Content-Type",
            "must be application/json; send the body as JSON",
        ));
    }
    // Serde would accept a list and take its items as fields in order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(not_json("expected an object, got a list"));
    }
    // Tries the fast parser first and tracks field paths only after an error.
    serde_json::from_slice(bytes)
        .or_else(|error| with_whole_numbers(bytes, &error).ok_or_else(|| explain::<T>(bytes, &error)))
}

/// Parses a body in which some clients write integers with a zero fraction: in JSON, `640.0` is an integer,
/// too.
fn with_whole_numbers<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Option<T> {
    if !error.to_string().contains("invalid type: floating point") {
        return None;
    }
    let mut body = serde_json::from_slice(bytes).ok()?;
    make_whole(&mut body);
    serde_json::from_value(body).ok()
}

fn make_whole(value: &mut Value) {
    /// Maximum integer up to which a double is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            if float.fract() == 0.0 && float.abs() <= EXACT {
                // Without the fraction it parses as an integer.
                if let Ok(whole) = serde_json::from_str(&format!("{float:.0}")) {
                    *value = whole;
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(fields) => fields.values_mut().for_each(make_whole),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
        || (kind.len() > 5
            && kind.is_char_boundary(kind.len() - 5)
            && kind[kind.len() - 5..].eq_ignore_ascii_case("+json"))
}

fn not_json(why: &str) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "not_json",
        format!("the body is not a JSON object: {why}"),
    )
}

/// The error of a body that cannot be parsed.
fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> ApiError {
    if error.classify() != Category::Data {
        return not_json(&error.to_string());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => not_json(&error.to_string()),
        Err(traced) => field_error(&traced.path().to_string(), &traced.inner().to_string()),
    }
}

/// Converts serde's error about a field. `path` is `.` if serde knew none; the message then contains the
/// name.
pub(crate) fn field_error(path: &str, message: &str) -> ApiError {
    let message = message
        .rsplit_once(" at line ")
        .map_or(message, |(before, _)| before);
    let named = |start: &str| message.strip_prefix(start).and_then(|rest| rest.split_once('`'));
    let (name, why) = if let Some((name, _)) = named("missing field `") {
        (Some(name), "is required".to_owned())
    } else if let Some((name, rest)) = named("unknown field `") {
        (
            Some(name),
            format!("is not known{}", rest.replacen(", expected", "; use", 1)),
        )
    } else if let Some((name, _)) = named("duplicate field `") {
        (Some(name), "is given twice; send it once".to_owned())
    } else {
        (None, message.to_owned())
    };
    let field = match (path, name) {
        ("." | "", None) => return not_json(&why),
        ("." | "", Some(name)) => name.to_owned(),
        (path, Some(name)) if path != name && !path.ends_with(&format!(".{name}")) => {
            format!("{path}.{name}")
        }
        (path, _) => path.to_owned(),
    };
    ApiError::field(&field, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_api::{AccountCreate, Apply, HostCreate, Problem};

    fn json_headers() -> HeaderMap {
        HeaderMap::from_iter([(
            header::CONTENT_TYPE,
            "application/json; charset=utf-8".parse().unwrap(),
        )])
    }

    #[test]
    fn an_integer_may_have_a_zero_fraction() {
        let parsed = |body: &str| parse::<Apply>(&json_headers(), body.as_bytes());
        let Ok(apply) = parsed(r#"{"size": 4.0, "ttl_seconds": 67162.0}"#) else {
            panic!("rejected")
        };
        assert_eq!((apply.size, apply.ttl_seconds), (Some(4), Some(67162)));
        for bad in [
            r#"{"size": 4.5}"#,
            r#"{"size": 1e300}"#,
            r#"{"size": -4.0}"#,
            r#"{"size": 4.0, "nothing": 1}"#,
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        let problem = rejected::<Apply>(r#"{"size": 4.5}"#);
        assert!(
            problem.fields["size"].contains("floating point `4.5`"),
            "{problem:?}"
        );
    }

    fn rejected<T: DeserializeOwned>(body: &str) -> Problem {
        match parse::<T>(&json_headers(), body.as_bytes()) {
            Ok(_) => panic!("{body} was accepted"),
            Err(error) => {
                assert_eq!(error.status(), StatusCode::BAD_REQUEST);
                error.problem("r")
            }
        }
    }

    #[test]
    fn a_body_error_names_the_field_and_the_valid_values() {
        let host = r#"{"name":"h1","address":"unix:///x","#;
        for (body, field, why) in [
            (
                format!(r#"{host}"colour":"red"}}"#),
                "colour",
                "is not known; use one of `name`",
            ),
            (
                format!(r#"{host}"capacity":"three"}}"#),
                "capacity",
                "expected u32",
            ),
            (format!(r#"{host}"capacity":-1}}"#), "capacity", "expected u32"),
            (
                format!(r#"{host}"type":"VM ware"}}"#),
                "type",
                "use one of: docker, swarm, kubernetes",
            ),
            (
                format!(r#"{host}"log":{{"type":"local","level":"loud"}}}}"#),
                "log.level",
                "expected one of `debug`, `info`, `warning`, `error`",
            ),
            (format!(r#"{host}"name":"h2"}}"#), "name", "twice"),
            (
                format!(r#"{host}"log":{{"type":"local"}}}}"#),
                "log.level",
                "is required",
            ),
            (
                format!(r#"{host}"log":{{"type":"local","level":"info","size":1}}}}"#),
                "log.size",
                "is not known; use one of",
            ),
            (
                format!(r#"{host}"fill":[{{"type":"a"}},{{"type":"b","share":1.5}}]}}"#),
                "fill[1].share",
                "expected u32",
            ),
            (
                format!(r#"{host}"ports":[1]}}"#),
                "ports",
                "expected a tuple of size 2",
            ),
        ] {
            let problem = rejected::<HostCreate>(&body);
            assert_eq!(problem.code, "invalid");
            assert!(
                problem.fields.get(field).is_some_and(|said| said.contains(why)),
                "{body}: {:?}",
                problem.fields
            );
            assert!(
                problem.message.contains(field) && !problem.message.contains(" at line "),
                "{}",
                problem.message
            );
        }
        assert_eq!(
            rejected::<AccountCreate>(r#"{"name":"ann"}"#).fields["role"],
            "is required"
        );
        assert_eq!(rejected::<AccountCreate>("").fields["name"], "is required");
    }

    #[test]
    fn a_body_that_is_not_a_json_object_is_rejected() {
        for body in [
            "{",
            "{}}",
            r#"{"holder": }"#,
            "[]",
            "  [1]",
            "null",
            "7",
            r#""x""#,
            "\u{1}",
        ] {
            let problem = rejected::<Apply>(body);
            assert_eq!(problem.code, "not_json", "{body}: {}", problem.message);
        }
        assert!(parse::<Apply>(&json_headers(), b"\xff\xfe").is_err());
        assert_eq!(rejected::<Apply>(&"[".repeat(100_000)).code, "not_json");
        assert_eq!(
            rejected::<Apply>(&format!(r#"{{"labels":{}"#, "[".repeat(100_000))).code,
            "invalid"
        );
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert_eq!(parse::<Apply>(&HeaderMap::new(), b"").unwrap(), Apply::default());
        assert_eq!(
            parse::<Apply>(&json_headers(), b" {} ").unwrap(),
            Apply::default()
        );
    }

    #[test]
    fn another_content_type_is_rejected() {
        let body = br#"{"size":4}"#;
        for kind in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("json"),
            Some("é+json"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(kind) = kind {
                headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            }
            let problem = parse::<Apply>(&headers, body).unwrap_err().problem("r");
            assert!(
                problem.fields["Content-Type"].contains("application/json"),
                "{kind:?}"
            );
        }
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, "application/merge+JSON".parse().unwrap())]);
        assert_eq!(parse::<Apply>(&headers, body).unwrap().size, Some(4));
    }

    #[tokio::test]
    async fn a_large_body_is_rejected_with_and_without_content_length() {
        for limit in [ANONYMOUS_BODY_LIMIT, BODY_LIMIT] {
            let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, (limit + 1).into())]);
            let error = read(&headers, Body::empty(), limit).await.unwrap_err();
            assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
            let error = read(&HeaderMap::new(), Body::from(vec![b' '; limit + 1]), limit)
                .await
                .unwrap_err();
            assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(
                read(&HeaderMap::new(), Body::from(vec![b' '; limit]), limit)
                    .await
                    .unwrap()
                    .len(),
                limit
            );
        }
    }
}
