use super::*;
use crate::{ClusterRow, HostRow, HostSettings};
use chainpool_api::{ClusterState, HealthState, HostLog, HostState, Platform};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};
use tempfile::TempDir;

fn host(now: Timestamp) -> HostRow {
    let settings = HostSettings {
        memory_factor: 1.0,
        disk_floor: 0,
        fill: Vec::new(),
        public_address: "127.0.0.1".into(),
        bind: Ipv4Addr::LOCALHOST.into(),
        ports: (20_000, 20_100),
        subnets: "10.0.0.0/20".parse().unwrap(),
        log: HostLog::default(),
        mirror: None,
        images: BTreeMap::new(),
        insecure: false,
        storage_class: None,
    };
    HostRow {
        id: Uuid::now_v7(),
        name: "h1".into(),
        platform: Word(Platform::Docker),
        address: "unix:///none".into(),
        engine_id: "e".into(),
        state: Word(HostState::Active),
        reason: String::new(),
        since: now.into(),
        schedulable: true,
        autofill: false,
        capacity: 10,
        settings: Json(settings),
        sealed: None,
        fill_state: Json(BTreeMap::new()),
        maintenance_until: None,
        info: None,
        created_at: now.into(),
    }
}

fn free(host: &HostRow, name: &str, now: Timestamp) -> ClusterRow {
    ClusterRow {
        id: Uuid::now_v7(),
        name: name.into(),
        host_id: host.id,
        network_type: "cometbft".into(),
        preset: "default".into(),
        version: "0.38".into(),
        consensus: "bft".into(),
        size: 4,
        parameters: Json(serde_json::Value::Null),
        made_with: None,
        labels: "{}".into(),
        state: Word(ClusterState::Ready),
        generation: 1,
        chain_id: name.into(),
        health: Word(HealthState::Healthy),
        health_reason: String::new(),
        health_since: now.into(),
        checked_at: now.into(),
        height: Some(1),
        proof: None,
        leased: false,
        schedulable: true,
        operation_id: None,
        subnet: None,
        machines: Json(BTreeMap::new()),
        memory_bytes: 0,
        fill_key: None,
        stopped_nodes: Json(BTreeSet::new()),
        maintenance_until: None,
        power_at: now.into(),
        created_at: now.into(),
        ready_at: Some(now.into()),
        gone_at: None,
    }
}

#[tokio::test]
async fn a_lease_that_was_made_comes_with_the_names_around_it() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    let now = Timestamp::now();
    let host = host(now);
    let mut tx = store.begin().await.unwrap();
    let free: Vec<ClusterRow> = ["c1", "c2"].map(|name| free(&host, name, now)).into();
    for row in &free {
        tx.cluster_insert(row.clone(), Vec::new()).await.unwrap();
    }
    tx.host_insert(host).await.unwrap();
    tx.commit("test").await.unwrap();

    let order = ApplyOrder { holder: "ann".into(), author: "ann".into(), single: true, ..ApplyOrder::default() };
    let made = store.apply(order.clone()).await.unwrap().unwrap();
    let taken = free.iter().find(|row| row.id == made.lease.cluster_id).unwrap();
    let names = LeaseNames { cluster: taken.name.clone(), network_type: "cometbft".into(), host: "h1".into() };
    assert_eq!((made.made, made.names), (true, Some(names)));

    let again = store.apply(order.clone()).await.unwrap().unwrap();
    assert_eq!((again.lease.id, again.made, again.names), (made.lease.id, false, None));

    let other = store.apply(ApplyOrder { single: false, ..order.clone() }).await.unwrap().unwrap();
    assert_ne!(other.lease.cluster_id, made.lease.cluster_id);
    assert!(store.apply(ApplyOrder { single: false, ..order }).await.unwrap().is_none(), "two clusters cannot be three leases");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_filter_by_parameters_takes_what_was_made_with_them() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    let now = Timestamp::now();
    let host = host(now);
    let mut tx = store.begin().await.unwrap();
    let quick = serde_json::json!({"block_interval_ms": 500, "empty_blocks": true, "channels": ["a", "b"]});
    let slow = serde_json::json!({"block_interval_ms": 2000, "empty_blocks": false, "channels": []});
    for (name, parameters) in [("quick", quick), ("slow", slow)] {
        tx.cluster_insert(ClusterRow { parameters: Json(parameters), ..free(&host, name, now) }, Vec::new()).await.unwrap();
    }
    tx.host_insert(host).await.unwrap();
    tx.commit("test").await.unwrap();

    let order = |parameters: &[(&str, &str)]| ApplyOrder {
        holder: "ann".into(),
        author: "ann".into(),
        single: true,
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..ApplyOrder::default()
    };
    for nothing in [[("block_interval_ms", "300")], [("block_interval_ms", "\"500\"")], [("empty_blocks", "1")], [("absent", "null")]] {
        assert!(store.apply(order(&nothing)).await.unwrap().is_none(), "{nothing:?}");
    }
    let slow = store.apply(order(&[("block_interval_ms", "2000"), ("empty_blocks", "false")])).await.unwrap().unwrap();
    assert_eq!(slow.names.unwrap().cluster, "slow");
    let quick = store.apply(order(&[("channels", "[\"a\", \"b\"]")])).await.unwrap().unwrap();
    assert!(quick.made && quick.names.unwrap().cluster == "quick");
    let again = store.apply(order(&[("channels", "[\"a\", \"b\"]")])).await.unwrap().unwrap();
    assert!(!again.made && again.lease.id == quick.lease.id);
    store.close().await.unwrap();
}
