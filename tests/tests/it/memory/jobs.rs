//! Jobs that a network type requests on demand.

use anyhow::{Result, ensure};
use chainpool_agent::{
    Agent, ClusterId, ClusterKey, ClusterSpec, ImageRequest, InstanceId, Limits, LogConfig, NetworkSpec,
    NodeName, NodeSpec, RESULT_BEGIN, RESULT_END, Scope, SpecHash, kit::program,
};
use chainpool_agent_memory::{Fault, MemoryAgent, Verb, World};
use chainpool_health::HealthPolicy;
use chainpool_networks::{Nodes, NodesError};
use program::Step;
use std::{collections::BTreeMap, sync::Arc};

const IMAGE: &str = "memory/busybox:1";

/// A job that prints this result.
fn job(result: &str, steps: &[Step]) -> Result<NodeSpec> {
    let marked = [RESULT_BEGIN, result, RESULT_END].map(|line| Step::Say(line.to_owned()));
    Ok(NodeSpec {
        name: NodeName::parse("publish")?,
        images: vec![IMAGE.to_owned()],
        command: program::command(&[&marked, steps].concat()),
        user: None,
        env: BTreeMap::new(),
        files: vec![],
        volumes: vec![],
        ports: vec![],
        limits: Limits {
            memory_bytes: 32 << 20,
            processes: 16,
            cpu_millis: None,
        },
        readiness: None,
        result: true,
        read_only_root: true,
        machine: None,
        log: LogConfig::default(),
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: 1,
        hash: SpecHash(format!("hash of {result}")),
    })
}

async fn network(world: &Arc<World>) -> Result<Nodes> {
    let agent: Arc<dyn Agent> = Arc::new(MemoryAgent::connect(Arc::clone(world), InstanceId::new()));
    let key = ClusterKey {
        cluster: ClusterId::new(),
        generation: 1,
    };
    let network = NetworkSpec { subnet: None };
    agent.ensure_network(&key, &network).await?;
    agent.ensure_image(&ImageRequest::of(&[IMAGE.to_owned()])).await?;
    let spec = ClusterSpec {
        nodes: vec![],
        jobs: vec![],
        boot: vec![],
        network,
        facts: serde_json::Value::Null,
        keys: BTreeMap::new(),
    };
    Ok(Nodes {
        agent,
        key,
        spec: Arc::new(spec),
        policy: Arc::new(HealthPolicy::default()),
    })
}

/// The jobs on the platform.
async fn jobs(nodes: &Nodes) -> Result<usize> {
    let seen = nodes.agent.observe(Scope::Cluster(nodes.key.cluster)).await?;
    Ok(seen.objects.iter().filter(|object| object.node.is_some()).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_on_demand_gives_its_result_each_time_and_leaves_nothing() -> Result<()> {
    let nodes = network(&World::new()).await?;
    for result in ["first", "second", "second"] {
        let found = nodes.run_job(&job(result, &[])?).await?;
        ensure!(found.expose() == result.as_bytes(), "not the result of this run");
        ensure!(jobs(&nodes).await? == 0, "the job is left on the platform");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_interrupted_is_continued_by_the_next_one() -> Result<()> {
    let world = World::new();
    let nodes = network(&world).await?;
    let job = job("only", &[])?;
    for verb in [Verb::EnsureJob, Verb::DropNode] {
        world.next(verb, Fault::AnswerLost);
        let failed = nodes.run_job(&job).await;
        ensure!(
            matches!(&failed, Err(NodesError::Agent(error)) if error.is_transient()),
            "{failed:?}"
        );
    }
    let found = nodes.run_job(&job).await?;
    ensure!(found.expose() == b"only" && jobs(&nodes).await? == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_a_result_or_with_an_error_is_refused_and_dropped_before_the_next_run() -> Result<()> {
    let nodes = network(&World::new()).await?;
    let silent = NodeSpec {
        command: program::command(&[Step::Say("nothing".to_owned())]),
        ..job("none", &[])?
    };
    let refused = nodes.run_job(&silent).await;
    ensure!(
        matches!(&refused, Err(NodesError::Agent(error)) if error.to_string().contains("printed no result")),
        "{refused:?}"
    );
    ensure!(jobs(&nodes).await? == 0, "the job is left on the platform");
    let failing = job("before the end", &[Step::Exit(3)])?;
    let refused = nodes.run_job(&failing).await;
    ensure!(
        matches!(&refused, Err(NodesError::Agent(error)) if error.to_string().contains("exited with 3")),
        "{refused:?}"
    );
    // A failed job stays with its log; the next one replaces it.
    let found = nodes.run_job(&job("another", &[])?).await?;
    ensure!(found.expose() == b"another" && jobs(&nodes).await? == 0);
    Ok(())
}
