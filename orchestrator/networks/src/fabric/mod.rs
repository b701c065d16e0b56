//! Hyperledger Fabric: organisations with peers; ordering by Raft or BFT.

mod amend;
mod bundle;
mod client;
mod config;
mod crypto;
mod drawing;
#[cfg(test)]
mod fixture;
mod genesis;
mod health;
mod lifecycle;
mod mark;
mod model;
mod organisations;
mod parameters;
mod proto;
mod prove;
mod render;
mod sections;

use crate::{
    Amendment, BundleParts, History, InitError, NetworkType, Nodes, ParameterErrors, ProveError,
    PublicEndpoints, RenderRequest, Requirements, Seed, SoftwareLine, Verdict,
};
use async_trait::async_trait;
use chainpool_agent::{ClusterSpec, NodeName, Observation};
use chainpool_api as api;
use chainpool_health::HealthPolicy;
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
            about: "Hyperledger Fabric: organisations with endorsing peers, channels, and orderers with Raft or BFT consensus."
                .to_owned(),
            version: "2.5".to_owned(),
            consensus: "raft".to_owned(),
            parameters: parameters::describe::parameters(),
            presets: parameters::describe::presets(),
            certificates: true,
            images: render::images::images(),
        }
    }

    fn image_builds(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("chainpool/fabric-orderer", "make docker-fabric-orderer"),
            ("chainpool/fabric-peer", "make docker-fabric-peer"),
            ("chainpool/fabric-ca", "make docker-fabric-ca"),
            ("chainpool/fabric-chaincode", "make docker-fabric-chaincode"),
        ]
    }

    fn validate(&self, preset: &str, given: &Map<String, Value>) -> Result<Value, ParameterErrors> {
        parameters::validate::validate(preset, given)
    }

    fn software_line(&self, parameters: &Value) -> SoftwareLine {
        let Parameters {
            version, consensus, ..
        } = validated(parameters);
        SoftwareLine {
            version: version.as_str().to_owned(),
            consensus: consensus.as_str().to_owned(),
        }
    }

    fn requirements(&self, parameters: &Value) -> Requirements {
        render::requirements::requirements(&validated(parameters))
    }

    fn render(&self, request: &RenderRequest, seed: &Seed) -> ClusterSpec {
        render::render(&validated(&request.parameters), request, seed)
    }

    fn amend(
        &self,
        spec: &ClusterSpec,
        change: &Amendment,
        seed: &Seed,
    ) -> Result<ClusterSpec, ParameterErrors> {
        amend::amend(spec, change, &validated(&change.request.parameters), seed)
    }

    async fn init(&self, nodes: &Nodes, action: &str) -> Result<(), InitError> {
        lifecycle::init(nodes, action).await
    }

    async fn probe(&self, nodes: &Nodes, observed: &Observation) -> api::Evidence {
        health::probe::probe(nodes, observed).await
    }

    fn verdict(
        &self,
        parameters: &Value,
        evidence: &api::Evidence,
        history: &History,
        policy: &HealthPolicy,
        now: api::Timestamp,
    ) -> Verdict {
        health::verdict::verdict(&validated(parameters), evidence, history, &policy.fabric, now)
    }

    fn sections(
        &self,
        parameters: &Value,
        evidence: &api::Evidence,
        now: api::Timestamp,
    ) -> Vec<api::Section> {
        sections::sections(&validated(parameters), evidence, now)
    }

    fn drawing(&self, parameters: &Value, evidence: &api::Evidence) -> Option<api::Drawing> {
        drawing::drawing(&validated(parameters), evidence)
    }

    fn loses_ledger(&self, spec: &ClusterSpec, lost: &BTreeSet<NodeName>) -> bool {
        // Remaining orderers have the blocks. Orderers that an amendment adds have none yet.
        let orderers = model::NetworkModel::read(spec)
            .map(|model| model.ordering.nodes)
            .unwrap_or_default();
        !orderers.is_empty() && orderers.iter().all(|node| lost.contains(node))
    }

    fn ledger_regression(&self, _: &Value, evidence: &api::Evidence, history: &History) -> Option<String> {
        health::verdict::ledger_regression(evidence, history)
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
