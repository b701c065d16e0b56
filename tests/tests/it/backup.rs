//! Backup and restore.

use anyhow::{Result, ensure};
use chainpool_api::{Operation, Status};
use chainpool_tests::{Bed, Options};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn restore_lists_unknown_clusters_and_deletes_nothing() -> Result<()> {
    let options = Options {
        capacity: 3,
        validators: 1,
        ..Options::default()
    };
    let bed = Bed::start(options.clone()).await?;
    let old: Operation = bed.api.post("/clusters", json!({"name": "old"})).await?;
    bed.wait_succeeded(&old).await?;
    let admin = bed.orchestrator.local_admin().await?.0;
    let backup = bed.folder.with_extension("backup");
    let mut copy = bed.orchestrator.backup(&admin).await?;
    std::io::copy(&mut copy, &mut std::fs::File::create(&backup)?)?;
    let new: Operation = bed
        .api
        .with_token(&bed.orchestrator.local_admin().await?.1)
        .post("/clusters", json!({"name": "new"}))
        .await?;
    let bed_api = bed.api.with_token(&bed.orchestrator.local_admin().await?.1);
    chainpool_tests::within(std::time::Duration::from_mins(1), "the new cluster", async || {
        let now: Operation = bed_api.get(&format!("/operations/{}", new.id)).await?;
        Ok(if now.state == chainpool_api::OperationState::Succeeded {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        })
    })
    .await?;
    let instance = bed.orchestrator.status(&admin).await?.instance;
    let before = bed.engine.objects_of(&instance).await?;
    let new_id = new.cluster_id.expect("a create names its cluster");
    let folder = bed.folder.clone();
    let resources = bed.stop().await?;

    chainpool_orchestrator::restore(&folder, &backup).await?;
    let bed = Bed::open(
        resources,
        Options {
            host: false,
            ..options
        },
    )
    .await?;
    let status = chainpool_tests::within(
        std::time::Duration::from_secs(90),
        "the unclaimed cluster",
        async || {
            let status: Status = bed.api.get("/status").await?;
            Ok(if status.unclaimed.iter().any(|u| u.cluster_id == new_id) {
                Ok(status)
            } else {
                Err(format!("{:?}", status.problems))
            })
        },
    )
    .await?;
    ensure!(
        status.paused && !status.ok && !status.unclaimed[0].objects.is_empty(),
        "{status:?}"
    );
    let after = bed.engine.objects_of(&instance).await?;
    let deleted: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
    ensure!(deleted.is_empty(), "deleted while paused: {deleted:?}");
    let refused = bed.api.refused(Method::POST, "/leases", Some(json!({}))).await?;
    ensure!(refused.problem.code == "paused", "{refused:?}");

    let unknown = bed
        .api
        .refused(
            Method::POST,
            "/hosts/h1/adopt",
            Some(json!({"clusters": [uuid::Uuid::now_v7()]})),
        )
        .await?;
    ensure!(unknown.problem.fields.contains_key("clusters"), "{unknown:?}");
    let adopt: Operation = bed
        .api
        .post("/hosts/h1/adopt", json!({"clusters": [new_id]}))
        .await?;
    bed.wait_succeeded(&adopt).await?;
    let _: Value = bed.api.post_empty("/resume").await?;
    let left: Status = bed.api.get("/status").await?;
    ensure!(!left.paused, "{left:?}");
    // The cluster may have been leased since the backup, so it is reset before it is offered.
    let old = bed.cluster("old").await?;
    bed.wait_for_cluster(old.id, "the reset cluster", |c| c.generation == 2 && c.offered)
        .await?;
    bed.end().await?;
    Ok(())
}
