//! Pools on platforms that span machines. Needs their test beds: make test-platforms.

mod crash;
mod fabric;
#[path = "../it/holder.rs"]
mod holder;
mod in_pod;
mod life;
mod outages;
#[path = "../it/full/passes.rs"]
mod passes;
mod steady;
#[path = "../it/support.rs"]
mod support;
#[path = "../it/full/sweep.rs"]
mod sweep;

use anyhow::{Result, ensure};
use chainpool_tests::TestBed;

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_lives_on_a_swarm() -> Result<()> {
    let place = TestBed::swarm().await?;
    let machines = life::life(&place).await?;
    ensure!(
        machines.len() == 3,
        "four nodes are spread over three machines: {machines:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_lives_on_a_swarm() -> Result<()> {
    fabric::life(&TestBed::swarm().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_lives_on_kubernetes() -> Result<()> {
    fabric::life(&TestBed::kubernetes().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_a_swarm_loses_machines_and_managers() -> Result<()> {
    let place = TestBed::swarm().await?;
    place.must_be_ours()?;
    outages::machines(&place).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_a_swarm_survives_a_kill_at_every_point() -> Result<()> {
    crash::kills(&TestBed::swarm().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_lives_on_kubernetes() -> Result<()> {
    life::life(&TestBed::kubernetes().await?).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_kubernetes_loses_pods_its_server_and_a_namespace() -> Result<()> {
    let place = TestBed::kubernetes().await?;
    place.must_be_ours()?;
    outages::server(&place).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_kubernetes_is_kept_by_a_pod_of_it() -> Result<()> {
    let place = TestBed::kubernetes().await?;
    place.must_be_ours()?;
    in_pod::life(&place).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_kubernetes_at_rest_is_listed_by_full_passes_alone() -> Result<()> {
    steady::rest(&TestBed::kubernetes().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_kubernetes_survives_a_kill_at_every_point() -> Result<()> {
    crash::kills(&TestBed::kubernetes().await?).await
}
