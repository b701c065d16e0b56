//! Hyperledger Fabric: organisations with peers, ordered by Raft or BFT.

mod access;
mod amend;
mod bft;
mod bundle;
mod ca;
mod certificates;
mod chaincode;
mod commit;
mod configupdate;
mod connect;
mod consensus;
mod consenters;
mod database;
mod deliver;
mod deploy;
mod discovery;
mod duration;
mod endorser;
mod envelope;
mod facts;
#[cfg(test)]
mod fixture;
mod genesis;
mod health;
mod identity;
mod init;
mod keys;
mod ledger;
mod lifecycle;
mod members;
mod metrics;
mod msp;
mod orderer;
mod organisation;
mod parameters;
mod participation;
mod patience;
mod probe;
mod proto;
mod prove;
mod render;
mod standstill;
mod tls;
mod transaction;
mod verdict;
mod version;
mod words;
mod yaml;

use crate::{
    Amendment, BundleParts, InitError, Layout, Line, NetworkType, Nodes, Order, ParameterErrors, Past,
    ProveError, Reach, Seed, Verdict,
};
use async_trait::async_trait;
use chainpool_agent::{ClusterSpec, NodeName, Observation};
use chainpool_api as api;
use parameters::Parameters;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The type `fabric`.
pub(crate) struct Fabric;

#[async_trait]
impl NetworkType for Fabric {
    fn describe(&self) -> api::NetworkType {
        api::NetworkType {
            name: "fabric".to_owned(),
            about: "Hyperledger Fabric: organisations with peers that endorse, channels, and orderers that agree by Raft, or by BFT."
                .to_owned(),
            version: "2.5".to_owned(),
            consensus: "raft".to_owned(),
            parameters: parameters::parameters(),
            presets: parameters::presets(),
            certificates: true,
            images: render::images(),
        }
    }

    fn settle(&self, preset: &str, given: &Map<String, Value>) -> Result<Value, ParameterErrors> {
        parameters::settle(preset, given)
    }

    fn line(&self, parameters: &Value) -> Line {
        let Parameters {
            version, consensus, ..
        } = settled(parameters);
        Line {
            version: version.as_str().to_owned(),
            consensus: consensus.as_str().to_owned(),
        }
    }

    fn layout(&self, parameters: &Value) -> Layout {
        render::layout(&settled(parameters))
    }

    fn render(&self, order: &Order, seed: &Seed) -> ClusterSpec {
        render::render(&settled(&order.parameters), order, seed)
    }

    fn amend(
        &self,
        spec: &ClusterSpec,
        change: &Amendment,
        seed: &Seed,
    ) -> Result<ClusterSpec, ParameterErrors> {
        amend::amend(spec, change, &settled(&change.order.parameters), seed)
    }

    async fn init(&self, nodes: &Nodes, action: &str) -> Result<(), InitError> {
        init::init(nodes, action).await
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
        // Orderers that are left have the blocks. Those that an amendment brings have none yet.
        let orderers = facts::Facts::read(spec)
            .map(|facts| facts.ordering.nodes)
            .unwrap_or_default();
        !orderers.is_empty() && orderers.iter().all(|node| lost.contains(node))
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
