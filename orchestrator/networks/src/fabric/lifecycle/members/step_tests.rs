//! Order of updates.

use super::*;
use crate::fabric::{
    config::block::configuration,
    fixture,
    model::files,
    parameters::{Parameters, consensus::Consensus, version::Version},
    proto::{common::Block, configtx::OrdererAddresses},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

/// Model, certificates and genesis configuration of a network.
fn known(parameters: &Parameters) -> (NetworkModel, Known, ConfigGroup) {
    let spec = fixture::rendered(parameters, 1);
    let model = NetworkModel::read(&spec).expect("model");
    let certificates = |node: &NodeName| {
        (
            node.clone(),
            files::certificates(spec.node(node).expect("a node")).expect("certificates"),
        )
    };
    let known = model.ordering.nodes.iter().map(certificates).collect();
    let block =
        Block::decode(&BASE64.decode(&model.channels[0].genesis).expect("base64")[..]).expect("a block");
    let group = configuration(&block)
        .and_then(|found| found.config)
        .and_then(|config| config.channel_group)
        .expect("a configuration");
    (model, known, group)
}

fn hosts(group: &ConfigGroup) -> Vec<String> {
    Consenters::read(group)
        .expect("readable")
        .hosts()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// Applies all steps from a small to a large network and returns their descriptions. The same seed gives the
/// same members in networks of any size, so the large model fits the small configuration.
fn steps_between(small: &Parameters, large: &Parameters) -> Vec<String> {
    let (_, _, mut group) = known(small);
    let (model, known, whole) = known(large);
    let mut descriptions = Vec::new();
    while let Some(step) = next_step(&model, &known, &group).expect("readable") {
        let before = group.clone();
        assert!(!is_applied(&before, &step).expect("readable"));
        group = match &step {
            Step::Organisations(after) => {
                descriptions.push(format!("{}", after.groups[APPLICATION].groups.len()));
                after.clone()
            }
            Step::Orderer(node, after) => {
                descriptions.push(node.to_string());
                let addresses = &after.groups[ORDERER].groups["orderers"].values[ENDPOINTS].value;
                let addresses = OrdererAddresses::decode(&addresses[..])
                    .expect("addresses")
                    .addresses;
                assert_eq!(
                    addresses,
                    hosts(after)
                        .into_iter()
                        .map(|host| format!("{host}:7050"))
                        .collect::<Vec<_>>()
                );
                assert_eq!(
                    hosts(after).len(),
                    hosts(&before).len() + 1,
                    "Fabric accepts one at a time"
                );
                assert_eq!(
                    is_batching_suspended(after).expect("readable"),
                    large.consensus.suspends_batching()
                );
                after.clone()
            }
            Step::Resume(after) => {
                descriptions.push("resume".to_owned());
                after.clone()
            }
        };
        assert!(is_applied(&group, &step).expect("readable"));
    }
    assert_eq!(group, whole);
    descriptions
}

#[test]
fn steps_lead_to_the_configuration_of_the_larger_network() {
    let small = Parameters {
        organisations: 1,
        ..Parameters::default()
    };
    let large = Parameters {
        organisations: 3,
        orderers: 3,
        peers: 2,
        ..Parameters::default()
    };
    assert_eq!(
        steps_between(&small, &large),
        ["3", "orderer1", "orderer2", "resume"]
    );
}

/// The result equals the larger network's genesis block, whose policy Fabric's own tool confirms.
#[test]
fn bft_steps_update_the_block_validation_policy_as_fabric_does() {
    let small = Parameters {
        version: Version::V3_1,
        consensus: Consensus::Bft,
        orderers: 4,
        ..Parameters::default()
    };
    let large = Parameters {
        organisations: 3,
        orderers: 7,
        ..small.clone()
    };
    assert_eq!(
        steps_between(&small, &large),
        ["3", "orderer4", "orderer5", "orderer6"]
    );
}

#[test]
fn concurrent_changes_are_kept() {
    let (_, _, mut group) = known(&Parameters {
        organisations: 1,
        ..Parameters::default()
    });
    let orderer = group.groups.get_mut(ORDERER).expect("orderer");
    orderer.values.get_mut("BatchTimeout").expect("a value").value = b"another".to_vec();
    let (model, orderer_certificates, _) = known(&Parameters::default());
    let Ok(Some(Step::Organisations(after))) = next_step(&model, &orderer_certificates, &group) else {
        panic!("an organisation")
    };
    assert_eq!(after.groups[ORDERER], group.groups[ORDERER]);
    assert!(next_step(&model, &orderer_certificates, &ConfigGroup::default()).is_err());
}
