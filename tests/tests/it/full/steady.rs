//! A pool at rest asks little: events tell of changes, and one full pass each 30 s looks at everything once.

use super::passes::passed;
use anyhow::{Result, ensure};
use chainpool_tests::{Bed, Engine, Options, Tap};
use std::{collections::BTreeMap, time::Instant};

/// How many full passes are watched.
const PASSES: u32 = 2;

/// How often it is tried until no node is late with an answer meanwhile.
const TRIES: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pass_lists_each_kind_of_object_once_and_nothing_else_does() -> Result<()> {
    let tap = Tap::on(&Engine::local().await?)?;
    let bed = Bed::start(Options {
        way: Some(tap.address()),
        alone: true,
        ..Options::default()
    })
    .await?;
    let clusters = bed.filled().await?;
    ensure!(clusters.iter().all(|cluster| cluster.offered), "{clusters:?}");
    // What the fill has stirred up has settled after one pass.
    passed(&bed, 1).await?;

    // A cluster that was late with an answer on a busy machine is looked at more closely, and rightly.
    let wanted = BTreeMap::from(["/containers/json", "/networks", "/volumes"].map(|kind| (kind, PASSES)));
    let (mut listed, mut rested) = (BTreeMap::new(), Instant::now());
    for _ in 0..TRIES {
        rested = Instant::now();
        passed(&bed, PASSES).await?;
        for kind in wanted.keys() {
            listed.insert(*kind, u32::try_from(tap.asked(kind, rested).len())?);
        }
        if listed == wanted {
            break;
        }
    }
    ensure!(listed == wanted, "listed in {PASSES} passes: {listed:?}");
    let streams = tap.asked("/events", rested).len();
    ensure!(
        streams == 0,
        "the stream of events was opened {streams} times anew at rest"
    );

    // The ear is open all the same.
    let container = Engine::container(&clusters[0], "v1");
    bed.engine.kill(&container).await?;
    bed.cluster_when(clusters[0].id, "withdrawn", |now| !now.offered)
        .await?;
    bed.cluster_when(clusters[0].id, "offered again", |now| now.offered)
        .await?;
    bed.end().await
}
