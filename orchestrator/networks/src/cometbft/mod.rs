//! `CometBFT` 0.38 with its built-in key-value application: the smallest real Byzantine-fault-tolerant ledger.

mod bundle;
mod config;
mod facts;
mod keys;
mod parameters;
mod probe;
mod prove;
mod render;
mod rpc;
mod verdict;

use crate::{
    BundleParts, InitError, Layout, NetworkType, Nodes, Order, ParameterErrors, Past, ProveError, Reach,
    Seed, Verdict,
};
use async_trait::async_trait;
use chainpool_agent::{ClusterSpec, NodeName, Observation};
use chainpool_api as api;
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
            about: "CometBFT with its built-in key-value ledger: validators that agree by Byzantine-fault-tolerant voting.".to_owned(),
            version: "0.38".to_owned(),
            consensus: "bft".to_owned(),
            parameters: parameters::parameters(),
            presets: parameters::presets(),
            certificates: false,
            images: BTreeMap::from([(render::ROLE.to_owned(), render::images())]),
        }
    }

    fn settle(&self, preset: &str, given: &Map<String, Value>) -> Result<Value, ParameterErrors> {
        parameters::settle(preset, given)
    }

    fn layout(&self, parameters: &Value) -> Layout {
        render::layout(&settled(parameters))
    }

    fn render(&self, order: &Order, seed: &Seed) -> ClusterSpec {
        render::render(&settled(&order.parameters), order, seed)
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
        past: &Past,
        now: api::Timestamp,
    ) -> Verdict {
        verdict::verdict(&settled(parameters), evidence, past, now)
    }

    fn loses_ledger(&self, spec: &ClusterSpec, lost: &BTreeSet<NodeName>) -> bool {
        verdict::loses_ledger(spec.nodes.len(), lost.len())
    }

    fn began_again(&self, _: &Value, evidence: &api::Evidence, past: &Past) -> Option<String> {
        verdict::began_again(evidence, past)
    }

    async fn prove(&self, nodes: &Nodes) -> Result<api::Proof, ProveError> {
        prove::prove(nodes).await
    }

    fn bundle(&self, spec: &ClusterSpec, reach: &Reach) -> BundleParts {
        bundle::bundle(spec, reach)
    }
}

/// Settled parameters as values.
fn settled(parameters: &Value) -> Parameters {
    Parameters::read(parameters).expect("settle has made these parameters")
}
