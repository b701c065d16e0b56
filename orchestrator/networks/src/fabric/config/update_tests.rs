//! Read and write sets of configuration updates.

use super::*;
use crate::fabric::{
    crypto::envelope::tests::test_identity,
    proto::{
        common::{ChannelHeader, Payload, Policy, SignatureHeader},
        lossless::tests::mark,
    },
};
use p256::ecdsa::{Signature, signature::Verifier};

fn value(version: u64, value: &str) -> Lossless<ConfigValue> {
    ConfigValue {
        version,
        value: value.into(),
        mod_policy: "Admins".into(),
    }
    .into()
}

fn policy(version: u64) -> Lossless<ConfigPolicy> {
    let policy = Policy {
        r#type: 3,
        value: vec![1],
    };
    ConfigPolicy {
        version,
        policy: Some(policy.into()),
        mod_policy: "Admins".into(),
    }
    .into()
}

/// A channel with two groups at different versions.
fn channel() -> Lossless<ConfigGroup> {
    let group = |version, values: &[(&str, Lossless<ConfigValue>)]| ConfigGroup {
        version,
        values: values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        policies: [("Admins".to_owned(), policy(3))].into(),
        mod_policy: "Admins".to_owned(),
        groups: BTreeMap::new(),
    };
    let orderer = group(
        2,
        &[("BatchTimeout", value(5, "2s")), ("BatchSize", value(1, "500"))],
    );
    let application = group(4, &[("Capabilities", value(0, "V2_0"))]);
    ConfigGroup {
        groups: [
            ("Orderer".to_owned(), orderer.into()),
            ("Application".to_owned(), application.into()),
        ]
        .into(),
        ..group(1, &[("Capabilities", value(0, "V2_0"))])
    }
    .into()
}

fn sets(after: &Lossless<ConfigGroup>) -> (Lossless<ConfigGroup>, Lossless<ConfigGroup>) {
    let update = update("ch1", &channel(), after).expect("a change");
    assert_eq!(update.channel_id, "ch1");
    (
        update.read_set.expect("it is set"),
        update.write_set.expect("it is set"),
    )
}

#[test]
fn equal_configurations_have_no_update() {
    assert_eq!(update("ch1", &channel(), &channel()), None);
}

#[test]
fn only_the_changed_value_is_written() {
    let mut after = channel();
    let orderer = after.groups.get_mut("Orderer").expect("it is there");
    orderer.values.insert("BatchTimeout".into(), value(5, "2001ms"));
    let bare = |version| ConfigGroup {
        version,
        ..ConfigGroup::default()
    };
    let (read, write) = sets(&after);
    assert_eq!(
        read,
        ConfigGroup {
            groups: [("Orderer".to_owned(), bare(2).into())].into(),
            ..bare(1)
        }
        .into()
    );
    let orderer = ConfigGroup {
        values: [("BatchTimeout".to_owned(), value(6, "2001ms"))].into(),
        ..bare(2)
    };
    assert_eq!(
        write,
        ConfigGroup {
            groups: [("Orderer".to_owned(), orderer.into())].into(),
            ..bare(1)
        }
        .into()
    );
}

#[test]
fn a_group_with_a_new_member_lists_all_members() {
    let mut after = channel();
    let new = ConfigGroup {
        values: [("MSP".to_owned(), value(9, "org3"))].into(),
        mod_policy: "Admins".into(),
        ..ConfigGroup::default()
    };
    let application = after.groups.get_mut("Application").expect("it is there");
    application.groups.insert("org3".into(), new.into());
    let (read, write) = sets(&after);
    let (read, write) = (&read.groups["Application"], &write.groups["Application"]);
    assert_eq!(
        (read.version, write.version, write.mod_policy.as_str()),
        (4, 5, "Admins")
    );
    assert_eq!(
        (read.values.len(), read.policies.len(), read.groups.len()),
        (1, 1, 0)
    );
    assert_eq!(
        write.values["Capabilities"],
        ConfigValue {
            version: 0,
            ..ConfigValue::default()
        }
        .into()
    );
    assert_eq!(
        write.policies["Admins"],
        ConfigPolicy {
            version: 3,
            ..ConfigPolicy::default()
        }
        .into()
    );
    // New elements have version 0.
    assert_eq!(
        (write.groups["org3"].version, &write.groups["org3"].values["MSP"]),
        (0, &value(0, "org3"))
    );
    assert_eq!(write.groups["org3"].mod_policy, "Admins");
}

