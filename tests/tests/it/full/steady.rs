//! An idle pool sends few requests: events report changes, and a full pass every 30 s lists everything once.

use super::passes::wait_for_passes;
use anyhow::{Result, ensure};
use chainpool_tests::{Bed, Engine, Options, RecordingProxy};
use std::{collections::BTreeMap, time::Instant};

/// Number of observed full passes.
const PASSES: u32 = 2;

/// Attempts to observe passes without a late response of a node.
const ATTEMPTS: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pass_lists_each_kind_of_object_once_and_nothing_else_does() -> Result<()> {
    let proxy = RecordingProxy::start(&Engine::local().await?)?;
    let bed = Bed::start(Options {
        proxy: Some(proxy.address()),
        exclusive: true,
        ..Options::default()
    })
    .await?;
    let clusters = bed.fill().await?;
    ensure!(clusters.iter().all(|cluster| cluster.offered), "{clusters:?}");
    // After one pass the effects of the fill have settled.
    wait_for_passes(&bed, 1).await?;

    // A cluster that responds late on a busy machine is probed more closely, as it should be.
    let wanted = BTreeMap::from(["/containers/json", "/networks", "/volumes"].map(|kind| (kind, PASSES)));
    let (mut listed, mut start) = (BTreeMap::new(), Instant::now());
    for _ in 0..ATTEMPTS {
        start = Instant::now();
        wait_for_passes(&bed, PASSES).await?;
        for kind in wanted.keys() {
            listed.insert(*kind, u32::try_from(proxy.requests(kind, start).len())?);
        }
        if listed == wanted {
            break;
        }
    }
    ensure!(listed == wanted, "listed in {PASSES} passes: {listed:?}");
    let streams = proxy.requests("/events", start).len();
    ensure!(
        streams == 0,
        "the event stream was reopened {streams} times while idle"
    );

    // Events still arrive.
    let container = Engine::container(&clusters[0], "v1");
    bed.engine.kill(&container).await?;
    bed.wait_for_cluster(clusters[0].id, "withdrawn", |now| !now.offered)
        .await?;
    bed.wait_for_cluster(clusters[0].id, "offered again", |now| now.offered)
        .await?;
    bed.end().await
}
