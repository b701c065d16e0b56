//! `CometBFT` 0.38 with its built-in key-value application: the smallest real Byzantine-fault-tolerant
//! ledger.

mod bundle;
mod config;
mod drawing;
mod keys;
mod network_model;
mod parameters;
mod probe;
mod prove;
mod render;
mod rpc;
mod sections;
mod verdict;

use crate::{
    BundleParts, History, InitError, NetworkType, Nodes, ParameterErrors, ProveError, PublicEndpoints,
    RenderRequest, Requirements, Seed, Verdict,
};
use async_trait::async_trait;
use chainpool_agent::{ClusterSpec, NodeName, Observation};
use chainpool_api as api;
use chainpool_health::HealthPolicy;
use parameters::Parameters;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The type `cometbft`.
pub(crate) struct CometBft;

#[async_trait]
impl NetworkType for CometBft {
    fn describe(&self) -> api::NetworkType {
        api::NetworkType {
            name: "cometbft".to_owned(),
            about: "CometBFT with its built-in key-value ledger: validators with Byzantine-fault-tolerant consensus.".to_owned(),
            version: "0.38".to_owned(),
            consensus: "bft".to_owned(),
            parameters: parameters::parameters(),
            presets: parameters::presets(),
            certificates: false,
            images: BTreeMap::from([(render::ROLE.to_owned(), render::images())]),
        }
    }

    fn image_builds(&self) -> &'static [(&'static str, &'static str)] {
        &[("chainpool/cometbft", "make docker-cometbft")]
    }

    fn validate(&self, preset: &str, given: &Map<String, Value>) -> Result<Value, ParameterErrors> {
        parameters::validate(preset, given)
    }

    fn requirements(&self, parameters: &Value) -> Requirements {
        render::requirements(&validated(parameters))
    }

    fn render(&self, request: &RenderRequest, seed: &Seed) -> ClusterSpec {
        render::render(&validated(&request.parameters), request, seed)
    }

    async fn init(&self, _: &Nodes, action: &str) -> Result<(), InitError> {
        Err(InitError::new(format!("cometbft has no action {action:?}")))
    }

    async fn probe(&self, nodes: &Nodes, observed: &Observation) -> api::Evidence {
        probe::probe(nodes, observed).await
    }

    fn verdict(
        &self,
        parameters: &Value,
        evidence: &api::Evidence,
        history: &History,
        policy: &HealthPolicy,
        now: api::Timestamp,
    ) -> Verdict {
        verdict::verdict(&validated(parameters), evidence, history, &policy.cometbft, now)
    }

    fn sections(&self, _: &Value, evidence: &api::Evidence, _: api::Timestamp) -> Vec<api::Section> {
        sections::sections(evidence)
    }

    fn drawing(&self, _: &Value, evidence: &api::Evidence) -> Option<api::Drawing> {
        drawing::drawing(evidence)
    }

    fn loses_ledger(&self, spec: &ClusterSpec, lost: &BTreeSet<NodeName>) -> bool {
        verdict::loses_ledger(spec.nodes.len(), lost.len())
    }

    fn ledger_regression(&self, _: &Value, evidence: &api::Evidence, history: &History) -> Option<String> {
        verdict::ledger_regression(evidence, history)
    }

    async fn prove(&self, nodes: &Nodes) -> Result<api::Proof, ProveError> {
        prove::prove(nodes).await
    }

    fn bundle(&self, spec: &ClusterSpec, public_endpoints: &PublicEndpoints) -> BundleParts {
        bundle::bundle(spec, public_endpoints)
    }
}

/// Parses validated parameters.
fn validated(parameters: &Value) -> Parameters {
    Parameters::read(parameters).expect("validate produced these parameters")
}
