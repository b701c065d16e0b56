//! Invalid input is rejected with the field's name and changes nothing.

use anyhow::{Result, ensure};
use chainpool_api::{Host, Operation, Page};
use chainpool_tests::{Bed, MemoryBed, MemoryOptions, Options};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_host_is_rejected_with_its_field_and_not_stored() -> Result<()> {
    let bed = Bed::start(Options {
        host: false,
        ..Options::default()
    })
    .await?;
    let with = |field: &str, value: Value| {
        let mut body = bed.host_body("h1");
        body[field] = value;
        body
    };
    let cases = [
        ("colour", with("colour", json!("blue"))),
        ("name", with("name", json!("No Name"))),
        ("bind", with("bind", json!("everywhere"))),
        ("ports", with("ports", json!([20000, 20001]))),
        ("ports", with("ports", json!([30000, 20000]))),
        ("subnets", with("subnets", json!("10.0.0.0/30"))),
        ("disk_floor", with("disk_floor", json!(99))),
        ("memory_factor", with("memory_factor", json!(0.0))),
        (
            "log.server",
            with("log", json!({"type": "syslog", "level": "info"})),
        ),
        ("images.node", with("images", json!({"node": ["a:1"]}))),
        ("images.cometbft", with("images", json!({"cometbft": []}))),
        ("images.cometbft", with("images", json!({"cometbft": ["a b"]}))),
        ("mirror", with("mirror", json!("m.example/\"a b"))),
        ("public_address", with("public_address", json!("$(id>pwn)"))),
        (
            "public_address",
            with("public_address", json!("pool.example.org")),
        ),
        (
            "registry.address",
            with("registry", json!({"user": "robot", "password": "pw"})),
        ),
        ("kubeconfig", with("kubeconfig", json!("garbage"))),
        ("storage_class", with("storage_class", json!("fast"))),
        ("address", with("address", json!("unix:///x\n2026-01-01 ERROR"))),
        ("fill", with("fill", json!([]))),
        (
            "fill[0].share",
            with(
                "fill",
                json!([{"type": "cometbft", "share": u32::MAX}, {"type": "cometbft"}]),
            ),
        ),
        ("fill[0].type", with("fill", json!([{"type": "nonsense"}]))),
        (
            "fill[0].validators",
            with(
                "fill",
                json!([{"type": "cometbft", "parameters": {"validators": 17}}]),
            ),
        ),
        ("type", with("type", json!("swarm"))),
        ("address", with("address", json!("tcp://192.0.2.1:2375"))),
        ("address", with("address", json!("gopher://x"))),
    ];
    for (field, body) in cases {
        let refused = bed
            .api
            .refused(Method::POST, "/hosts", Some(body.clone()))
            .await?;
        ensure!(
            refused.status == StatusCode::BAD_REQUEST && refused.problem.fields.contains_key(field),
            "{field} {body}: {refused:?}"
        );
    }
    let absent = bed
        .api
        .refused(
            Method::POST,
            "/hosts",
            Some(with("address", json!("unix:///nowhere.sock"))),
        )
        .await?;
    ensure!(
        absent.status == StatusCode::SERVICE_UNAVAILABLE && absent.problem.message.contains("/nowhere.sock"),
        "{absent:?}"
    );
    ensure!(
        bed.api.get::<Page<Host>>("/hosts").await?.items.is_empty(),
        "a refused host was stored"
    );

    bed.host_create("h1").await?;
    let twice = bed
        .api
        .refused(Method::POST, "/hosts", Some(bed.host_body("h2")))
        .await?;
    ensure!(
        twice.status == StatusCode::CONFLICT
            && twice.problem.code == "engine_exists"
            && twice.problem.message.contains("h1")
            && twice.problem.message.contains("engine-id"),
        "{twice:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_host_change_is_rejected_with_its_field_and_changes_nothing() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        watchdog: false,
        ..MemoryOptions::default()
    })
    .await?;
    let before: Value = bed.api.get("/hosts/h1").await?;
    for (field, body) in [
        ("colour", json!({"colour": "blue"})),
        ("name", json!({"name": "No Name"})),
        ("bind", json!({"bind": "everywhere"})),
        ("ports", json!({"ports": [30000, 20000]})),
        ("memory_factor", json!({"memory_factor": 0.0})),
        ("mirror", json!({"mirror": "m.example/\"a b"})),
        ("kubeconfig", json!({"kubeconfig": "garbage"})),
        ("storage_class", json!({"storage_class": "fast"})),
        ("address", json!({"address": "unix:///x\n2026-01-01 ERROR"})),
        ("fill", json!({"fill": []})),
        // A valid field in the same request is not applied either.
        ("kubeconfig", json!({"capacity": 7, "kubeconfig": "garbage"})),
        ("storage_class", json!({"capacity": 7, "storage_class": "fast"})),
    ] {
        let refused = bed
            .api
            .refused(Method::PATCH, "/hosts/h1", Some(body.clone()))
            .await?;
        ensure!(
            refused.status == StatusCode::BAD_REQUEST && refused.problem.fields.contains_key(field),
            "{field} {body}: {refused:?}"
        );
    }
    ensure!(
        bed.api.get::<Value>("/hosts/h1").await? == before,
        "a refused change was stored"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_cluster_is_rejected_with_its_field_and_not_stored() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions::default()).await?;
    for (field, body) in [
        ("name", json!({"name": "-"})),
        ("network_type", json!({"network_type": "nonsense"})),
        ("preset", json!({"preset": "nonsense"})),
        ("parameters.validators", json!({"parameters": {"validators": 0}})),
        ("parameters.colour", json!({"parameters": {"colour": 1}})),
        ("labels", json!({"labels": {"a,b": "c"}})),
        ("host", json!({"host": "nowhere"})),
        ("size", json!({"size": 3})),
    ] {
        let refused = bed
            .api
            .refused(Method::POST, "/clusters", Some(body.clone()))
            .await?;
        ensure!(
            refused.status == StatusCode::BAD_REQUEST && refused.problem.fields.contains_key(field),
            "{field} {body}: {refused:?}"
        );
    }
    ensure!(bed.clusters().await?.is_empty(), "a refused cluster was stored");
    let large = json!({"labels": {"a": "x".repeat(2 << 20)}});
    let refused = bed.api.refused(Method::POST, "/clusters", Some(large)).await?;
    ensure!(refused.status == StatusCode::PAYLOAD_TOO_LARGE, "{refused:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_amendment_is_rejected_with_its_field_and_changes_nothing() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    })
    .await?;
    let before = bed.fill().await?.remove(0);
    let address = format!("/clusters/{}/amend", before.id);
    for (field, body) in [
        ("parameters", json!({})),
        ("parameters.validators", json!({"parameters": {"validators": 2}})),
        ("parameters.colour", json!({"parameters": {"colour": 1}})),
        ("renew_certificates", json!({"renew_certificates": true})),
        ("size", json!({"size": 3})),
    ] {
        let refused = bed
            .api
            .refused(Method::POST, &address, Some(body.clone()))
            .await?;
        ensure!(
            refused.status == StatusCode::BAD_REQUEST && refused.problem.fields.contains_key(field),
            "{field} {body}: {refused:?}"
        );
    }
    let after = bed.cluster(before.id).await?;
    ensure!(
        after.parameters == before.parameters && after.generation == before.generation,
        "{after:?}"
    );
    let amends: Page<Operation> = bed.api.get("/operations?kind=cluster_amend").await?;
    ensure!(amends.items.is_empty(), "{amends:?}");
    bed.wait_for_cluster(before.id, "offered", |now| now.offered)
        .await?;
    bed.end().await
}
