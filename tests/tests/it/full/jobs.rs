//! A network that runs a job before its nodes start.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use chainpool_agent::{Boot, ClusterSpec, NodeName, NodeSpec, Observation, SpecHash};
use chainpool_api as api;
use chainpool_health::HealthPolicy;
use chainpool_networks::{
    BundleParts, History, InitError, NetworkType, Nodes, ParameterErrors, ProveError, PublicEndpoints,
    Registry, RenderRequest, Requirements, Seed, Verdict,
};
use chainpool_tests::{Bed, Engine, Options};
use serde_json::json;
use std::sync::Arc;

/// Network type that runs its program with this argument as a job before its nodes start.
struct WithJob(Arc<dyn NetworkType>, &'static str);

#[async_trait]
impl NetworkType for WithJob {
    fn describe(&self) -> api::NetworkType {
        self.0.describe()
    }

    fn validate(
        &self,
        preset: &str,
        given: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<serde_json::Value, ParameterErrors> {
        self.0.validate(preset, given)
    }

    fn requirements(&self, parameters: &serde_json::Value) -> Requirements {
        self.0.requirements(parameters)
    }

    fn render(&self, order: &RenderRequest, seed: &Seed) -> ClusterSpec {
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

    fn progress(&self, evidence: &api::Evidence) -> Option<api::Progress> {
        self.0.progress(evidence)
    }

    fn verdict(
        &self,
        parameters: &serde_json::Value,
        evidence: &api::Evidence,
        past: &History,
        policy: &HealthPolicy,
        now: api::Timestamp,
    ) -> Verdict {
        self.0.verdict(parameters, evidence, past, policy, now)
    }

    async fn prove(&self, nodes: &Nodes) -> Result<api::Proof, ProveError> {
        self.0.prove(nodes).await
    }

    fn bundle(&self, spec: &ClusterSpec, reach: &PublicEndpoints) -> BundleParts {
        self.0.bundle(spec, reach)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_starts_after_its_job_and_fails_with_the_jobs_last_log_lines() -> Result<()> {
    let plain = Registry::default().get("cometbft")?;
    let registry = Registry::default()
        .with("cometbft", Arc::new(WithJob(Arc::clone(&plain), "version")))
        .with("hopeless", Arc::new(WithJob(plain, "no-such-command")));
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
    let create = bed.wait_succeeded(&create).await?;
    let step = |operation: &api::Operation, words: &str| {
        operation.steps.iter().position(|step| step.title.contains(words))
    };
    let (ran, started) = (
        step(&create, "run setup to completion"),
        step(&create, "start v0"),
    );
    ensure!(ran.is_some() && ran < started, "{create:?}");
    let created = bed.cluster("one").await?;
    ensure!(
        created.health.state == api::HealthState::Healthy && created.nodes.len() == 1,
        "{created:?}"
    );
    let log = bed.engine.logs(&Engine::container(&created, "setup")).await?;
    ensure!(log.contains("0.38"), "the job's log is {log:?}");

    let reset: api::Operation = bed.api.post_empty("/clusters/one/reset").await?;
    let reset = bed.wait_succeeded(&reset).await?;
    ensure!(step(&reset, "run setup to completion").is_some(), "{reset:?}");
    ensure!(
        bed.engine
            .logs(&Engine::container(&bed.cluster("one").await?, "setup"))
            .await?
            .contains("0.38"),
        "the job of the new generation did not run"
    );

    let body = json!({"name": "two", "network_type": "hopeless", "parameters": {"validators": 1}});
    let create: api::Operation = bed.api.post("/clusters", body).await?;
    let failed = bed.wait_ended(&create).await?;
    let why = failed.error.clone().unwrap_or_default();
    ensure!(
        why.contains("job setup exited with 1") && why.contains("no-such-command"),
        "{failed:?}"
    );
    ensure!(
        bed.engine
            .incarnation(&Engine::container(&bed.cluster("two").await?, "v0"))
            .await
            .is_err(),
        "a node was created in spite of the failed job"
    );
    bed.end().await
}
