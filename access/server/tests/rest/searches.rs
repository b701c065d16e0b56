//! Search and filter values are limited in size and matched literally.

use crate::app::App;
use chainpool_api::{Cluster, Host, Page};
use http::StatusCode;
use serde_json::{Map, Value, json};

#[tokio::test]
async fn a_long_search_text_is_rejected_by_its_field() {
    let app = App::start().await;
    for path in ["/api/v1/clusters", "/api/v1/hosts"] {
        for letters in [201, 20_000] {
            let problem = app
                .get(&app.admin, &format!("{path}?search={}", "a".repeat(letters)))
                .await
                .problem(400, "invalid");
            assert!(problem.fields["search"].contains("200"), "{problem:?}");
        }
        let longest = app
            .get(&app.admin, &format!("{path}?search={}", "%C3%A4".repeat(200)))
            .await;
        assert_eq!(longest.status, StatusCode::OK, "{longest:?}");
    }
}

#[tokio::test]
async fn a_search_text_is_matched_literally() {
    let app = App::start().await;
    app.host().await;
    for (search, hosts) in [("h1", 1), ("H", 1), ("_", 0), ("%25", 0), ("h%25", 0)] {
        let found: Page<Host> = app
            .get(&app.admin, &format!("/api/v1/hosts?search={search}"))
            .await
            .read(StatusCode::OK);
        assert_eq!(found.items.len(), hosts, "{search}");
        let _: Page<Cluster> = app
            .get(&app.admin, &format!("/api/v1/clusters?search={search}"))
            .await
            .read(StatusCode::OK);
    }
}

#[tokio::test]
async fn a_lease_request_has_a_maximum_number_of_labels() {
    let app = App::start().await;
    let labels = |count: usize| -> Map<String, Value> {
        (0..count)
            .map(|number| (format!("l{number}"), json!("v")))
            .collect()
    };
    for count in [65, 2000] {
        let problem = app
            .post(&app.admin, "/api/v1/leases", json!({ "labels": labels(count) }))
            .await
            .problem(400, "invalid");
        assert!(problem.fields["labels"].contains("64"), "{problem:?}");
    }
    app.post(&app.admin, "/api/v1/leases", json!({ "labels": labels(64) }))
        .await
        .problem(409, "nothing_matches");
    for label in [json!({ "a,b": "c" }), json!({ "a": "b=c" }), json!({ "": "x" })] {
        let problem = app
            .post(&app.admin, "/api/v1/leases", json!({ "labels": label }))
            .await
            .problem(400, "invalid");
        assert!(problem.fields.contains_key("labels"), "{problem:?}");
    }
}
