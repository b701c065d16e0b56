use super::*;
use crate::{Config, Orchestrator, runtime::idle_platform::IdlePlatform};
use async_trait::async_trait;
use chainpool_agent::{ClusterSpec, Observation, PlatformKind};
use chainpool_api as api;
use chainpool_health::HealthPolicy;
use chainpool_networks::{
    BundleParts, History, InitError, NetworkType, Nodes, ParameterErrors, ProveError, PublicEndpoints,
    RenderRequest, Requirements, Seed, Verdict,
};
use chainpool_store::testing;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

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
            ..testing::host(Timestamp::now())
        };
        (host.settings.0.autofill, host.settings.0.capacity) = (true, 1);
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
