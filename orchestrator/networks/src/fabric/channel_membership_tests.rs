//! Order of updates, and participation of orderers.

use super::*;
use crate::fabric::{
    fixture,
    orderer::configuration,
    parameters::Parameters,
    proto::{common::Block, configtx::OrdererAddresses},
    version::Version,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

/// Model, certificates and genesis configuration of a network.
fn known(parameters: &Parameters) -> (NetworkModel, Known, ConfigGroup) {
    let spec = fixture::rendered(parameters, 1);
    let model = NetworkModel::read(&spec).expect("model");
    let certificates = |node: &NodeName| {
        (
            node.clone(),
            render::certificates(spec.node(node).expect("a node")).expect("certificates"),
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

#[test]
fn raft_orderers_participate_when_the_leader_counts_all_responsive_ones() {
    let node = |n: usize| NodeName::parse(&format!("orderer{n}")).expect("a name");
    let status = |is_leader, active, height| {
        Some(OrdererStatus {
            is_leader,
            knows_leader: true,
            active,
            height,
            ..OrdererStatus::default()
        })
    };
    let assessed = |statuses: &[Option<OrdererStatus>], total| {
        let answers: Vec<_> = statuses
            .iter()
            .enumerate()
            .map(|(n, status)| (node(n), *status))
            .collect();
        check_statuses(Consensus::Raft, &answers, total, 7).map_err(|e| e.to_string())
    };
    let refused = |why: &str| Err(why.to_owned());
    // A single orderer counts no followers.
    assert_eq!(assessed(&[status(true, 0, 7)], 1), Ok(()));
    assert_eq!(assessed(&[status(false, 0, 7)], 1), refused("no Raft leader yet"));
    assert_eq!(
        assessed(&[status(true, 2, 7), None], 2),
        refused("orderer1 does not participate in ordering yet")
    );
    assert_eq!(
        assessed(&[status(true, 1, 7), status(false, 0, 7)], 2),
        refused("the leader reaches 1 of 2 orderers")
    );
    assert_eq!(
        assessed(&[status(true, 2, 8), status(false, 0, 6)], 2),
        refused("orderer1 is still catching up")
    );
    assert_eq!(assessed(&[status(true, 2, 8), status(false, 0, 7)], 2), Ok(()));
    // One of three failed earlier.
    assert_eq!(assessed(&[status(true, 2, 7), status(false, 0, 7)], 3), Ok(()));
    assert_eq!(
        assessed(&[status(true, 2, 7); 3], 3),
        refused("the leader reaches 2 of 3 orderers")
    );
    assert_eq!(assessed(&[], 3), refused("no Raft leader yet"));
}

#[test]
fn bft_orderers_participate_when_all_responsive_ones_follow_one_leader() {
    let node = |n: u64| NodeName::parse(&format!("orderer{n}")).expect("a name");
    let assessed = |leader_id: &[u64]| {
        // It fetches the newest block with the next one.
        let status = |number, leader_id| OrdererStatus {
            is_leader: number == leader_id,
            knows_leader: true,
            height: 6,
            leader_id,
            ..OrdererStatus::default()
        };
        let answers: Vec<_> = leader_id
            .iter()
            .zip(1u64..)
            .map(|(leader_id, number)| (node(number), Some(status(number, *leader_id))))
            .collect();
        check_statuses(Consensus::Bft, &answers, 4, 7).map_err(|e| e.to_string())
    };
    let refused = |why: &str| Err(why.to_owned());
    assert_eq!(assessed(&[1, 1, 1, 1]), Ok(()));
    // One failed earlier.
    assert_eq!(assessed(&[1, 1, 1]), Ok(()));
    assert_eq!(assessed(&[1, 1]), refused("2 of 4 orderers follow the leader"));
    assert_eq!(
        assessed(&[1, 1, 1, 4]),
        refused("3 of 4 orderers follow the leader")
    );
    assert_eq!(assessed(&[4, 4, 4]), refused("no BFT leader yet"));
}
