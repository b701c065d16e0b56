//! Validates every response read by the tests of this crate against the OpenAPI document.
//!
//! The validator supports exactly the keywords of the document. An unknown keyword fails the test, and so
//! does an undocumented property.

use crate::app::Reply;
use chainpool_api::Timestamp;
use http::Method;
use serde_json::{Map, Value};
use std::sync::LazyLock;
use uuid::Uuid;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&chainpool_server::openapi_json()).unwrap());

/// Keywords without effect on validation; schemathesis tests the patterns of requests.
const IGNORED_KEYWORDS: [&str; 7] = [
    "description",
    "default",
    "examples",
    "contentMediaType",
    "contentSchema",
    "format",
    "pattern",
];

/// The OpenAPI document.
pub(crate) fn document() -> &'static Value {
    &DOCUMENT
}

/// The documented route of this path, if any.
fn route(method: &Method, path: &str) -> Option<&'static Value> {
    let fits = |template: &str| {
        let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template
                .iter()
                .zip(&path)
                .all(|(t, p)| (t.starts_with('{') && !p.is_empty()) || t == p)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let item = paths.get(path).or_else(|| {
        paths
            .iter()
            .find(|(template, _)| fits(template))
            .map(|(_, item)| item)
    })?;
    item.get(method.as_str().to_lowercase())
}

/// Fails the test if a response is not documented.
pub(crate) fn check(method: &Method, path: &str, reply: &Reply) {
    let Some(route) = route(method, path) else { return };
    let response = format!(
        "{method} {path}: {} {}",
        reply.status,
        String::from_utf8_lossy(&reply.body)
    );
    let described = route["responses"]
        .get(reply.status.as_str())
        .unwrap_or_else(|| panic!("undocumented status: {response}"));
    let Some(content) = resolved(described).get("content") else {
        return assert!(reply.body.is_empty(), "undocumented body: {response}");
    };
    let kind = reply.headers["content-type"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let schema = &content
        .get(kind)
        .unwrap_or_else(|| panic!("undocumented content type: {kind}, {response}"))["schema"];
    let faults = match kind {
        "application/json" => faults(schema, &serde_json::from_slice(&reply.body).unwrap()),
        "text/event-stream" => events(&reply.body)
            .iter()
            .flat_map(|event| event_faults(schema, event))
            .collect(),
        _ => Vec::new(),
    };
    assert!(faults.is_empty(), "{response}\n{}", faults.join("\n"));
}

/// The events of a complete stream.
fn events(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    let field = |line: &str| {
        line.split_once(": ")
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
    };
    let events = text
        .split("\n\n")
        .map(|event| event.lines().filter_map(field).collect::<Map<_, _>>());
    events
        .filter(|event| event.contains_key("event"))
        .map(Value::Object)
        .collect()
}

/// Validation errors of one event, including its data.
pub(crate) fn event_faults(schema: &'static Value, event: &Value) -> Vec<String> {
    let mut found = faults(schema, event);
    let schema = resolved(schema);
    let kinds = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .map_or(std::slice::from_ref(schema), Vec::as_slice);
    let kind = kinds
        .iter()
        .find(|kind| kind["properties"]["event"]["enum"][0] == event["event"]);
    match (kind, event["data"].as_str().map(serde_json::from_str::<Value>)) {
        (Some(kind), Some(Ok(data))) => {
            found.extend(faults(&kind["properties"]["data"]["contentSchema"], &data));
        }
        _ => found.push(format!("undocumented event: {event}")),
    }
    found
}

/// The schema of a stream's events.
pub(crate) fn event_schema(path: &str) -> &'static Value {
    &DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
}

/// The target of a reference, or the value itself.
fn resolved(value: &'static Value) -> &'static Value {
    value.get("$ref").and_then(Value::as_str).map_or(value, |target| {
        DOCUMENT.pointer(target.trim_start_matches('#')).unwrap()
    })
}

/// Validation errors of a value.
pub(crate) fn faults(schema: &'static Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(schema, value, "$", &mut found);
    found
}

fn compare(schema: &'static Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Value::Object(keywords) = schema else {
        return assert_eq!(schema, &Value::Bool(true), "unsupported schema at {at}");
    };
    for (keyword, wanted) in keywords {
        let fits = match keyword.as_str() {
            "$ref" => {
                compare(resolved(schema), value, at, found);
                true
            }
            "type" => wanted
                .as_array()
                .map_or(std::slice::from_ref(wanted), Vec::as_slice)
                .iter()
                .any(|kind| is(kind, value)),
            "enum" => wanted.as_array().unwrap().contains(value),
            "oneOf" => {
                wanted
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|schema| faults(schema, value).is_empty())
                    .count()
                    == 1
            }
            "minimum" => value
                .as_f64()
                .is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|items| number(items.len()) >= wanted.as_u64().unwrap()),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| number(items.len()) <= wanted.as_u64().unwrap()),
            "minLength" => value
                .as_str()
                .is_none_or(|text| number(text.chars().count()) >= wanted.as_u64().unwrap()),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| number(text.chars().count()) <= wanted.as_u64().unwrap()),
            "maxProperties" => value
                .as_object()
                .is_none_or(|map| number(map.len()) <= wanted.as_u64().unwrap()),
            "required" => value.as_object().is_none_or(|map| {
                wanted
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|name| map.contains_key(name.as_str().unwrap()))
            }),
            "properties" | "additionalProperties" | "propertyNames" | "items" => true,
            note => {
                assert!(
                    IGNORED_KEYWORDS.contains(&note),
                    "the validator does not support {note}; add it"
                );
                true
            }
        };
        if !fits {
            found.push(format!("{at}: {value} is not {keyword} {wanted}"));
        }
    }
    match value {
        Value::String(text) => compare_format(keywords, text, at, found),
        Value::Object(map) => compare_properties(keywords, map, at, found),
        Value::Array(items) => compare_items(keywords, items, at, found),
        _ => (),
    }
}

fn compare_format(keywords: &Map<String, Value>, text: &str, at: &str, found: &mut Vec<String>) {
    let fits = match keywords.get("format").and_then(Value::as_str) {
        None => true,
        Some("uuid") => text.parse::<Uuid>().is_ok(),
        Some("date-time") => text.parse::<Timestamp>().is_ok(),
        Some(other) => panic!("the validator does not support the format {other}; add it"),
    };
    if !fits {
        found.push(format!("{at}: {text:?} is not {}", keywords["format"]));
    }
}

fn compare_properties(
    keywords: &'static Map<String, Value>,
    map: &Map<String, Value>,
    at: &str,
    found: &mut Vec<String>,
) {
    let described = keywords.get("properties").and_then(Value::as_object);
    for (name, value) in map {
        let at = format!("{at}.{name}");
        match (
            described.and_then(|described| described.get(name)),
            keywords.get("additionalProperties"),
        ) {
            (Some(schema), _) => compare(schema, value, &at, found),
            (None, Some(schema)) if schema.is_object() => compare(schema, value, &at, found),
            // An object without documented properties may contain anything.
            (None, _) if described.is_none() => (),
            (None, _) => found.push(format!("{at} is not documented")),
        }
    }
}

fn compare_items(keywords: &'static Map<String, Value>, items: &[Value], at: &str, found: &mut Vec<String>) {
    for (index, value) in items.iter().enumerate() {
        if let Some(schema) = keywords.get("items") {
            compare(schema, value, &format!("{at}[{index}]"), found);
        }
    }
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap()
}
