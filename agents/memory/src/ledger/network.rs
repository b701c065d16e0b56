//! The network type.

use super::{
    RPC,
    probe::{self, ask},
    protocol::{Answer, Request},
    prove,
    render::{self, ADMIT, FOUND, Facts, Parameters},
    sections, verdict,
};
use async_trait::async_trait;
use chainpool_agent::{ClusterSpec, NodeName, Observation};
use chainpool_api as api;
use chainpool_health::HealthPolicy;
use chainpool_networks::{
    Amendment, BundleParts, History, InitError, NetworkType, Nodes, ParameterErrors, ProveError,
    PublicEndpoints, RenderRequest, Requirements, Seed, Verdict,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The scripted ledger.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ledger;

#[async_trait]
impl NetworkType for Ledger {
    fn describe(&self) -> api::NetworkType {
        render::describe()
    }

    fn validate(&self, preset: &str, given: &Map<String, Value>) -> Result<Value, ParameterErrors> {
        render::validate(preset, given)
    }

    fn requirements(&self, parameters: &Value) -> Requirements {
        render::requirements(&Parameters::read(parameters))
    }

    fn render(&self, request: &RenderRequest, seed: &Seed) -> ClusterSpec {
        render::render(request, seed)
    }

    fn amend(
        &self,
        spec: &ClusterSpec,
        change: &Amendment,
        seed: &Seed,
    ) -> Result<ClusterSpec, ParameterErrors> {
        render::amend(spec, change, seed)
    }

    async fn init(&self, nodes: &Nodes, action: &str) -> Result<(), InitError> {
        let first = &nodes.spec.nodes[0].name;
        match action {
            FOUND => match ask(
                nodes,
                first,
                &Request::Get {
                    key: FOUND.to_owned(),
                },
            )
            .await
            {
                Ok(Answer::Entry { .. }) => Ok(()),
                _ => {
                    committed(
                        nodes,
                        first,
                        &Request::Put {
                            key: FOUND.to_owned(),
                            value: "yes".to_owned(),
                        },
                    )
                    .await
                }
            },
            ADMIT => {
                for node in &nodes.spec.nodes {
                    committed(
                        nodes,
                        first,
                        &Request::Admit {
                            node: node.name.clone(),
                        },
                    )
                    .await?;
                }
                Ok(())
            }
            other => Err(InitError::new(format!("there is no action {other:?}"))),
        }
    }

    async fn probe(&self, nodes: &Nodes, observed: &Observation) -> api::Evidence {
        probe::probe(nodes, observed).await
    }

    fn verdict(
        &self,
        parameters: &Value,
        evidence: &api::Evidence,
        past: &History,
        policy: &HealthPolicy,
        now: api::Timestamp,
    ) -> Verdict {
        verdict::verdict(
            &Parameters::read(parameters),
            evidence,
            past,
            &policy.cometbft,
            now,
        )
    }

    fn sections(&self, _: &Value, evidence: &api::Evidence, _: api::Timestamp) -> Vec<api::Section> {
        sections::sections(evidence)
    }

    fn drawing(&self, _: &Value, evidence: &api::Evidence) -> Option<api::Drawing> {
        sections::drawing(evidence)
    }

    async fn prove(&self, nodes: &Nodes) -> Result<api::Proof, ProveError> {
        prove::prove(nodes).await
    }

    fn bundle(&self, spec: &ClusterSpec, reach: &PublicEndpoints) -> BundleParts {
        let facts = Facts::read(spec);
        let node = |node: &chainpool_agent::NodeSpec| api::BundleNode {
            name: node.name.to_string(),
            identities: facts
                .identities
                .get(&node.name)
                .map(|id| ("key".to_owned(), id.clone()))
                .into_iter()
                .collect(),
            endpoints: reach.endpoints(node),
        };
        BundleParts {
            nodes: spec.nodes.iter().map(node).collect(),
            write: format!("put name=satoshi at {RPC}"),
            read: format!("get name at {RPC}"),
            files: BTreeMap::from([("genesis.json".to_owned(), spec.nodes[0].command[1].clone())]),
        }
    }
}

async fn committed(nodes: &Nodes, node: &NodeName, request: &Request) -> Result<(), InitError> {
    match ask(nodes, node, request).await {
        Ok(Answer::Committed { .. }) => Ok(()),
        other => Err(InitError::new(format!("{node} answers {other:?} to {request:?}"))),
    }
}
