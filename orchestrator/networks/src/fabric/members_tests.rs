//! Which update comes next, and when an orderer counts.

use super::*;
use crate::fabric::{
    fixture,
    orderer::configuration,
    parameters::Parameters,
    proto::{common::Block, configtx::OrdererAddresses},
    version::Version,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

/// What is known of a network of these parameters.
fn known(parameters: &Parameters) -> (Facts, Known, ConfigGroup) {
    let spec = fixture::rendered(parameters, 1);
    let facts = Facts::read(&spec).expect("facts");
    let certificates = |node: &NodeName| {
        (
            node.clone(),
            render::certificates(spec.node(node).expect("a node")).expect("certificates"),
        )
    };
    let known = facts.ordering.nodes.iter().map(certificates).collect();
    let block =
        Block::decode(&BASE64.decode(&facts.channels[0].genesis).expect("base64")[..]).expect("a block");
    let group = configuration(&block)
        .and_then(|found| found.config)
        .and_then(|config| config.channel_group)
        .expect("a configuration");
    (facts, known, group)
}

fn hosts(group: &ConfigGroup) -> Vec<String> {
    Consenters::read(group)
        .expect("readable")
        .hosts()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// The same seed gives the same members to a network however large: so a large one's facts fit a small one's configuration. Returns the
/// steps in words.
fn grown(small: &Parameters, large: &Parameters) -> Vec<String> {
    let (_, _, mut group) = known(small);
    let (facts, known, whole) = known(large);
    let mut told = Vec::new();
    while let Some(step) = next(&facts, &known, &group).expect("readable") {
        let before = group.clone();
        assert!(!has(&before, &step).expect("readable"));
        group = match &step {
            Step::Organisations(after) => {
                told.push(format!("{}", after.groups[APPLICATION].groups.len()));
                after.clone()
            }
            Step::Orderer(node, after) => {
                told.push(node.to_string());
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
                    "Fabric takes one at a time"
                );
                assert_eq!(is_held(after).expect("readable"), large.consensus.holds_back());
                after.clone()
            }
            Step::Release(after) => {
                told.push("release".to_owned());
                after.clone()
            }
        };
        assert!(has(&group, &step).expect("readable"));
    }
    assert_eq!(group, whole);
    told
}

#[test]
fn step_by_step_a_configuration_becomes_that_of_the_larger_network() {
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
    assert_eq!(grown(&small, &large), ["3", "orderer1", "orderer2", "release"]);
}

/// The bytes of the larger network's first block, in which Fabric's own tool finds the policy that it computes.
#[test]
fn by_bft_too_with_the_policy_of_blocks_that_fabric_computes() {
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
    assert_eq!(grown(&small, &large), ["3", "orderer4", "orderer5", "orderer6"]);
}

#[test]
fn what_changes_meanwhile_stays() {
    let (_, _, mut group) = known(&Parameters {
        organisations: 1,
        ..Parameters::default()
    });
    let orderer = group.groups.get_mut(ORDERER).expect("orderer");
    orderer.values.get_mut("BatchTimeout").expect("a value").value = b"another".to_vec();
    let (facts, of_orderers, _) = known(&Parameters::default());
    let Ok(Some(Step::Organisations(after))) = next(&facts, &of_orderers, &group) else {
        panic!("an organisation")
    };
    assert_eq!(after.groups[ORDERER], group.groups[ORDERER]);
    assert!(next(&facts, &of_orderers, &ConfigGroup::default()).is_err());
}

#[test]
fn orderers_take_part_when_the_leader_counts_all_that_answer() {
    let node = |n: usize| NodeName::parse(&format!("orderer{n}")).expect("a name");
    let part = |leads, active, height| {
        Some(Part {
            leads,
            heard: true,
            active,
            height,
            ..Part::default()
        })
    };
    let judged = |parts: &[Option<Part>], total| {
        let answers: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(n, part)| (node(n), *part))
            .collect();
        counted(Consensus::Raft, &answers, total, 7).map_err(|e| e.to_string())
    };
    let refused = |why: &str| Err(why.to_owned());
    // An only one counts nobody.
    assert_eq!(judged(&[part(true, 0, 7)], 1), Ok(()));
    assert_eq!(judged(&[part(false, 0, 7)], 1), refused("no Raft leader yet"));
    assert_eq!(
        judged(&[part(true, 2, 7), None], 2),
        refused("orderer1 does not take part in ordering yet")
    );
    assert_eq!(
        judged(&[part(true, 1, 7), part(false, 0, 7)], 2),
        refused("the leader hears 1 of 2 orderers")
    );
    assert_eq!(
        judged(&[part(true, 2, 8), part(false, 0, 6)], 2),
        refused("orderer1 has not all blocks yet")
    );
    assert_eq!(judged(&[part(true, 2, 8), part(false, 0, 7)], 2), Ok(()));
    // One of three was lost before.
    assert_eq!(judged(&[part(true, 2, 7), part(false, 0, 7)], 3), Ok(()));
    assert_eq!(
        judged(&[part(true, 2, 7); 3], 3),
        refused("the leader hears 2 of 3 orderers")
    );
    assert_eq!(judged(&[], 3), refused("no Raft leader yet"));
}

#[test]
fn by_bft_orderers_take_part_when_all_that_answer_follow_one_leader() {
    let node = |n: u64| NodeName::parse(&format!("orderer{n}")).expect("a name");
    let judged = |follows: &[u64]| {
        // The newest block is fetched with the next one.
        let part = |number, follows| Part {
            leads: number == follows,
            heard: true,
            height: 6,
            follows,
            ..Part::default()
        };
        let answers: Vec<_> = follows
            .iter()
            .zip(1u64..)
            .map(|(follows, number)| (node(number), Some(part(number, *follows))))
            .collect();
        counted(Consensus::Bft, &answers, 4, 7).map_err(|e| e.to_string())
    };
    let refused = |why: &str| Err(why.to_owned());
    assert_eq!(judged(&[1, 1, 1, 1]), Ok(()));
    // One was lost before.
    assert_eq!(judged(&[1, 1, 1]), Ok(()));
    assert_eq!(judged(&[1, 1]), refused("2 of 4 orderers follow the leader"));
    assert_eq!(
        judged(&[1, 1, 1, 4]),
        refused("3 of 4 orderers follow the leader")
    );
    assert_eq!(judged(&[4, 4, 4]), refused("no BFT leader yet"));
}
