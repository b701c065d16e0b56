//! A network whose coming up needs a job.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use chainpool_agent::{Boot, ClusterSpec, NodeName, NodeSpec, Observation, SpecHash};
use chainpool_api as api;
use chainpool_networks::{
    BundleParts, InitError, Layout, NetworkType, Nodes, Order, ParameterErrors, Past, ProveError, Reach,
    Registry, Seed, Verdict,
};
use chainpool_tests::{Bed, Engine, Options};
use serde_json::json;
use std::sync::Arc;

/// A type whose nodes start after its program was run with this argument.
struct After(Arc<dyn NetworkType>, &'static str);

#[async_trait]
impl NetworkType for After {
    fn describe(&self) -> api::NetworkType {
        self.0.describe()
    }

    fn settle(
        &self,
        preset: &str,
        given: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<serde_json::Value, ParameterErrors> {
        self.0.settle(preset, given)
    }

    fn layout(&self, parameters: &serde_json::Value) -> Layout {
        self.0.layout(parameters)
    }

    fn render(&self, order: &Order, seed: &Seed) -> ClusterSpec {
        let mut spec = self.0.render(order, seed);
        let (node, name) = (spec.nodes[0].clone(), NodeName::parse("setup").expect("a name"));
        let command = vec![node.command[0].clone(), self.1.to_owned()];
        spec.jobs = vec![NodeSpec {
            name: name.clone(),
            command,
            files: vec![],
            volumes: vec![],
            ports: vec![],
            hash: SpecHash(String::new()),
            ..node
        }];
        spec.boot.insert(0, Boot::Job(name));
        spec.with_hashes()
    }

    async fn init(&self, nodes: &Nodes, action: &str) -> Result<(), InitError> {
        self.0.init(nodes, action).await
    }

    async fn probe(&self, nodes: &Nodes, observed: &Observation) -> api::Evidence {
        self.0.probe(nodes, observed).await
    }

    fn verdict(
        &self,
        parameters: &serde_json::Value,
        evidence: &api::Evidence,
        past: &Past,
        now: api::Timestamp,
    ) -> Verdict {
        self.0.verdict(parameters, evidence, past, now)
    }

    async fn prove(&self, nodes: &Nodes) -> Result<api::Proof, ProveError> {
        self.0.prove(nodes).await
    }

    fn bundle(&self, spec: &ClusterSpec, reach: &Reach) -> BundleParts {
        self.0.bundle(spec, reach)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_up_after_its_job_and_fails_with_its_last_words() -> Result<()> {
    let plain = Registry::default().get("cometbft")?;
    let registry = Registry::default()
        .with("cometbft", Arc::new(After(Arc::clone(&plain), "version")))
        .with("hopeless", Arc::new(After(plain, "no-such-command")));
    let bed = Bed::start(Options {
        capacity: 2,
        registry,
        ..Options::default()
    })
    .await?;
    let create: api::Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "one", "parameters": {"validators": 1}}),
        )
        .await?;
    let create = bed.done(&create).await?;
    let step = |operation: &api::Operation, words: &str| {
        operation.steps.iter().position(|step| step.title.contains(words))
    };
    let (ran, started) = (step(&create, "run setup to its end"), step(&create, "start v0"));
    ensure!(ran.is_some() && ran < started, "{create:?}");
    let made = bed.cluster("one").await?;
    ensure!(
        made.health.state == api::HealthState::Healthy && made.nodes.len() == 1,
        "{made:?}"
    );
    let said = bed.engine.said(&Engine::container(&made, "setup")).await?;
    ensure!(said.contains("0.38"), "the job said {said:?}");

    let reset: api::Operation = bed.api.ask("/clusters/one/reset").await?;
    let reset = bed.done(&reset).await?;
    ensure!(step(&reset, "run setup to its end").is_some(), "{reset:?}");
    ensure!(
        bed.engine
            .said(&Engine::container(&bed.cluster("one").await?, "setup"))
            .await?
            .contains("0.38"),
        "the new generation's job did not run"
    );

    let body = json!({"name": "two", "network_type": "hopeless", "parameters": {"validators": 1}});
    let create: api::Operation = bed.api.post("/clusters", body).await?;
    let failed = bed.ended(&create).await?;
    let why = failed.error.clone().unwrap_or_default();
    ensure!(
        why.contains("job setup ended with 1") && why.contains("no-such-command"),
        "{failed:?}"
    );
    ensure!(
        bed.engine
            .life(&Engine::container(&bed.cluster("two").await?, "v0"))
            .await
            .is_err(),
        "a node was made all the same"
    );
    bed.end().await
}
