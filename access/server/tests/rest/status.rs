//! What is the same for everybody, the state of the whole, and the backup.

use crate::app::{App, request};
use chainpool_api::{Host, NetworkType, Page, Status};
use http::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn anybody_may_know_that_it_serves_and_what_the_api_is() {
    let app = App::start().await;
    let health = app.ask(request(None, Method::GET, "/healthz", None)).await;
    assert_eq!(
        (health.status, health.body.as_slice()),
        (StatusCode::OK, b"ok".as_slice())
    );
    let openapi = app
        .ask(request(None, Method::GET, "/api/v1/openapi.json", None))
        .await;
    assert_eq!(openapi.headers["content-type"], "application/json");
    assert_eq!(
        String::from_utf8(openapi.body).unwrap(),
        chainpool_server::openapi_json()
    );
}

#[tokio::test]
async fn the_state_of_the_whole_and_what_can_be_made() {
    let app = App::start().await;
    let status: Status = app.get(&app.admin, "/api/v1/status").await.read(StatusCode::OK);
    assert!(!status.paused && status.hosts.is_empty());
    let types: Page<NetworkType> = app
        .get(&app.admin, "/api/v1/network-types")
        .await
        .read(StatusCode::OK);
    assert!(types.items.iter().any(|network| network.name == "cometbft"));
}

#[tokio::test]
async fn a_backup_is_the_whole_database() {
    let app = App::start().await;
    let backup = app.call(&app.admin, Method::POST, "/api/v1/backup", None).await;
    assert_eq!(
        backup.status,
        StatusCode::OK,
        "{}",
        String::from_utf8_lossy(&backup.body)
    );
    assert!(backup.body.starts_with(b"SQLite format 3\0"));
    assert_eq!(
        backup.headers["content-length"].to_str().unwrap(),
        backup.body.len().to_string()
    );
    assert_eq!(backup.headers["cache-control"], "no-store");
    assert!(
        backup.headers["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment; filename=\"chainpool-")
    );
}

#[tokio::test]
async fn a_host_without_room_is_not_filled_and_the_state_says_why() {
    let app = App::start().await;
    // The platform of these tests has 80 % of its disk free.
    let host = json!({ "name": "h1", "address": "unix:///barren.sock", "autofill": true, "disk_floor": 90 });
    let _: Host = app
        .post(&app.admin, "/api/v1/hosts", host)
        .await
        .read(StatusCode::CREATED);
    app.orchestrator.autofill().await.unwrap();
    let status: Status = app.get(&app.admin, "/api/v1/status").await.read(StatusCode::OK);
    let said = serde_json::to_string(&status).unwrap();
    assert!(
        !status.ok && said.contains("host h1 is not filled") && said.contains("below its floor of 90 %"),
        "{said}"
    );
}

#[tokio::test]
async fn a_check_of_the_database_is_dated() {
    let app = App::start().await;
    let status = async || -> Status { app.get(&app.admin, "/api/v1/status").await.read(StatusCode::OK) };
    assert_eq!(status().await.database.checked_at, None);
    app.orchestrator.database_check().await;
    let database = status().await.database;
    assert!(
        database.checked_at.is_some() && database.message == "ok" && database.ok,
        "{database:?}"
    );
}
