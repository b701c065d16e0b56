//! The OpenAPI document is complete and changes only on purpose.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The public routes; their descriptions give the reasons.
const PUBLIC: [&str; 4] = [
    "post /api/v1/session",
    "post /api/v1/password",
    "get /healthz",
    "get /api/v1/openapi.json",
];

fn document() -> Value {
    serde_json::from_str(&chainpool_server::openapi_json()).unwrap()
}

/// Every route as `method path`, with its document.
fn routes(document: &Value) -> Vec<(String, Map<String, Value>)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let routes = paths.flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(move |(method, route)| (format!("{method} {path}"), route))
    });
    routes
        .map(|(name, route)| (name, route.as_object().unwrap().clone()))
        .collect()
}

#[test]
fn the_openapi_document_matches_its_snapshot() {
    let mut document = document();
    document["info"]["version"] = "any".into();
    insta::assert_json_snapshot!("openapi", document);
}

#[test]
fn only_the_listed_routes_are_public() {
    let document = document();
    assert_eq!(document["security"], serde_json::json!([{ "bearer": [] }]));
    let public: BTreeSet<_> = routes(&document)
        .into_iter()
        .filter(|(_, route)| route.contains_key("security"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(public, BTreeSet::from(PUBLIC.map(str::to_owned)));
    assert!(
        routes(&document)
            .iter()
            .filter(|(name, _)| public.contains(name))
            .all(|(_, route)| route["security"] == serde_json::json!([{}]))
    );
}

#[test]
fn every_route_documents_its_error_codes() {
    for (name, route) in routes(&document()) {
        if name == "get /healthz" {
            continue;
        }
        let responses = route["responses"].as_object().unwrap();
        let mut expected = vec!["500", "503"];
        if !PUBLIC.contains(&name.as_str()) {
            expected.extend(["401", "429"]);
        }
        if name.contains('{') {
            expected.push("404");
        }
        if route.contains_key("requestBody") {
            expected.extend(["400", "413", "429"]);
        }
        let parameters = route
            .get("parameters")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        if parameters.iter().any(|parameter| parameter["in"] == "query") {
            expected.push("400");
        }
        if parameters
            .iter()
            .any(|parameter| parameter["name"] == "Idempotency-Key")
        {
            expected.extend(["400", "422"]);
        }
        for code in expected {
            assert!(responses.contains_key(code), "{name} does not document {code}");
        }
        assert!(
            responses.keys().any(|code| code.starts_with('2')),
            "{name} does not document a success"
        );
        for (code, response) in responses.iter().filter(|(code, _)| !code.starts_with('2')) {
            let problem =
                response["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/Problem";
            assert!(
                problem || response["$ref"].is_string(),
                "{name} documents {code} without a Problem"
            );
        }
    }
}

#[test]
fn every_route_has_an_operation_id_a_tag_and_a_summary() {
    let mut names = BTreeSet::new();
    for (name, route) in routes(&document()) {
        assert!(
            names.insert(route["operationId"].as_str().unwrap().to_owned()),
            "{name} shares its operation id"
        );
        assert_eq!(route["tags"].as_array().unwrap().len(), 1, "{name}");
        let summary = route["summary"].as_str().unwrap_or_default();
        assert!(
            summary.ends_with('.') && summary.len() < 60,
            "{name}: {summary:?}"
        );
    }
}

#[test]
fn every_reference_resolves() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match (key.as_str(), value) {
                        ("$ref", Value::String(target)) => drop(found.insert(target.clone())),
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => (),
        }
    }
    let (document, mut found) = (document(), BTreeSet::new());
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for target in found {
        assert!(
            document.pointer(target.trim_start_matches('#')).is_some(),
            "{target} does not resolve"
        );
    }
}
