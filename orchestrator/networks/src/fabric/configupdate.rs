//! The difference between two configurations of a channel, in the form in which orderers take it.
//!
//! A read set tells the versions that the change was made for, a write set holds what changes, one version higher. A group whose
//! members change names all of them in both; any other group names only what changes within (`configtxlator/update`).

use super::{
    envelope::{Stamp, seal},
    identity::Identity,
    proto::{
        common::{Envelope, HeaderType},
        configtx::{
            ConfigGroup, ConfigPolicy, ConfigSignature, ConfigUpdate, ConfigUpdateEnvelope, ConfigValue,
        },
    },
};
use prost::Message;
use std::collections::BTreeMap;

/// The update that makes `after` of `before`. `None`: they are the same.
pub(super) fn update(channel: &str, before: &ConfigGroup, after: &ConfigGroup) -> Option<ConfigUpdate> {
    let Change { read, write, differs } = group(before, after);
    differs.then(|| ConfigUpdate {
        channel_id: channel.to_owned(),
        read_set: Some(read),
        write_set: Some(write),
    })
}

/// An update signed by those whose consent it needs, handed over by the first of them.
pub(super) fn signed(update: &ConfigUpdate, signers: &[&Identity]) -> Option<Envelope> {
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

/// What a change of one group reads and writes. Without a change both hold its version alone.
struct Change {
    read: ConfigGroup,
    write: ConfigGroup,
    differs: bool,
}

/// Members of a group that have the same form: values or policies.
trait Member: Clone {
    /// The version alone.
    fn unchanged(&self) -> Self;
    /// The content at a version.
    fn at(&self, version: u64) -> Self;
    fn version(&self) -> u64;
    /// Whether the content is the same, whatever the version.
    fn is_same(&self, other: &Self) -> bool;
}

impl Member for ConfigValue {
    fn unchanged(&self) -> Self {
        Self {
            version: self.version,
            ..Self::default()
        }
    }

    fn at(&self, version: u64) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn is_same(&self, other: &Self) -> bool {
        self.value == other.value && self.mod_policy == other.mod_policy
    }
}

impl Member for ConfigPolicy {
    fn unchanged(&self) -> Self {
        Self {
            version: self.version,
            ..Self::default()
        }
    }

    fn at(&self, version: u64) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn is_same(&self, other: &Self) -> bool {
        self.policy == other.policy && self.mod_policy == other.mod_policy
    }
}

/// The members of a group, sorted by what becomes of them.
struct Members<T> {
    /// They stay as they are; versions alone.
    same: BTreeMap<String, T>,
    /// What a change of them reads.
    read: BTreeMap<String, T>,
    /// They change or are new.
    write: BTreeMap<String, T>,
    /// Whether one is new or gone.
    differ: bool,
}

impl<T> Members<T> {
    /// The sets of a group whose members change: what stays is named in both.
    fn whole(self) -> (BTreeMap<String, T>, BTreeMap<String, T>)
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
    before: &BTreeMap<String, ConfigGroup>,
    after: &BTreeMap<String, ConfigGroup>,
) -> Members<ConfigGroup> {
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
        members.write.insert(
            name.clone(),
            ConfigGroup {
                version: 0,
                ..group(&ConfigGroup::default(), new).write
            },
        );
    }
    members
}

fn group(before: &ConfigGroup, after: &ConfigGroup) -> Change {
    let ConfigGroup {
        version,
        groups: old_groups,
        values: old_values,
        policies: old_policies,
        mod_policy,
    } = before;
    let (policies, values) = (
        members(old_policies, &after.policies),
        members(old_values, &after.values),
    );
    let groups = groups(old_groups, &after.groups);
    let sets = |version, (groups, values, policies)| ConfigGroup {
        version,
        groups,
        values,
        policies,
        mod_policy: String::new(),
    };
    if policies.differ || values.differ || groups.differ || *mod_policy != after.mod_policy {
        let ((read_policies, policies), (read_values, values)) = (policies.whole(), values.whole());
        let (read_groups, groups) = groups.whole();
        let read = sets(*version, (read_groups, read_values, read_policies));
        let write = ConfigGroup {
            mod_policy: after.mod_policy.clone(),
            ..sets(version + 1, (groups, values, policies))
        };
        return Change {
            read,
            write,
            differs: true,
        };
    }
    let differs = !(policies.write.is_empty() && values.write.is_empty() && groups.write.is_empty());
    let read = sets(*version, (groups.read, values.read, policies.read));
    Change {
        read,
        write: sets(*version, (groups.write, values.write, policies.write)),
        differs,
    }
}

#[cfg(test)]
#[path = "configupdate_tests.rs"]
mod tests;
