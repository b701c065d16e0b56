//! Organisations in a channel's configuration. Pure.

use crate::fabric::{
    config::{
        names::{ADMINS, ENDPOINTS},
        policies::signature,
        values::{endpoints, membership, named, value},
    },
    model::{Organisation, ports::PEER_PORT},
    proto::{
        configtx::{AnchorPeer, AnchorPeers, ConfigGroup},
        msp::MspRoleType,
    },
};
use chainpool_agent::NodeName;

/// An organisation of peers: MSP, anchor peer and policies.
pub(crate) fn organisation_group(organisation: &Organisation) -> ConfigGroup {
    use MspRoleType::{Admin, Client, Peer};
    let anchor = |node: &NodeName| AnchorPeer {
        host: node.to_string(),
        port: PEER_PORT.into(),
    };
    let anchors = AnchorPeers {
        anchor_peers: organisation.nodes.first().map(anchor).into_iter().collect(),
    };
    let policy = |name, roles: &[MspRoleType]| (name, signature(&organisation.msp, roles));
    ConfigGroup {
        values: named([
            ("MSP", membership(organisation)),
            ("AnchorPeers", value(&anchors)),
        ]),
        policies: named([
            policy("Readers", &[Admin, Peer, Client]),
            policy("Writers", &[Admin, Client]),
            policy(ADMINS, &[Admin]),
            policy("Endorsement", &[Peer]),
        ]),
        ..group()
    }
}

/// The organisation of the orderers.
pub(crate) fn ordering_group(ordering: &Organisation) -> ConfigGroup {
    use MspRoleType::{Admin, Member};
    let policy = |name, roles: &[MspRoleType]| (name, signature(&ordering.msp, roles));
    ConfigGroup {
        values: named([
            ("MSP", membership(ordering)),
            (ENDPOINTS, value(&endpoints(&ordering.nodes))),
        ]),
        policies: named([
            policy("Readers", &[Member]),
            policy("Writers", &[Member]),
            policy(ADMINS, &[Admin]),
        ]),
        ..group()
    }
}

/// A group with the default policy.
pub(crate) fn group() -> ConfigGroup {
    ConfigGroup {
        mod_policy: ADMINS.to_owned(),
        ..ConfigGroup::default()
    }
}
