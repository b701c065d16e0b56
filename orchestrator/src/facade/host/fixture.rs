//! A host for unit tests.

use chainpool_api::{HostSettings, HostState, Timestamp};
use chainpool_store::{EnumColumn, HostRow, Json, RowVersion};
use std::collections::BTreeMap;

pub(crate) fn row() -> HostRow {
    let now = Timestamp::now();
    let settings = HostSettings {
        fill: vec![],
        ports: (20_000, 20_999),
        subnets: "10.0.0.0/16".parse().expect("a network"),
        mirror: Some("registry.good.example".into()),
        ..HostSettings::new("cometbft", "a.example".into())
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
        settings: Json(settings),
        sealed: None,
        fill_state: Json(BTreeMap::new()),
        maintenance_until: None,
        info: None,
        created_at: now.into(),
        row_version: RowVersion::default(),
    }
}
