//! Sections and the drawing of a cluster in REST.

use anyhow::{Result, ensure};
use chainpool_api::{Cluster, Mark};
use chainpool_tests::{MemoryBed, MemoryOptions};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn details_of_a_cluster_have_sections_and_a_drawing_and_lists_have_none() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        ..MemoryOptions::default()
    })
    .await?;
    let id = bed.fill().await?.remove(0).id;
    let cluster: Cluster = bed.api.get(&format!("/clusters/{id}")).await?;
    let nodes: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
    let evidence = cluster.evidence.clone().unwrap_or_default();
    let members = evidence.sections.iter().find(|of| of.title == "Members");
    let rows: Vec<_> = members.iter().flat_map(|of| &of.rows).collect();
    let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    ensure!(
        !nodes.is_empty() && labels == nodes && rows.iter().all(|row| row.mark == Mark::Ok),
        "{evidence:?}"
    );
    let drawn = evidence.drawing.iter().flat_map(|drawing| &drawing.nodes);
    let drawn: Vec<&str> = drawn.map(|node| node.name.as_str()).collect();
    ensure!(drawn == nodes, "{evidence:?}");

    let list: Value = bed.api.get("/clusters").await?;
    ensure!(
        list["items"][0]["id"] == id.to_string() && list["items"][0].get("evidence").is_none(),
        "{list}"
    );
    bed.end().await
}
