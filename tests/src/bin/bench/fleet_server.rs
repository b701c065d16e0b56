//! Server of a large pool in a process of its own: the platform in memory, orchestrator, REST API, dashboard, and
//! the watchdog on request. Commands are lines of the input; it ends with the input.

use crate::machine;
use anyhow::{Context, Result};
use chainpool_agent::{Agent, ClusterId, ClusterKey, NodeName, Platform, Power};
use chainpool_agent_memory::{MemoryAgent, MemoryPlatform, World, ledger};
use chainpool_networks::Registry;
use chainpool_orchestrator::{Config, Orchestrator};
use chainpool_server::ServeConfig;
use chainpool_store::{Store, testing};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Command that prints the number of queries so far.
pub(crate) const QUERIES: &str = "queries";
/// Command that starts the watchdog.
pub(crate) const WATCH: &str = "watch";
/// Command that ends the processes of the cluster whose id follows.
pub(crate) const EXIT: &str = "exit ";
/// Exit code of a killed process.
const KILLED: i64 = 137;

/// The platform with its worlds, by cluster.
struct Fleet {
    platform: Arc<MemoryPlatform>,
    worlds: BTreeMap<Uuid, Arc<World>>,
}

/// Serves a data folder. Prints the memory of the platform in MB, then address and token, then the answer to each
/// command.
pub(crate) async fn serve(folder: &Path) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::new("warn,sqlx=warn,sea_orm_migration=warn");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let before = machine::resident_mb(std::process::id())?;
    let Fleet { platform, worlds } = populate(folder).await?;
    println!("{}", machine::resident_mb(std::process::id())? - before);
    let platforms: Vec<Arc<dyn Platform>> = vec![platform];
    let config = Config {
        registry: Registry::default().with(ledger::TYPE, Arc::new(ledger::Ledger)),
        ..Config::new(folder.to_owned(), platforms)
    };
    let orchestrator = Orchestrator::start(config).await?;
    let (_, token, _) = orchestrator.local_admin().await?;
    let stop = CancellationToken::new();
    let serving = chainpool_server::serve(
        orchestrator.clone(),
        ServeConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        stop.clone(),
        |address| println!("{address} {token}"),
    );
    let commands = commands(folder, &orchestrator, &worlds, &stop);
    let (served, commanded) = tokio::join!(serving, commands);
    served?;
    commanded?;
    orchestrator.stop().await;
    Ok(())
}

/// Obeys the commands until the input ends, then stops the server.
async fn commands(
    folder: &Path,
    orchestrator: &Orchestrator,
    worlds: &BTreeMap<Uuid, Arc<World>>,
    stop: &CancellationToken,
) -> Result<()> {
    let _stop_at_the_end = stop.clone().drop_guard();
    let mut watchdog = None;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if line == QUERIES {
            println!("{}", testing::queries(folder));
        } else if line == WATCH {
            let watching = chainpool_watchdog::run(orchestrator.clone(), stop.clone());
            watchdog = Some(tokio::spawn(watching));
            println!("{WATCH}");
        } else if let Some(cluster) = line.strip_prefix(EXIT) {
            let cluster: Uuid = cluster.parse()?;
            let world = worlds.get(&cluster).context("a cluster of the pool")?;
            let key = ClusterKey {
                cluster: ClusterId(cluster),
                generation: 1,
            };
            world.kill(&key, &NodeName::parse("v0").context("a node name")?, KILLED);
            println!("{EXIT}");
        }
    }
    stop.cancel();
    if let Some(watchdog) = watchdog {
        watchdog.await??;
    }
    Ok(())
}

/// Creates the platform's engines and, from the specs in the database, everything on them.
async fn populate(folder: &Path) -> Result<Fleet> {
    let store = Store::open(folder, None).await?;
    let read = store.read();
    let platform = Arc::new(MemoryPlatform::default());
    let mut worlds = BTreeMap::new();
    let mut tx = store.begin().await?;
    for mut host in read.hosts().await? {
        let world = World::new();
        platform.serve(&host.name, &world);
        let agent = MemoryAgent::connect(Arc::clone(&world), store.instance());
        for cluster in read.clusters_of(host.id).await? {
            create(&store, &agent, cluster.id).await?;
            worlds.insert(cluster.id, Arc::clone(&world));
        }
        host.engine_id = agent.probe().await?.engine_id;
        tx.host_save(host).await?;
    }
    tx.commit("bench").await?;
    store.close().await?;
    Ok(Fleet { platform, worlds })
}

async fn create(store: &Store, agent: &MemoryAgent, cluster: Uuid) -> Result<()> {
    let opened = store.read().revision_opened(store.master(), cluster, 1).await?;
    let (spec, images) = opened.context("a cluster has a spec")?;
    let key = ClusterKey {
        cluster: ClusterId(cluster),
        generation: 1,
    };
    agent.ensure_network(&key, &spec.network).await?;
    for node in &spec.nodes {
        let image = images.get(node.name.as_str()).context("a node has an image")?;
        agent
            .ensure_node(&key, node, image, &Power::On { after: None })
            .await?;
    }
    Ok(())
}
