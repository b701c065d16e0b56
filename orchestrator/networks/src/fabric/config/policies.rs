//! Policies in a channel's configuration. Pure.

use crate::fabric::{
    config::{names::ADMINS, values::named},
    proto::{
        common::{
            ImplicitMetaPolicy, NOutOf, Policy, PolicyType, Rule, SignaturePolicy, SignaturePolicyEnvelope,
            SignatureRule,
        },
        configtx::ConfigPolicy,
        lossless::Lossless,
        msp::{Classification, MspPrincipal, MspRole, MspRoleType},
    },
};
use prost::Message;
use std::collections::BTreeMap;

/// Default policies: any organisation's readers and writers, and a majority of the administrators.
pub(crate) fn ruling() -> BTreeMap<String, Lossless<ConfigPolicy>> {
    named([
        ("Readers", implicit(Rule::Any, "Readers")),
        ("Writers", implicit(Rule::Any, "Writers")),
        (ADMINS, implicit(Rule::Majority, ADMINS)),
    ])
}

/// A policy over the subgroups' policies of this name.
pub(crate) fn implicit(rule: Rule, sub_policy: &str) -> ConfigPolicy {
    element(policy(
        PolicyType::ImplicitMeta,
        &ImplicitMetaPolicy {
            sub_policy: sub_policy.to_owned(),
            rule: rule.into(),
        },
    ))
}

/// One signature by a member with one of these roles.
pub(crate) fn signature(msp: &str, roles: &[MspRoleType]) -> ConfigPolicy {
    let principal = |role: &MspRoleType| MspPrincipal {
        principal_classification: Classification::Role.into(),
        principal: MspRole {
            msp_identifier: msp.to_owned(),
            role: (*role).into(),
        }
        .encode_to_vec(),
    };
    element(signatures(1, roles.iter().map(principal).collect()))
}

/// Signatures of `n` of these identities.
pub(crate) fn signatures(n: usize, identities: Vec<MspPrincipal>) -> Policy {
    let number = |n: usize| i32::try_from(n).expect("a few roles or orderers");
    let signed_by = |n: usize| SignaturePolicy {
        r#type: Some(SignatureRule::SignedBy(number(n))),
    };
    let rule = NOutOf {
        n: number(n),
        rules: (0..identities.len()).map(signed_by).collect(),
    };
    let rule = Some(SignaturePolicy {
        r#type: Some(SignatureRule::NOutOf(rule)),
    });
    policy(
        PolicyType::Signature,
        &SignaturePolicyEnvelope {
            version: 0,
            rule,
            identities,
        },
    )
}

pub(crate) fn policy(kind: PolicyType, message: &impl Message) -> Policy {
    Policy {
        r#type: kind.into(),
        value: message.encode_to_vec(),
    }
}

/// A policy as an element of a group.
pub(crate) fn element(policy: Policy) -> ConfigPolicy {
    ConfigPolicy {
        version: 0,
        policy: Some(policy.into()),
        mod_policy: ADMINS.to_owned(),
    }
}
