//! Operations and settings of a host.

use anyhow::{Result, ensure};
use chainpool_api::{ClusterState, Host, Lease, Operation, OperationState, Page};
use chainpool_tests::{Bed, MemoryBed, MemoryOptions, Options};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_filled_cleaned_and_reset() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 3,
        nodes: 1,
        autofill: false,
        ..MemoryOptions::default()
    })
    .await?;
    let clusters = bed.fill().await?;
    ensure!(
        clusters.len() == 3 && clusters.iter().all(|c| c.offered),
        "{clusters:?}"
    );
    let again: Operation = bed
        .wait_succeeded(&bed.api.post_empty("/hosts/h1/fillup").await?)
        .await?;
    ensure!(again.result.as_ref().is_some_and(|r| r["made"] == 0), "{again:?}");

    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    let refused = bed.api.refused(Method::POST, "/hosts/h1/reset", None).await?;
    ensure!(
        refused.status == StatusCode::CONFLICT && refused.problem.code == "host_in_use",
        "{refused:?}"
    );
    let refused = bed.api.refused(Method::DELETE, "/hosts/h1", None).await?;
    ensure!(refused.problem.code == "host_not_empty", "{refused:?}");

    let _: Value = bed.api.patch("/hosts/h1", json!({"autofill": true})).await?;
    let clean: Operation = bed
        .wait_succeeded(&bed.api.post_empty("/hosts/h1/clean").await?)
        .await?;
    ensure!(
        clean.result.as_ref().is_some_and(|r| r["deleted"] == 2),
        "{clean:?}"
    );
    let host: Host = bed.api.get("/hosts/h1").await?;
    ensure!(
        !host.settings.autofill && host.clusters == 1 && host.leased == 1,
        "{host:?}"
    );
    let kept = bed.cluster(lease.cluster_id).await?;
    ensure!(
        kept.state == ClusterState::Ready && kept.generation == 1,
        "{kept:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn autofill_replaces_a_deleted_cluster() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        nodes: 1,
        autofill: true,
        ..MemoryOptions::default()
    })
    .await?;
    let first = chainpool_tests::within(
        std::time::Duration::from_mins(1),
        "the first cluster",
        async || {
            Ok(bed
                .clusters()
                .await?
                .into_iter()
                .find(|c| c.offered)
                .ok_or_else(|| "none".to_owned()))
        },
    )
    .await?;
    let delete: Operation = bed.api.delete(&format!("/clusters/{}", first.id)).await?;
    bed.wait_succeeded(&delete).await?;
    chainpool_tests::within(std::time::Duration::from_mins(1), "a replacement", async || {
        Ok(bed
            .clusters()
            .await?
            .into_iter()
            .find(|c| c.offered && c.id != first.id)
            .ok_or_else(|| "none".to_owned()))
    })
    .await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_of_a_host_can_be_changed() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    let change = json!({
        "name": "renamed", "capacity": 2, "schedulable": false, "autofill": false, "memory_factor": 2.0, "disk_floor": 5,
        "log": {"type": "syslog", "level": "debug", "server": "udp://127.0.0.1:514"}, "mirror": "mirror.example", "images": {"cometbft": ["other:1"]},
        "fill": [{"type": "cometbft", "preset": "single", "share": 2}], "ports": [21000, 21100], "subnets": "10.214.0.0/16", "maintenance_seconds": 60,
    });
    let host: Host = bed.api.patch("/hosts/h1", change).await?;
    ensure!(
        host.name == "renamed"
            && host.settings.capacity == 2
            && !host.settings.schedulable
            && host.settings.ports == (21_000, 21_100),
        "{host:?}"
    );
    ensure!(
        host.settings.log.server.as_deref() == Some("udp://127.0.0.1:514")
            && host.settings.subnets.to_string() == "10.214.0.0/16"
            && host.maintenance_until.is_some(),
        "{host:?}"
    );
    let refused = bed
        .api
        .refused(Method::POST, "/hosts/renamed/fillup", None)
        .await?;
    ensure!(refused.problem.code == "host_not_active", "{refused:?}");
    let same: Page<Host> = bed.api.get("/hosts?search=rena").await?;
    ensure!(same.items.len() == 1);
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_credentials_cannot_move_to_another_registry() -> Result<()> {
    let bed = Bed::start(Options {
        host: false,
        ..Options::default()
    })
    .await?;
    bed.host_create("h1").await?;
    let login = json!({"user": "robot", "password": "pw"});
    let _: Value = bed
        .api
        .patch(
            "/hosts/h1",
            json!({"mirror": "registry.good.example", "registry": login}),
        )
        .await?;
    for body in [
        json!({"mirror": "127.0.0.1:8390"}),
        json!({"mirror": ""}),
        json!({"address": "unix:///other.sock"}),
    ] {
        let refused = bed.api.refused(Method::PATCH, "/hosts/h1", Some(body)).await?;
        ensure!(
            refused.status == StatusCode::BAD_REQUEST && refused.problem.fields.contains_key("registry"),
            "{refused:?}"
        );
    }
    let _: Value = bed
        .api
        .patch(
            "/hosts/h1",
            json!({"mirror": "registry.good.example/team", "images": {"cometbft": ["x/y:1"]}}),
        )
        .await?;
    let _: Value = bed
        .api
        .patch(
            "/hosts/h1",
            json!({"mirror": "127.0.0.1:8390", "registry": {"user": "", "password": ""}}),
        )
        .await?;
    let _: Value = bed.api.patch("/hosts/h1", json!({"mirror": ""})).await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_existing_clusters_depend_on_cannot_change() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    bed.fill().await?;
    for (field, value) in [
        ("ports", json!([21000, 21100])),
        ("subnets", json!("10.214.0.0/16")),
        ("bind", json!("0.0.0.0")),
        ("public_address", json!("a.example")),
    ] {
        let refused = bed
            .api
            .refused(Method::PATCH, "/hosts/h1", Some(json!({field: value})))
            .await?;
        ensure!(
            refused.status == StatusCode::BAD_REQUEST && refused.problem.fields.contains_key(field),
            "{refused:?}"
        );
    }
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_fill_entry_fails_the_fillup_with_its_reason() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        nodes: 1,
        ..MemoryOptions::default()
    })
    .await?;
    let _: Value = bed
        .api
        .patch("/hosts/h1", json!({"images": {"ledger": ["127.0.0.1:1/none:1"]}}))
        .await?;
    let fillup = bed
        .wait_ended(&bed.api.post_empty("/hosts/h1/fillup").await?)
        .await?;
    ensure!(
        fillup.state == OperationState::Failed && fillup.result.as_ref().is_some_and(|r| r["failed"] == 1),
        "{fillup:?}"
    );
    ensure!(
        fillup
            .error
            .as_deref()
            .is_some_and(|e| e.contains("127.0.0.1:1/none:1")),
        "{fillup:?}"
    );
    let failed = bed.clusters().await?.remove(0);
    ensure!(
        failed.state == ClusterState::Failed && !failed.offered,
        "{failed:?}"
    );
    bed.end().await
}
