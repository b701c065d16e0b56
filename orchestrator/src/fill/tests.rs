use super::*;
use crate::{Config, idle_platform::IdlePlatform};
use async_trait::async_trait;
use chainpool_agent::{ClusterSpec, Observation, PlatformKind};
use chainpool_health::HealthPolicy;
use chainpool_networks::{
    BundleParts, History, InitError, NetworkType, Nodes, ParameterErrors, ProveError, PublicEndpoints,
    RenderRequest, Requirements, Seed, Verdict,
};
use chainpool_store::{EnumColumn, testing};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

fn cluster(parameters: serde_json::Value, by_fill: bool) -> ClusterRow {
    let now = Timestamp::now();
    let fill_key = by_fill.then(|| "an entry".to_owned());
    let preset = "single".to_owned();
    ClusterRow {
        preset,
        parameters: Json(parameters),
        fill_key,
        ..testing::free(&testing::host(now), "c", now)
    }
}

fn recipe(interval: u32) -> Recipe {
    let network = chainpool_networks::Registry::default()
        .get("cometbft")
        .expect("it is there");
    Recipe {
        network_type: "cometbft".to_owned(),
        preset: "single".to_owned(),
        known: network.describe().parameters,
        wanted: serde_json::json!({"block_interval_ms": interval}),
    }
}

#[test]
fn a_cluster_that_predates_a_parameter_has_its_default() {
    let network = chainpool_networks::Registry::default()
        .get("cometbft")
        .expect("it is there");
    let default = network
        .describe()
        .parameters
        .into_iter()
        .find(|p| p.name == "block_interval_ms")
        .expect("a parameter")
        .default;
    let wanted = |value: serde_json::Value| Recipe {
        wanted: serde_json::json!({"block_interval_ms": value}),
        ..recipe(0)
    };
    let old = cluster(serde_json::json!({}), true);
    assert!(wanted(default).matches(&old));
    assert!(!wanted(serde_json::json!(7)).matches(&old));
}

#[test]
fn clusters_in_maintenance_stopped_or_leased_are_not_idle() {
    let free = cluster(serde_json::json!({}), true);
    assert!(is_idle(&free));
    let later = Timestamp::now().plus_seconds(60).into();
    assert!(!is_idle(&ClusterRow {
        maintenance_until: Some(later),
        ..free.clone()
    }));
    assert!(!is_idle(&ClusterRow {
        state: EnumColumn(ClusterState::Stopped),
        ..free.clone()
    }));
    assert!(!is_idle(&ClusterRow { leased: true, ..free }));
}

#[test]
fn entries_that_differ_only_in_parameters_are_distinct() {
    let recipes = Recipes(vec![Some(recipe(500)), Some(recipe(2000))]);
    let of =
        |interval: u32| recipes.place(&cluster(serde_json::json!({"block_interval_ms": interval}), true));
    assert_eq!((of(500), of(2000), of(300)), (Some(0), Some(1), None));
    let amended = ClusterRow {
        created_with: Some(Json(serde_json::json!({"block_interval_ms": 2000}))),
        ..cluster(serde_json::json!({"block_interval_ms": 7}), true)
    };
    assert_eq!(
        recipes.place(&amended),
        Some(1),
        "its next generation has the original parameters"
    );
}

#[test]
fn a_cluster_is_outdated_when_no_entry_matches_it() {
    let recipes = Recipes(vec![Some(recipe(300))]);
    let old = serde_json::json!({"block_interval_ms": 500});
    assert!(recipes.is_outdated(&cluster(old.clone(), true)));
    assert!(
        !recipes.is_outdated(&cluster(old.clone(), false)),
        "it was created on request"
    );
    let present = cluster(serde_json::json!({"block_interval_ms": 300}), true);
    assert!(!recipes.is_outdated(&present));
    assert!(
        recipes.is_outdated(&ClusterRow {
            preset: "default".into(),
            ..present.clone()
        }),
        "of another preset"
    );
    assert!(
        recipes.is_outdated(&ClusterRow {
            network_type: "fabric".into(),
            ..present
        }),
        "of another type"
    );
    assert!(
        !Recipes(vec![Some(recipe(300)), None]).is_outdated(&cluster(old, true)),
        "it may belong to the entry that is not understood"
    );
}