#[test]
fn unknown_fields_are_content_like_any_other() {
    // A group's own field changes the group; a value's or policy's changes only that one.
    let mut after = channel();
    let orderer = after.groups.get_mut("Orderer").expect("it is there");
    mark(orderer);
    let (_, write) = sets(&after);
    let written = &write.groups["Orderer"];
    assert_eq!((write.version, written.version, written.values.len()), (1, 3, 2));
    assert_eq!(written.unknown(), after.groups["Orderer"].unknown());

    let mut after = channel();
    let orderer = after.groups.get_mut("Orderer").expect("it is there");
    let policy = orderer.policies.get_mut("Admins").expect("it is there");
    mark(policy.policy.as_mut().expect("it is set"));
    mark(orderer.values.get_mut("BatchSize").expect("it is there"));
    let (_, write) = sets(&after);
    let (written, after) = (&write.groups["Orderer"], &after.groups["Orderer"]);
    assert_eq!(
        (written.version, written.values.len(), written.policies.len()),
        (2, 1, 1)
    );
    assert_eq!(written.values["BatchSize"], after.values["BatchSize"].at(2));
    assert_eq!(written.policies["Admins"], after.policies["Admins"].at(4));

    // A new element keeps its fields.
    let (mut after, mut new) = (channel(), value(0, "new"));
    mark(&mut new);
    after.values.insert("New".to_owned(), new.clone());
    assert_eq!(sets(&after).1.values["New"], new);
}

#[test]
fn a_removed_member_is_not_written() {
    let mut after = channel();
    after
        .groups
        .get_mut("Orderer")
        .expect("it is there")
        .values
        .remove("BatchSize");
    let (read, write) = sets(&after);
    let (read, write) = (&read.groups["Orderer"], &write.groups["Orderer"]);
    assert_eq!((read.version, write.version), (2, 3));
    assert_eq!(write.values.keys().collect::<Vec<_>>(), ["BatchTimeout"]);
    assert_eq!(read.values.keys().collect::<Vec<_>>(), ["BatchTimeout"]);
}

#[test]
fn signatures_cover_the_header_and_the_update() {
    let (identity, key) = test_identity();
    let mut after = channel();
    after.values.insert("Capabilities".into(), value(0, "V3_0"));
    let update = update("ch1", &channel(), &after).expect("a change");
    let envelope = signed(&update, &[&identity]).expect("it has a sender");
    let payload = Payload::decode(&envelope.payload[..]).expect("a payload");
    let header = ChannelHeader::decode(&payload.header.expect("a header").channel_header[..])
        .expect("a channel header");
    assert_eq!((header.r#type, header.channel_id.as_str()), (2, "ch1"));
    let inner = ConfigUpdateEnvelope::decode(&payload.data[..]).expect("an update");
    assert_eq!(
        ConfigUpdate::decode(&inner.config_update[..]).as_ref(),
        Ok(&update)
    );
    let [consent] = &inner.signatures[..] else {
        panic!("one signature")
    };
    let signature = Signature::from_der(&consent.signature).expect("DER");
    key.verify(
        &[&consent.signature_header[..], &inner.config_update].concat(),
        &signature,
    )
    .expect("it fits");
    let creator = SignatureHeader::decode(&consent.signature_header[..])
        .expect("a header")
        .creator;
    assert_eq!(creator, identity.creator());
    assert!(signed(&update, &[]).is_none());
}
