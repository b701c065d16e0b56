//! A host for unit tests.

use chainpool_api::{self as api, HostState, Timestamp};
use chainpool_store::{EnumColumn, HostRow, HostSettings, Json, RowVersion};
use std::collections::BTreeMap;

pub(crate) fn row() -> HostRow {
    let now = Timestamp::now();
    let settings = HostSettings {
        memory_factor: 1.0,
        disk_floor: 10,
        fill: vec![],
        public_address: "a.example".into(),
        bind: "0.0.0.0".parse().expect("an address"),
        ports: (20_000, 20_999),
        subnets: "10.0.0.0/16".parse().expect("a network"),
        log: api::HostLog::default(),
        mirror: Some("registry.good.example".into()),
        images: BTreeMap::new(),
        insecure: false,
        storage_class: None,
    };
    HostRow {
        id: uuid::Uuid::now_v7(),
        name: "h1".into(),
        platform: EnumColumn("kubernetes".parse().expect("a platform")),
        address: "https://good.example:6443".into(),
        engine_id: "e".into(),
        state: EnumColumn(HostState::Active),
        reason: String::new(),
        since: now.into(),
        schedulable: true,
        autofill: false,
        capacity: 3,
        settings: Json(settings),
        sealed: None,
        fill_state: Json(BTreeMap::new()),
        maintenance_until: None,
        info: None,
        created_at: now.into(),
        row_version: RowVersion::default(),
    }
}
