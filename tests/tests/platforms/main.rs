//! Pools on platforms of several machines. Requires their test beds: `make test-platforms`.

mod crash;
mod fabric;
#[path = "../it/holder.rs"]
mod holder;
mod in_pod;
mod lifecycle;
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
    let testbed = TestBed::swarm().await?;
    let machines = lifecycle::run(&testbed).await?;
    ensure!(
        machines.len() == 3,
        "four nodes must be spread over three machines: {machines:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_lives_on_a_swarm() -> Result<()> {
    fabric::lifecycle(&TestBed::swarm().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_lives_on_kubernetes() -> Result<()> {
    fabric::lifecycle(&TestBed::kubernetes().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_a_swarm_loses_machines_and_managers() -> Result<()> {
    let testbed = TestBed::swarm().await?;
    testbed.require_owned()?;
    outages::machine_outages(&testbed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_a_swarm_survives_a_kill_at_every_point() -> Result<()> {
    crash::kill_at_every_point(&TestBed::swarm().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_lives_on_kubernetes() -> Result<()> {
    lifecycle::run(&TestBed::kubernetes().await?).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_kubernetes_loses_pods_its_server_and_a_namespace() -> Result<()> {
    let testbed = TestBed::kubernetes().await?;
    testbed.require_owned()?;
    outages::server_outages(&testbed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_kubernetes_is_kept_by_a_pod_of_it() -> Result<()> {
    let testbed = TestBed::kubernetes().await?;
    testbed.require_owned()?;
    in_pod::lifecycle(&testbed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_pool_on_kubernetes_is_listed_only_by_full_passes() -> Result<()> {
    steady::idle_pool(&TestBed::kubernetes().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_kubernetes_survives_a_kill_at_every_point() -> Result<()> {
    crash::kill_at_every_point(&TestBed::kubernetes().await?).await
}
