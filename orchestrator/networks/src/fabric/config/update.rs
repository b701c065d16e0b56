//! Configuration update: the difference between two channel configurations, as orderers expect it.
//!
//! The read set holds the versions that the change is based on. The write set holds the changed elements, one
//! version higher. A group whose members change lists all of them in both sets; any other group lists only
//! the changes within it (`configtxlator/update`). Fields that this program does not know are content like any
//! other.

use crate::fabric::{
    crypto::{
        envelope::{Stamp, seal},
        identity::Identity,
    },
    proto::{
        common::{Envelope, HeaderType},
        configtx::{
            ConfigGroup, ConfigPolicy, ConfigSignature, ConfigUpdate, ConfigUpdateEnvelope, ConfigValue,
        },
        lossless::Lossless,
    },
};
use prost::Message;
use std::collections::BTreeMap;

/// The update from `before` to `after`. `None`: they are the same.
pub(crate) fn update(
    channel: &str,
    before: &Lossless<ConfigGroup>,
    after: &Lossless<ConfigGroup>,
) -> Option<ConfigUpdate> {
    let Change { read, write, differs } = group(before, after);
    differs.then(|| ConfigUpdate {
        channel_id: channel.to_owned(),
        read_set: Some(read),
        write_set: Some(write),
    })
}

/// An update signed by all signers and submitted by the first.
pub(crate) fn signed(update: &ConfigUpdate, signers: &[&Identity]) -> Option<Envelope> {
    let config_update = update.encode_to_vec();
    let sign = |identity: &&Identity| {
        let signature_header = Stamp::new(identity).signature_header.encode_to_vec();
        let signature = identity.sign(&[&signature_header[..], &config_update].concat());
        ConfigSignature {
            signature_header,
            signature,
        }
    };
    let signatures = signers.iter().map(sign).collect();
    let sender = signers.first()?;
    let header = Stamp::new(sender).header(HeaderType::ConfigUpdate, &update.channel_id, Vec::new());
    Some(seal(
        sender,
        header,
        ConfigUpdateEnvelope {
            config_update,
            signatures,
        }
        .encode_to_vec(),
    ))
}

/// Read and write sets of one group. Without a change both hold only its version.
struct Change {
    read: Lossless<ConfigGroup>,
    write: Lossless<ConfigGroup>,
    differs: bool,
}

/// A value or policy of a group.
trait Member: Clone + Default + PartialEq {
    fn version(&self) -> u64;
    fn set_version(&mut self, version: u64);
    /// The content with this version.
    fn at(&self, version: u64) -> Self {
        let mut member = self.clone();
        member.set_version(version);
        member
    }
    /// The version without content.
    fn unchanged(&self) -> Self {
        Self::default().at(self.version())
    }
    /// Compares the content without the version.
    fn is_same(&self, other: &Self) -> bool {
        self.at(0) == other.at(0)
    }
}

impl Member for Lossless<ConfigValue> {
    fn version(&self) -> u64 {
        self.version
    }

    fn set_version(&mut self, version: u64) {
        self.version = version;
    }
}

impl Member for Lossless<ConfigPolicy> {
    fn version(&self) -> u64 {
        self.version
    }

    fn set_version(&mut self, version: u64) {
        self.version = version;
    }
}

/// The members of a group by kind of change.
struct Members<T> {
    /// Unchanged: versions without content.
    same: BTreeMap<String, T>,
    /// Read set of changed members.
    read: BTreeMap<String, T>,
    /// Write set of changed and new members.
    write: BTreeMap<String, T>,
    /// A member is added or removed.
    differ: bool,
}

impl<T> Members<T> {
    /// Read and write sets of a group with added or removed members: both list unchanged members.
    fn into_sets(self) -> (BTreeMap<String, T>, BTreeMap<String, T>)
    where
        T: Clone,
    {
        let (mut read, mut write) = (self.read, self.write);
        read.extend(self.same.clone());
        write.extend(self.same);
        (read, write)
    }
}

fn members<T: Member>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> Members<T> {
    let mut members = Members {
        same: BTreeMap::new(),
        read: BTreeMap::new(),
        write: BTreeMap::new(),
        differ: false,
    };
    for (name, old) in before {
        match after.get(name) {
            None => members.differ = true,
            Some(new) if old.is_same(new) => drop(members.same.insert(name.clone(), old.unchanged())),
            Some(new) => drop(members.write.insert(name.clone(), new.at(old.version() + 1))),
        }
    }
    for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        members.differ = true;
        members.write.insert(name.clone(), new.at(0));
    }
    members
}

fn groups(
    before: &BTreeMap<String, Lossless<ConfigGroup>>,
    after: &BTreeMap<String, Lossless<ConfigGroup>>,
) -> Members<Lossless<ConfigGroup>> {
    let mut members = Members {
        same: BTreeMap::new(),
        read: BTreeMap::new(),
        write: BTreeMap::new(),
        differ: false,
    };
    for (name, old) in before {
        match after.get(name).map(|new| group(old, new)) {
            None => members.differ = true,
            Some(Change {
                read, differs: false, ..
            }) => drop(members.same.insert(name.clone(), read)),
            Some(Change { read, write, .. }) => {
                members.read.insert(name.clone(), read);
                members.write.insert(name.clone(), write);
            }
        }
    }
    for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        members.differ = true;
        let mut write = group(&Lossless::default(), new).write;
        write.version = 0;
        members.write.insert(name.clone(), write);
    }
    members
}

fn group(before: &Lossless<ConfigGroup>, after: &Lossless<ConfigGroup>) -> Change {
    let ConfigGroup {
        version,
        groups: old_groups,
        values: old_values,
        policies: old_policies,
        mod_policy,
    } = &**before;
    let (policies, values) = (
        members(old_policies, &after.policies),
        members(old_values, &after.values),
    );
    let groups = groups(old_groups, &after.groups);
    let sets = |version, mod_policy, (groups, values, policies)| ConfigGroup {
        version,
        groups,
        values,
        policies,
        mod_policy,
    };
    let own_differs = *mod_policy != after.mod_policy || before.unknown() != after.unknown();
    if policies.differ || values.differ || groups.differ || own_differs {
        let ((read_policies, policies), (read_values, values)) = (policies.into_sets(), values.into_sets());
        let (read_groups, groups) = groups.into_sets();
        let read = sets(*version, String::new(), (read_groups, read_values, read_policies));
        let own = after.mod_policy.clone();
        return Change {
            read: read.into(),
            write: after.with(sets(version + 1, own, (groups, values, policies))),
            differs: true,
        };
    }
    let differs = !(policies.write.is_empty() && values.write.is_empty() && groups.write.is_empty());
    let [read, write] = [
        (groups.read, values.read, policies.read),
        (groups.write, values.write, policies.write),
    ]
    .map(|members| Lossless::from(sets(*version, String::new(), members)));
    Change { read, write, differs }
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
