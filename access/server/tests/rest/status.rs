//! Public routes, overall status and backup.

use crate::app::{App, request};
use chainpool_api::{Host, NetworkType, Page, Status};
use http::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn health_and_openapi_document_are_public() {
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
async fn status_and_network_types_are_returned() {
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
async fn a_backup_is_the_complete_database() {
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
async fn a_full_host_is_not_filled_and_the_status_gives_the_reason() {
    let app = App::start().await;
    // The empty platform reports 80 % free disk space.
    let host = json!({ "name": "h1", "address": "unix:///empty.sock", "autofill": true, "disk_floor": 90 });
    let _: Host = app
        .post(&app.admin, "/api/v1/hosts", host)
        .await
        .read(StatusCode::CREATED);
    app.orchestrator.autofill().await.unwrap();
    let status: Status = app.get(&app.admin, "/api/v1/status").await.read(StatusCode::OK);
    let text = serde_json::to_string(&status).unwrap();
    assert!(
        !status.ok && text.contains("host h1 cannot be filled") && text.contains("below its minimum of 90 %"),
        "{text}"
    );
}

#[tokio::test]
async fn a_database_check_has_a_time() {
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
