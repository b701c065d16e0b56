//! Bodies: JSON, of a bounded size, with exactly the fields that the route knows. What is wrong is named field by
//! field, and nothing has happened yet when it is.

use crate::{
    auth::{caller, client, request_key},
    error::{Answer, Refusal},
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

/// The largest body.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;

/// Until who was refused for too many bodies at once tries again, in seconds.
const BODIES_WAIT: u64 = 5;

/// Who asks and what for. The anonymous is refused before the body is read.
pub(crate) struct Asked<T> {
    /// Who asks, with the key of the request.
    pub(crate) caller: Caller,
    /// What for.
    pub(crate) body: T,
}

impl<T: DeserializeOwned> FromRequest<Server> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, server: &Server) -> Answer<Self> {
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

/// A body on the few routes that are open to anybody: a small one, and not too many of them at once, because nobody knows
/// yet whether the rest of it will come.
pub(crate) struct Open<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Server> for Open<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, server: &Server) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let _share = server
            .site
            .anonymous
            .take(client(&parts.extensions))
            .ok_or_else(|| Refusal::too_many(BODIES_WAIT))?;
        let bytes = read(&parts.headers, body, ANONYMOUS_BODY_LIMIT).await?;
        Ok(Self(parse(&parts.headers, &bytes)?))
    }
}

/// Reads a body up to the limit. One that says beforehand that it is larger is not read at all.
async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Answer<Bytes> {
    let said = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if said.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(Refusal::too_large(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large(limit)),
        Err(_) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "body_incomplete",
            "the body ended before its end; send it again",
        )),
    }
}

/// Parses a body. An empty one counts as `{}`, so a route whose fields are all optional needs none.
fn parse<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Answer<T> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    if bytes != b"{}" && !is_json(headers) {
        return Err(Refusal::field(
            "Content-Type",
            "must be application/json; send the body as JSON",
        ));
    }
    // A list would also do for serde: its items would be taken as fields in their order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(not_json("it is a list where an object belongs"));
    }
    // The plain way first; the way that keeps track of the field only when there is something to tell.
    serde_json::from_slice(bytes)
        .or_else(|error| with_whole_numbers(bytes, &error).ok_or_else(|| explain::<T>(bytes, &error)))
}

/// The same body where whole numbers have a fraction of 0, as some clients write them all: for JSON `640.0` is a whole number, too.
fn with_whole_numbers<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Option<T> {
    if !error.to_string().contains("invalid type: floating point") {
        return None;
    }
    let mut body = serde_json::from_slice(bytes).ok()?;
    make_whole(&mut body);
    serde_json::from_value(body).ok()
}

fn make_whole(value: &mut Value) {
    /// Up to here each whole number is exact in a JSON number with a fraction.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            if float.fract() == 0.0 && float.abs() <= EXACT {
                // Written without its fraction it is read as what it is.
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

fn not_json(why: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "not_json",
        format!("the body is not a JSON object: {why}"),
    )
}

/// Says what is wrong with a body that could not be parsed.
fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Refusal {
    if error.classify() != Category::Data {
        return not_json(&error.to_string());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => not_json(&error.to_string()),
        Err(traced) => wrong_field(&traced.path().to_string(), &traced.inner().to_string()),
    }
}

/// Turns serde's words about a field into ours. `path` is `.` where serde knew none, and then the name stands in the
/// words.
pub(crate) fn wrong_field(path: &str, said: &str) -> Refusal {
    let said = said.rsplit_once(" at line ").map_or(said, |(before, _)| before);
    let named = |start: &str| said.strip_prefix(start).and_then(|rest| rest.split_once('`'));
    let (name, why) = if let Some((name, _)) = named("missing field `") {
        (Some(name), "is required".to_owned())
    } else if let Some((name, rest)) = named("unknown field `") {
        (
            Some(name),
            format!("is not known{}", rest.replacen(", expected", "; use", 1)),
        )
    } else if let Some((name, _)) = named("duplicate field `") {
        (Some(name), "stands there twice; send it once".to_owned())
    } else {
        (None, said.to_owned())
    };
    let field = match (path, name) {
        ("." | "", None) => return not_json(&why),
        ("." | "", Some(name)) => name.to_owned(),
        (path, Some(name)) if path != name && !path.ends_with(&format!(".{name}")) => {
            format!("{path}.{name}")
        }
        (path, _) => path.to_owned(),
    };
    Refusal::field(&field, why)
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
    fn a_whole_number_may_have_a_fraction_of_nothing() {
        let parsed = |body: &str| parse::<Apply>(&json_headers(), body.as_bytes());
        let Ok(apply) = parsed(r#"{"size": 4.0, "ttl_seconds": 67162.0}"#) else {
            panic!("it was refused")
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
        let problem = refused::<Apply>(r#"{"size": 4.5}"#);
        assert!(
            problem.fields["size"].contains("floating point `4.5`"),
            "{problem:?}"
        );
    }

    fn refused<T: DeserializeOwned>(body: &str) -> Problem {
        match parse::<T>(&json_headers(), body.as_bytes()) {
            Ok(_) => panic!("{body} was taken"),
            Err(refusal) => {
                assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
                refusal.problem("r")
            }
        }
    }

    #[test]
    fn a_bad_body_names_the_field_and_what_would_do() {
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
                format!(r#"{host}"type":"vmware"}}"#),
                "type",
                "expected one of `docker`, `swarm`, `kubernetes`",
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
            let problem = refused::<HostCreate>(&body);
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
            refused::<AccountCreate>(r#"{"name":"ann"}"#).fields["role"],
            "is required"
        );
        assert_eq!(refused::<AccountCreate>("").fields["name"], "is required");
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
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
            let problem = refused::<Apply>(body);
            assert_eq!(problem.code, "not_json", "{body}: {}", problem.message);
        }
        assert!(parse::<Apply>(&json_headers(), b"\xff\xfe").is_err());
        assert_eq!(refused::<Apply>(&"[".repeat(100_000)).code, "not_json");
        assert_eq!(
            refused::<Apply>(&format!(r#"{{"labels":{}"#, "[".repeat(100_000))).code,
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
    fn another_content_type_is_refused() {
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
    async fn a_body_too_large_is_refused_whether_it_says_so_or_not() {
        for limit in [ANONYMOUS_BODY_LIMIT, BODY_LIMIT] {
            let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, (limit + 1).into())]);
            let refusal = read(&headers, Body::empty(), limit).await.unwrap_err();
            assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
            let refusal = read(&HeaderMap::new(), Body::from(vec![b' '; limit + 1]), limit)
                .await
                .unwrap_err();
            assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
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