#[test]
fn an_entry_has_a_human_readable_name() {
    let mut entry = api::Fill {
        network_type: "cometbft".into(),
        preset: "single".into(),
        share: 1,
        parameters: serde_json::Map::new(),
    };
    assert_eq!(entry_name(&entry), "cometbft single");
    entry.parameters.insert("block_interval_ms".into(), 500.into());
    assert_eq!(entry_name(&entry), "cometbft single with block_interval_ms=500");
    assert_eq!(
        (clusters_are(1, "free "), clusters_are(3, "free ")),
        ("1 free cluster is".into(), "3 free clusters are".into())
    );
}

/// A network type whose parameters cannot be validated: it panics while its defect lasts, then refuses them.
struct Defect(AtomicBool);

#[async_trait]
impl NetworkType for Defect {
    fn describe(&self) -> api::NetworkType {
        chainpool_networks::Registry::default()
            .get("cometbft")
            .expect("it is there")
            .describe()
    }

    fn validate(
        &self,
        _: &str,
        _: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<serde_json::Value, ParameterErrors> {
        assert!(!self.0.load(Ordering::Relaxed), "a defect on purpose");
        Err(ParameterErrors(BTreeMap::from([(
            "preset".to_owned(),
            "there is none".to_owned(),
        )])))
    }

    fn requirements(&self, _: &serde_json::Value) -> Requirements {
        unreachable!("no parameters are valid")
    }

    fn render(&self, _: &RenderRequest, _: &Seed) -> ClusterSpec {
        unreachable!("no parameters are valid")
    }

    async fn init(&self, _: &Nodes, _: &str) -> Result<(), InitError> {
        unreachable!("no parameters are valid")
    }

    async fn probe(&self, _: &Nodes, _: &Observation) -> api::Evidence {
        unreachable!("no parameters are valid")
    }

    fn verdict(
        &self,
        _: &serde_json::Value,
        _: &api::Evidence,
        _: &History,
        _: &HealthPolicy,
        _: Timestamp,
    ) -> Verdict {
        unreachable!("no parameters are valid")
    }

    async fn prove(&self, _: &Nodes) -> Result<api::Proof, ProveError> {
        unreachable!("no parameters are valid")
    }

    fn bundle(&self, _: &ClusterSpec, _: &PublicEndpoints) -> BundleParts {
        unreachable!("no parameters are valid")
    }
}

#[tokio::test]
async fn a_defect_in_filling_a_host_is_reported_and_does_not_block_other_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let defect = Arc::new(Defect(AtomicBool::new(true)));
    let registry =
        chainpool_networks::Registry::default().with("defect", Arc::clone(&defect) as Arc<dyn NetworkType>);
    let platforms: Vec<Arc<dyn chainpool_agent::Platform>> =
        vec![Arc::new(IdlePlatform::of(PlatformKind::new("docker")))];
    let config = Config {
        run_operations: false,
        registry,
        ..Config::new(folder.path().to_owned(), platforms)
    };
    let orchestrator = Orchestrator::start(config).await.unwrap();
    let admin = orchestrator.local_admin().await.unwrap().0;
    let mut tx = orchestrator.store().begin().await.unwrap();
    let mut hosts = Vec::new();
    // One host on each side of the defective one.
    for (name, network_type) in [("h1", "cometbft"), ("h2", "defect"), ("h3", "cometbft")] {
        let mut host = HostRow {
            name: name.into(),
            engine_id: name.into(),
            autofill: true,
            capacity: 1,
            ..testing::host(Timestamp::now())
        };
        host.settings.0.fill = vec![api::Fill {
            network_type: network_type.into(),
            preset: "single".into(),
            share: 1,
            parameters: serde_json::Map::new(),
        }];
        hosts.push(host.clone());
        tx.host_insert(host).await.unwrap();
    }
    tx.commit("test").await.unwrap();

    orchestrator.autofill().await.unwrap();
    let mut created = Vec::new();
    for host in &hosts {
        created.push(
            orchestrator
                .store()
                .read()
                .clusters_of(host.id)
                .await
                .unwrap()
                .len(),
        );
    }
    assert_eq!(created, [1, 0, 1]);
    defect.0.store(false, Ordering::Relaxed);
    let crashed = async || {
        let problems = orchestrator.status(&admin).await.unwrap().problems;
        problems
            .into_iter()
            .filter(|problem| problem.contains("crashed"))
            .collect::<Vec<_>>()
    };
    let problems = crashed().await;
    assert!(
        problems.len() == 1 && problems[0].starts_with("filling host h2 crashed at"),
        "{problems:?}"
    );
    orchestrator.autofill().await.unwrap();
    assert!(crashed().await.is_empty(), "the next run succeeded");
    orchestrator.stop().await;
}
