//! Renders a request to a spec: files, ports and limits of every node. Pure.

pub(super) mod ca;
pub(super) mod chaincode;
pub(super) mod database;
mod environment;
pub(super) mod images;
mod memory;
pub(super) mod node;
mod package;
pub(super) mod requirements;

use crate::{
    RenderRequest, Seed,
    fabric::{
        crypto::{certificates::CertificateIssuer, keys::bytes},
        genesis::{self, Origin},
        model::{
            self, Channel, NetworkModel,
            actions::{DEPLOY, JOIN},
        },
        organisations::{Organisations, organisation::OrganisationKeys},
        parameters::{Parameters, chaincode::Chaincode},
        render::{
            chaincode::{chaincode_node, packaged},
            node::node,
        },
    },
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::{Boot, ClusterSpec, NodeSpec};
use prost::Message;

/// Renders the spec of one generation.
pub(crate) fn render(parameters: &Parameters, request: &RenderRequest, seed: &Seed) -> ClusterSpec {
    let issuer = CertificateIssuer::new(seed, request.genesis_at, parameters.certificate_days);
    let organisations =
        Organisations::create(&issuer, parameters, &request.chain_id, &request.public_endpoints);
    let control_ca = &organisations.control_ca.certificate;
    let members = organisations
        .all()
        .flat_map(|keyed| keyed.members.iter().map(move |member| (keyed, member)));
    let mut nodes: Vec<NodeSpec> = members
        .map(|(keyed, member)| node(parameters, request, keyed, member, control_ca))
        .collect();
    nodes.extend(
        organisations
            .databases()
            .map(|(member, password)| database::node(request, member, password)),
    );
    nodes.extend(
        organisations
            .servers()
            .map(|(keyed, server)| ca::node(parameters, request, keyed, server)),
    );
    let chaincodes: Vec<(Chaincode, model::Chaincode)> = parameters
        .chaincodes()
        .into_iter()
        .map(|c| (c.clone(), packaged(&c)))
        .collect();
    nodes.extend(
        chaincodes
            .iter()
            .map(|(chaincode, model)| chaincode_node(request, chaincode, model)),
    );
    let channels = parameters
        .channels
        .iter()
        .map(|name| channel(name, parameters, request, seed, &organisations))
        .collect();
    let model = model(
        parameters,
        channels,
        chaincodes.into_iter().map(|(_, model)| model).collect(),
        &organisations,
    );
    let mut boot = vec![
        Boot::Start(nodes.iter().map(|node| node.name.clone()).collect()),
        Boot::Init(JOIN.to_owned()),
    ];
    if !model.chaincodes.is_empty() {
        boot.push(Boot::Init(DEPLOY.to_owned()));
    }
    ClusterSpec {
        nodes,
        jobs: vec![],
        boot,
        network: request.network.clone(),
        facts: model.write(),
        keys: organisations.keys(),
    }
    .with_hashes()
}

/// Builds the model of a network.
pub(crate) fn model(
    parameters: &Parameters,
    channels: Vec<Channel>,
    chaincodes: Vec<model::Chaincode>,
    organisations: &Organisations,
) -> NetworkModel {
    NetworkModel {
        parameters: parameters.clone(),
        channels,
        ordering: organisations.ordering.model(),
        organisations: organisations.peers.iter().map(OrganisationKeys::model).collect(),
        control: organisations.control.certificate.clone(),
        control_ca: organisations.control_ca.certificate.clone(),
        chaincodes,
    }
}

/// Builds a channel of all organisations and orderers.
pub(crate) fn channel(
    name: &str,
    parameters: &Parameters,
    request: &RenderRequest,
    seed: &Seed,
    organisations: &Organisations,
) -> Channel {
    let nonce = bytes(seed, &format!("nonce {name}"));
    let block = genesis::block(
        &Origin {
            channel: name,
            at: request.genesis_at,
            nonce: &nonce[..24],
        },
        parameters,
        organisations,
    );
    Channel {
        name: name.to_owned(),
        genesis: BASE64.encode(block.encode_to_vec()),
    }
}

#[cfg(test)]
mod tests;
