//! Order of updates.

use super::*;
use crate::fabric::{
    config::{
        bft::ORDERERS,
        block::configuration,
        consenters::decode,
        names::{BATCH_SIZE, BATCH_TIMEOUT, CONSENSUS, RAFT},
        update,
    },
    fixture,
    model::files,
    parameters::{Parameters, consensus::Consensus, version::Version},
    proto::{
        common::Block,
        configtx::{ConfigUpdate, Orderers},
        lossless::tests::{mark, unknown_field},
        orderer::{BatchSize, BatchTimeout, ConsensusType, RaftMetadata},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use prost::Message;

/// Model, certificates and genesis configuration of a network.
fn known(parameters: &Parameters) -> (NetworkModel, Known, Lossless<ConfigGroup>) {
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

fn batching(group: &ConfigGroup) -> Batching {
    Batching::read(group).expect("readable").expect("not suspended")
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
    let batching = batching(&group);
    while let Some(step) = next_step(&model, &known, &group, &batching).expect("readable") {
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
    edit::<BatchTimeout>(orderer, BATCH_TIMEOUT, |timeout| {
        timeout.timeout = "7s".to_owned();
    })
    .expect("readable");
    let (model, orderer_certificates, _) = known(&Parameters::default());
    let batching = batching(&group);
    let Ok(Some(Step::Organisations(after))) = next_step(&model, &orderer_certificates, &group, &batching)
    else {
        panic!("an organisation")
    };
    assert_eq!(after.groups[ORDERER], group.groups[ORDERER]);
    assert!(next_step(&model, &orderer_certificates, &Lossless::default(), &batching).is_err());
}

/// Users changed blocks, addresses, consensus options, capabilities and access rules.
#[test]
fn settings_of_the_users_survive_all_steps() {
    let small = Parameters {
        organisations: 1,
        ..Parameters::default()
    };
    let large = Parameters {
        organisations: 2,
        orderers: 3,
        ..Parameters::default()
    };
    let (_, _, mut group) = known(&small);
    let (model, known, _) = known(&large);
    let application = group.groups.get_mut(APPLICATION).expect("application");
    application
        .values
        .insert("ACLs".to_owned(), values::value(&values::batch_timeout(1)).into());
    application
        .values
        .insert("Capabilities".to_owned(), values::capability("V2_0").into());
    let orderer = group.groups.get_mut(ORDERER).expect("orderer");
    let size = BatchSize {
        max_message_count: 20,
        absolute_max_bytes: 99 << 20,
        preferred_max_bytes: 512 << 10,
    };
    edit::<BatchSize>(orderer, BATCH_SIZE, |present| **present = size).expect("readable");
    edit::<BatchTimeout>(orderer, BATCH_TIMEOUT, |present| {
        present.timeout = "1m30s".to_owned();
    })
    .expect("readable");
    let own = orderer.groups.get_mut("orderers").expect("the organisation");
    edit::<OrdererAddresses>(own, ENDPOINTS, |present| {
        present.addresses.push("orderer.example.com:443".to_owned());
    })
    .expect("readable");

    let batching = batching(&group);
    let mut after = group.clone();
    while let Some(step) = next_step(&model, &known, &after, &batching).expect("readable") {
        let (Step::Organisations(next) | Step::Orderer(_, next) | Step::Resume(next)) = step;
        let size: BatchSize = decode(&next.groups[ORDERER], BATCH_SIZE).expect("a value");
        assert_eq!(size.absolute_max_bytes, 99 << 20);
        after = next;
    }
    assert_eq!(hosts(&after).len(), 3);
    let addresses: OrdererAddresses =
        decode(&after.groups[ORDERER].groups["orderers"], ENDPOINTS).expect("a value");
    assert_eq!(
        addresses.addresses,
        [
            "orderer0:7050",
            "orderer.example.com:443",
            "orderer1:7050",
            "orderer2:7050"
        ]
    );
    // The rest is as before.
    let orderer = after.groups.get_mut(ORDERER).expect("orderer");
    let before = &group.groups[ORDERER];
    orderer.groups.clone_from(&before.groups);
    let mut consenters = Consenters::read(&after).expect("readable");
    let Consenters::Raft(raft) = &mut consenters else {
        panic!("Raft")
    };
    raft.consenters.truncate(1);
    consenters
        .write(after.groups.get_mut(ORDERER).expect("orderer"))
        .expect("readable");
    after
        .groups
        .get_mut(APPLICATION)
        .expect("application")
        .groups
        .remove("org2");
    assert_eq!(after, group);
}

/// Adds an unknown field to every message of a configuration.
fn mark_all(group: &mut Lossless<ConfigGroup>) {
    mark(group);
    group.groups.values_mut().for_each(mark_all);
    for policy in group.policies.values_mut() {
        mark(policy);
        mark(policy.policy.as_mut().expect("a policy"));
    }
    for (name, value) in &mut group.values {
        mark(value);
        if name == CONSENSUS {
            let mut consensus = Lossless::<ConsensusType>::decode(&value.value[..]).expect("a value");
            if consensus.r#type == RAFT {
                let mut raft = Lossless::<RaftMetadata>::decode(&consensus.metadata[..]).expect("metadata");
                raft.consenters.iter_mut().for_each(mark);
                raft.options.iter_mut().for_each(mark);
                mark(&mut raft);
                consensus.metadata = raft.encode_to_vec();
            }
            value.value = consensus.encode_to_vec();
        } else if name == ORDERERS {
            let mut orderers = Lossless::<Orderers>::decode(&value.value[..]).expect("a value");
            orderers.consenter_mapping.iter_mut().for_each(mark);
            value.value = orderers.encode_to_vec();
        }
        value.value.extend(unknown_field());
    }
}

/// Checks that an element keeps its unknown fields; `count` includes those within it.
fn is_marked(before: &impl Message, after: &impl Message) -> bool {
    let count = |message: &dyn Fn() -> Vec<u8>| {
        let (bytes, field) = (message(), unknown_field());
        bytes
            .windows(field.len())
            .filter(|window| *window == field)
            .count()
    };
    let before = count(&|| before.encode_to_vec());
    before > 0 && before == count(&|| after.encode_to_vec())
}

/// Checks that the written elements of an update have the new content with all unknown fields.
fn check_written(
    before: &ConfigGroup,
    after: &Lossless<ConfigGroup>,
    write: &Lossless<ConfigGroup>,
) -> usize {
    let mut written = 0;
    if write.version > before.version {
        assert_eq!(
            (write.unknown(), &write.mod_policy),
            (after.unknown(), &after.mod_policy)
        );
        assert_eq!(write.unknown(), unknown_field());
        written += 1;
    }
    for (name, value) in &write.values {
        if before
            .values
            .get(name)
            .is_some_and(|old| value.version > old.version)
        {
            assert_eq!(
                (value.unknown(), &value.value),
                (after.values[name].unknown(), &after.values[name].value)
            );
            assert!(is_marked(&before.values[name], value), "{name}");
            written += 1;
        }
    }
    for (name, policy) in &write.policies {
        if before
            .policies
            .get(name)
            .is_some_and(|old| policy.version > old.version)
        {
            assert_eq!(policy.policy, after.policies[name].policy);
            assert!(is_marked(&before.policies[name], policy), "{name}");
            written += 1;
        }
    }
    let known = write
        .groups
        .iter()
        .filter_map(|(name, group)| Some((before.groups.get(name)?, &after.groups[name], group)));
    written
        + known
            .map(|(before, after, group)| check_written(before, after, group))
            .sum::<usize>()
}

/// Applies all steps to a configuration with unknown fields in every message; returns the numbers of changed
/// elements.
fn written_by_steps(small: &Parameters, large: &Parameters) -> Vec<usize> {
    let (_, _, mut group) = known(small);
    let (model, known, _) = known(large);
    mark_all(&mut group);
    let mut written = Vec::new();
    let batching = batching(&group);
    loop {
        // As an orderer delivers it.
        let before = Lossless::<ConfigGroup>::decode(&group.encode_to_vec()[..]).expect("a configuration");
        assert_eq!(before, group);
        let Some(step) = next_step(&model, &known, &before, &batching).expect("readable") else {
            return written;
        };
        let (Step::Organisations(after) | Step::Orderer(_, after) | Step::Resume(after)) = step;
        let update = update::update("ch1", &before, &after)
            .expect("a change")
            .encode_to_vec();
        let update = ConfigUpdate::decode(&update[..]).expect("an update");
        written.push(check_written(
            &before,
            &after,
            &update.write_set.expect("it is set"),
        ));
        group = after;
    }
}

#[test]
fn unknown_fields_survive_all_steps_with_raft() {
    let small = Parameters {
        organisations: 1,
        ..Parameters::default()
    };
    let large = Parameters {
        organisations: 2,
        orderers: 3,
        ..Parameters::default()
    };
    // The application group; consenters, size, timeout and addresses; then without the size and timeout, which
    // stay; size and timeout.
    assert_eq!(written_by_steps(&small, &large), [1, 4, 2, 2]);
}

#[test]
fn unknown_fields_survive_all_steps_with_bft() {
    let small = Parameters {
        version: Version::V3_1,
        consensus: Consensus::Bft,
        orderers: 4,
        ..Parameters::default()
    };
    let large = Parameters {
        organisations: 3,
        orderers: 5,
        ..small.clone()
    };
    // The application group; consenters, block validation policy and addresses.
    assert_eq!(written_by_steps(&small, &large), [1, 3]);
}
