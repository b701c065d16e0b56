//! Pools on platforms that span machines. Needs their test beds: make test-platforms.

mod crash;
mod life;
mod outages;
#[path = "../it/support.rs"]
mod support;
#[path = "../it/sweep.rs"]
mod sweep;

use anyhow::{Result, ensure};
use chainpool_tests::TestBed;

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_lives_on_a_swarm() -> Result<()> {
    let Some(place) = TestBed::swarm().await? else { return Ok(()) };
    let machines = life::life(&place).await?;
    ensure!(machines.len() == 3, "four nodes are spread over three machines: {machines:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_a_swarm_loses_machines_and_managers() -> Result<()> {
    let Some(place) = TestBed::swarm().await?.and_then(TestBed::ours) else { return Ok(()) };
    outages::machines(&place).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_a_swarm_survives_a_kill_at_every_point() -> Result<()> {
    let Some(place) = TestBed::swarm().await? else { return Ok(()) };
    crash::kills(&place).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_lives_on_kubernetes() -> Result<()> {
    let Some(place) = TestBed::kubernetes().await? else { return Ok(()) };
    life::life(&place).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_kubernetes_loses_pods_its_server_and_a_namespace() -> Result<()> {
    let Some(place) = TestBed::kubernetes().await?.and_then(TestBed::ours) else { return Ok(()) };
    outages::server(&place).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_kubernetes_survives_a_kill_at_every_point() -> Result<()> {
    let Some(place) = TestBed::kubernetes().await? else { return Ok(()) };
    crash::kills(&place).await
}
