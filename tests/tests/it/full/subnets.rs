//! Many networks on one engine.

use anyhow::{Result, ensure};
use chainpool_tests::{Bed, Options};
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_clusters_get_sixty_subnets() -> Result<()> {
    let bed = Bed::start(Options { capacity: 60, validators: 1, ..Options::default() }).await?;
    let clusters = bed.filled().await?;
    ensure!(clusters.len() == 60 && clusters.iter().all(|c| c.offered), "{} clusters", clusters.len());
    let subnets: BTreeSet<String> = bed.engine.subnets(&bed.instance().await?).await?.into_iter().collect();
    ensure!(subnets.len() == 60, "{subnets:?}");
    bed.end().await
}
