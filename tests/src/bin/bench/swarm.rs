//! Baseline on a swarm: Chainpool's services, recreated through the API alone.

use crate::heights::Heights;
use crate::platform_time::{Clock, PlatformTime, blocks};
use anyhow::{Context, Result};
use bollard::{
    Docker,
    models::{NetworkCreateRequest, NetworkInspect, Service, ServiceSpec, TaskState},
    query_parameters::{
        InspectNetworkOptions, InspectServiceOptions, ListContainersOptionsBuilder, ListTasksOptionsBuilder,
    },
};
use chainpool_api::Cluster;
use chainpool_tests::{Engine, within};
use futures::{StreamExt, TryStreamExt, stream};
use std::{collections::HashMap, time::Duration};

/// Objects created concurrently.
const AT_ONCE: usize = 8;
const LIMIT: Duration = Duration::from_mins(3);

/// Network with its services.
struct Ledger {
    network: NetworkInspect,
    services: Vec<Service>,
}

/// Removes the services and networks of clusters, keeps their volumes with all files, and recreates both.
pub(crate) async fn recreate(
    managers: &[String],
    clusters: &[Cluster],
    addresses: &[String],
) -> Result<PlatformTime> {
    let mut engines = Vec::new();
    for manager in managers {
        engines.push(Engine::at(manager).await?);
    }
    let docker = engines.first().context("a swarm has a manager")?.docker();
    let mut ledgers = Vec::new();
    for cluster in clusters {
        let network = docker
            .inspect_network(&Engine::network(cluster), None::<InspectNetworkOptions>)
            .await?;
        let mut services = Vec::new();
        for node in &cluster.nodes {
            services.push(
                docker
                    .inspect_service(
                        &Engine::container(cluster, &node.name),
                        None::<InspectServiceOptions>,
                    )
                    .await?,
            );
        }
        ledgers.push(Ledger { network, services });
    }
    let heights = Heights::new()?;
    let mut highest = 0;
    for address in addresses {
        highest = highest.max(heights.of(address).await?);
    }
    remove(&engines, docker, &ledgers, clusters).await?;

    let clock = Clock::start();
    stream::iter(&ledgers)
        .map(|ledger| create(docker, ledger))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    all_run(docker, clusters, addresses.len()).await?;
    let started = clock.seconds();
    blocks(addresses, highest).await?;
    let what = "the same networks and services by its API, eight ledgers at once, their files in place already, to the last task running";
    Ok(PlatformTime {
        started,
        block: clock.seconds(),
        what,
    })
}

async fn remove(engines: &[Engine], docker: &Docker, ledgers: &[Ledger], clusters: &[Cluster]) -> Result<()> {
    for service in ledgers.iter().flat_map(|ledger| &ledger.services) {
        docker
            .delete_service(service.id.as_deref().context("a service has an id")?)
            .await?;
    }
    for cluster in clusters {
        within(LIMIT, "the removal of the containers", async || {
            let filters = label(cluster);
            let options = ListContainersOptionsBuilder::new()
                .all(true)
                .filters(&filters)
                .build();
            for engine in engines {
                let left = engine
                    .docker()
                    .list_containers(Some(options.clone()))
                    .await?
                    .len();
                if left > 0 {
                    return Ok(Err(format!(
                        "{left} containers of {} are left at {}",
                        cluster.name, engine.address
                    )));
                }
            }
            Ok(Ok(()))
        })
        .await?;
    }
    for ledger in ledgers {
        let id = ledger.network.id.as_deref().context("a network has an id")?;
        within(LIMIT, "the removal of the networks", async || {
            Ok(docker.remove_network(id).await.map_err(|e| e.to_string()))
        })
        .await?;
    }
    Ok(())
}

async fn create(docker: &Docker, ledger: &Ledger) -> Result<()> {
    let NetworkInspect {
        name,
        driver,
        ipam,
        attachable,
        internal,
        options,
        labels,
        ..
    } = ledger.network.clone();
    let request = NetworkCreateRequest {
        name: name.context("a network has a name")?,
        driver,
        ipam,
        attachable,
        internal,
        options,
        labels,
        ..NetworkCreateRequest::default()
    };
    let network = docker.create_network(request).await?.id;
    let created = stream::iter(&ledger.services).map(|service| {
        let network = network.clone();
        async move {
            let mut spec: ServiceSpec = service.spec.clone().context("a service has a spec")?;
            for attached in spec
                .task_template
                .iter_mut()
                .flat_map(|task| &mut task.networks)
                .flatten()
            {
                attached.target = Some(network.clone());
            }
            docker.create_service(spec, None).await?;
            anyhow::Ok(())
        }
    });
    created.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

async fn all_run(docker: &Docker, clusters: &[Cluster], tasks: usize) -> Result<()> {
    within(LIMIT, "all tasks to run", async || {
        let mut running = 0;
        for cluster in clusters {
            let filters = label(cluster);
            let listed = docker
                .list_tasks(Some(ListTasksOptionsBuilder::new().filters(&filters).build()))
                .await?;
            running += listed
                .iter()
                .filter(|task| task.status.as_ref().and_then(|s| s.state) == Some(TaskState::RUNNING))
                .count();
        }
        Ok(if running == tasks {
            Ok(())
        } else {
            Err(format!("{running} of {tasks} run"))
        })
    })
    .await
}

fn label(cluster: &Cluster) -> HashMap<String, Vec<String>> {
    HashMap::from([(
        "label".to_owned(),
        vec![format!("chainpool.cluster={}", cluster.id)],
    )])
}
