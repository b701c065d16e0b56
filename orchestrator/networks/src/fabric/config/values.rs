//! Values in a channel's configuration. Pure.

use crate::fabric::{
    config::names::ADMINS,
    crypto::msp,
    model::{Organisation, ports::ORDERER_PORT},
    proto::{
        configtx::{Capabilities, Capability, ConfigValue, OrdererAddresses},
        orderer::{BatchSize, BatchTimeout},
    },
};
use chainpool_agent::NodeName;
use prost::Message;
use std::collections::BTreeMap;

/// Size limits of a block: as in Fabric's sample.
pub(crate) const BLOCK_MAX_BYTES: u32 = 10 * 1024 * 1024;
pub(crate) const BLOCK_PREFERRED_BYTES: u32 = 2 * 1024 * 1024;

/// Numbers of transactions and of bytes after which a block is cut.
pub(crate) fn batch_size(messages: u32, preferred_max_bytes: u32) -> BatchSize {
    BatchSize {
        max_message_count: messages,
        absolute_max_bytes: BLOCK_MAX_BYTES,
        preferred_max_bytes,
    }
}

/// Time after which an incomplete block is cut.
pub(crate) fn batch_timeout(milliseconds: u32) -> BatchTimeout {
    BatchTimeout {
        timeout: format!("{milliseconds}ms"),
    }
}

pub(crate) fn membership(organisation: &Organisation) -> ConfigValue {
    value(&msp::config(
        &organisation.msp,
        &organisation.ca,
        &organisation.tls_ca,
    ))
}

/// Addresses of the orderers.
pub(crate) fn endpoints(orderers: &[NodeName]) -> OrdererAddresses {
    OrdererAddresses {
        addresses: orderers
            .iter()
            .map(|node| format!("{node}:{ORDERER_PORT}"))
            .collect(),
    }
}

pub(crate) fn named<'a, E: Into<T>, T>(
    entries: impl IntoIterator<Item = (&'a str, E)>,
) -> BTreeMap<String, T> {
    entries
        .into_iter()
        .map(|(name, entry)| (name.to_owned(), entry.into()))
        .collect()
}

pub(crate) fn value(message: &impl Message) -> ConfigValue {
    ConfigValue {
        version: 0,
        value: message.encode_to_vec(),
        mod_policy: ADMINS.to_owned(),
    }
}

pub(crate) fn capability(name: &str) -> ConfigValue {
    value(&Capabilities {
        capabilities: named([(name, Capability {})]),
    })
}
