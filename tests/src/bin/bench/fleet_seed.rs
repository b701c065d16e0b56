//! Data folder of a large pool: hosts on the platform in memory, free and leased clusters with their specs, and
//! their history.

use anyhow::{Context, Result};
use chainpool_agent::{Agent, ImageRef, ImageRequest, LogConfig, NetworkSpec, NodeName, Secret};
use chainpool_agent_memory::{KIND, MemoryAgent, World, ledger};
use chainpool_api::{Fill, LogLevel, OperationKind, OperationState, Platform, StepState, Timestamp};
use chainpool_networks::{NetworkType, PublicEndpoints, RenderRequest, Seed};
use chainpool_store::{
    ApplyRequest, ClusterRow, EnumColumn, HostRow, Json, NewOperation, StepRow, Store, Tx, testing,
};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};
use uuid::Uuid;

/// Steps of each operation in the history.
const STEPS: i64 = 4;
/// One of this many clusters is leased.
const LEASED_PART: usize = 10;
/// Number of leases that are requested at a time.
const APPLIES_AT_ONCE: usize = 64;

/// Size of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) hosts: usize,
    pub(crate) clusters_per_host: usize,
}

impl Size {
    pub(crate) fn clusters(self) -> usize {
        self.hosts * self.clusters_per_host
    }
}

/// Address of a host on the platform in memory, as `MemoryPlatform::serve` returns it.
fn address(host: &str) -> String {
    format!("{KIND}://{host}")
}

/// Writes the pool to a new data folder. The platform's engines get their ids when they are created.
pub(crate) async fn seed(folder: &Path, size: Size) -> Result<()> {
    let store = Store::open(folder, None).await?;
    let entry = Fill {
        network_type: ledger::TYPE.to_owned(),
        preset: "single".to_owned(),
        share: 1,
        parameters: serde_json::Map::from_iter([("interval_ms".to_owned(), json!(1000))]),
    };
    let parameters = ledger::Ledger
        .validate(&entry.preset, &entry.parameters)
        .map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let platform: Platform = KIND.as_str().parse().context("a platform")?;
    let mut tx = store.begin().await?;
    for host in 0..size.hosts {
        let now = Timestamp::now();
        let name = format!("h{host:04}");
        let mut row = HostRow {
            address: address(&name),
            platform: EnumColumn(platform.clone()),
            engine_id: name.clone(),
            name,
            ..testing::host(now)
        };
        row.settings.0.autofill = true;
        row.settings.0.capacity = u32::try_from(size.clusters_per_host)?;
        row.settings.0.fill = vec![entry.clone()];
        let fillup = operation(&mut tx, &row, None, None, now).await?;
        for cluster in 0..size.clusters_per_host {
            let name = format!("c{host:04}-{cluster:02}");
            let row = free(&row, &name, cluster, (&entry, &parameters), now);
            insert(&mut tx, &row, now).await?;
            operation_of(&mut tx, &row, fillup, now).await?;
        }
        tx.host_insert(row).await?;
    }
    tx.commit("bench").await?;
    let order = ApplyRequest {
        holder: "bench".to_owned(),
        author: "bench".to_owned(),
        ..ApplyRequest::default()
    };
    stream::iter(0..size.clusters().div_ceil(LEASED_PART))
        .map(|_| store.apply(order.clone()))
        .buffer_unordered(APPLIES_AT_ONCE)
        .try_for_each(async |outcome| {
            drop(outcome);
            Ok(())
        })
        .await?;
    store.close().await?;
    Ok(())
}

fn free(
    host: &HostRow,
    name: &str,
    index: usize,
    (entry, parameters): (&Fill, &Value),
    now: Timestamp,
) -> ClusterRow {
    ClusterRow {
        network_type: entry.network_type.clone(),
        preset: entry.preset.clone(),
        version: "1".to_owned(),
        consensus: "votes".to_owned(),
        size: 1,
        parameters: Json(parameters.clone()),
        labels: ",".to_owned(),
        height: None,
        subnet: Some(format!("10.0.{}.{}/28", index / 16, index % 16 * 16)),
        memory_bytes: 16 << 20,
        fill_key: Some(json!([entry.network_type, entry.preset, entry.parameters]).to_string()),
        ..testing::free(host, name, now)
    }
}

/// Writes a cluster with its rendered spec and the images of its nodes.
async fn insert(tx: &mut Tx, row: &ClusterRow, now: Timestamp) -> Result<()> {
    let request = RenderRequest {
        parameters: row.parameters.0.clone(),
        chain_id: row.chain_id.clone(),
        genesis_at: now,
        network: NetworkSpec {
            subnet: row.subnet.as_ref().map(|subnet| subnet.parse()).transpose()?,
        },
        ports: BTreeMap::new(),
        public_endpoints: PublicEndpoints {
            address: "127.0.0.1".to_owned(),
            loopback: true,
            machines: BTreeMap::new(),
        },
        images: BTreeMap::new(),
        log: LogConfig::default(),
        log_level: LogLevel::Info,
    };
    let seed: Seed = Secret::new([7; 32]);
    let spec = ledger::Ledger.render(&request, &seed);
    let mut images = BTreeMap::new();
    for node in spec.processes() {
        images.insert(node.name.to_string(), image(&node.name, &node.images).await?);
    }
    tx.cluster_insert(row.clone(), Vec::new()).await?;
    tx.revision_insert(row.id, 1, spec, now).await?;
    tx.revision_images(row.id, 1, images).await?;
    Ok(())
}

/// The image as the platform finds it.
async fn image(node: &NodeName, candidates: &[String]) -> Result<ImageRef> {
    let any = MemoryAgent::connect(World::new(), chainpool_agent::InstanceId::new());
    any.ensure_image(&ImageRequest::of(candidates))
        .await
        .with_context(|| format!("the image of {node}"))
}

async fn operation_of(tx: &mut Tx, row: &ClusterRow, parent: Uuid, now: Timestamp) -> Result<()> {
    let host = HostRow {
        id: row.host_id,
        ..testing::host(now)
    };
    operation(tx, &host, Some(row.id), Some(parent), now).await?;
    Ok(())
}

/// Writes a completed operation with its steps.
async fn operation(
    tx: &mut Tx,
    host: &HostRow,
    cluster: Option<Uuid>,
    parent: Option<Uuid>,
    now: Timestamp,
) -> Result<Uuid> {
    let new = NewOperation {
        kind: if cluster.is_some() {
            OperationKind::ClusterCreate
        } else {
            OperationKind::HostFillup
        },
        host_id: host.id,
        cluster_id: cluster,
        generation: u32::from(cluster.is_some()),
        parent_id: parent,
        author: "chainpool".to_owned(),
        reason: "autofill".to_owned(),
        arguments: json!({}),
        deadline_at: None,
    };
    let mut row = tx.operation_insert(new, now).await?;
    row.state = EnumColumn(OperationState::Succeeded);
    (row.started_at, row.ended_at) = (Some(now.into()), Some(now.into()));
    tx.operation_save(row.clone()).await?;
    let step = |seq| StepRow {
        operation_id: row.id,
        seq,
        phase: seq,
        title: format!("step {seq}"),
        action: Json(json!({})),
        state: EnumColumn(StepState::Done),
        memo: None,
        note: None,
        started_at: Some(now.into()),
        ended_at: Some(now.into()),
    };
    if cluster.is_some() {
        tx.steps_insert((0..STEPS).map(step).collect()).await?;
    }
    Ok(row.id)
}
