//! A configuration as readable JSON.

use super::*;

/// A group as readable JSON.
pub(super) fn shown(group: &ConfigGroup) -> Value {
    let ConfigGroup {
        version,
        groups,
        values,
        policies,
        mod_policy,
    } = group;
    let value = |(name, held): (&String, &Lossless<ConfigValue>)| {
        let value = shown_value(name, &held.value).expect("the message of its name");
        (
            name.clone(),
            json!({"version": held.version, "mod_policy": held.mod_policy, "value": value}),
        )
    };
    let policy = |(name, held): (&String, &Lossless<ConfigPolicy>)| {
        let policy = shown_policy(held.policy.as_ref().expect("a policy")).expect("the message of its type");
        (
            name.clone(),
            json!({"version": held.version, "mod_policy": held.mod_policy, "policy": policy}),
        )
    };
    json!({
        "version": version,
        "mod_policy": mod_policy,
        "groups": groups.iter().map(|(name, group)| (name.clone(), shown(group))).collect::<serde_json::Map<_, _>>(),
        "values": values.iter().map(value).collect::<serde_json::Map<_, _>>(),
        "policies": policies.iter().map(policy).collect::<serde_json::Map<_, _>>(),
    })
}

fn shown_value(name: &str, bytes: &[u8]) -> Result<Value, DecodeError> {
    Ok(match name {
        "HashingAlgorithm" => json!(HashingAlgorithm::decode(bytes)?.name),
        "BlockDataHashingStructure" => json!(BlockDataHashingStructure::decode(bytes)?.width),
        "Capabilities" => json!(
            Capabilities::decode(bytes)?
                .capabilities
                .keys()
                .collect::<Vec<_>>()
        ),
        "Endpoints" => json!(OrdererAddresses::decode(bytes)?.addresses),
        "BatchTimeout" => json!(BatchTimeout::decode(bytes)?.timeout),
        "ChannelRestrictions" => json!(ChannelRestrictions::decode(bytes)?.max_count),
        "BatchSize" => {
            let BatchSize {
                max_message_count,
                absolute_max_bytes,
                preferred_max_bytes,
            } = BatchSize::decode(bytes)?;
            json!([max_message_count, absolute_max_bytes, preferred_max_bytes])
        }
        "AnchorPeers" => {
            let peers = AnchorPeers::decode(bytes)?.anchor_peers;
            peers
                .iter()
                .map(|AnchorPeer { host, port }| format!("{host}:{port}"))
                .collect()
        }
        "ConsensusType" => {
            let ConsensusType {
                r#type,
                metadata,
                state,
            } = ConsensusType::decode(bytes)?;
            if r#type == "BFT" {
                let options = format!("{:?}", BftOptions::decode(&metadata[..])?);
                return Ok(json!({"type": r#type, "state": state, "options": options}));
            }
            let RaftMetadata { consenters, options } = RaftMetadata::decode(&metadata[..])?;
            let consenter = |c: &Lossless<RaftConsenter>| json!({"host": c.host, "port": c.port, "client": mark(&c.client_tls_cert), "server": mark(&c.server_tls_cert)});
            let consenters: Vec<Value> = consenters.iter().map(consenter).collect();
            let options = options.map(|o| {
                (
                    o.tick_interval.clone(),
                    o.election_tick,
                    o.heartbeat_tick,
                    o.max_inflight_blocks,
                    o.snapshot_interval_size,
                )
            });
            json!({"type": r#type, "state": state, "consenters": consenters, "options": options})
        }
        "Orderers" => {
            let consenter = |c: &Lossless<Consenter>| {
                let marks = [&c.identity, &c.client_tls_cert, &c.server_tls_cert]
                    .map(|certificate| mark(certificate));
                json!({"id": c.id, "host": c.host, "port": c.port, "msp_id": c.msp_id, "identity, client, server": marks})
            };
            Orderers::decode(bytes)?
                .consenter_mapping
                .iter()
                .map(consenter)
                .collect()
        }
        "MSP" => shown_msp(&MspConfig::decode(bytes)?)?,
        other => panic!("Fabric has no value {other:?}"),
    })
}

fn shown_msp(MspConfig { r#type, config }: &MspConfig) -> Result<Value, DecodeError> {
    let FabricMspConfig {
        name,
        root_certs,
        crypto_config,
        tls_root_certs,
        fabric_node_ous,
    } = FabricMspConfig::decode(&config[..])?;
    let marks = |list: &[Vec<u8>]| list.iter().map(|c| mark(c)).collect::<Vec<_>>();
    let units = fabric_node_ous.map(|units| {
        let roles = [
            units.client_ou_identifier,
            units.peer_ou_identifier,
            units.admin_ou_identifier,
            units.orderer_ou_identifier,
        ];
        let roles = roles.map(|role| {
            role.map(|r| format!("{} by {}", r.organizational_unit_identifier, mark(&r.certificate)))
        });
        json!({"enable": units.enable, "client, peer, admin, orderer": roles})
    });
    let crypto = crypto_config.map(|c| (c.signature_hash_family, c.identity_identifier_hash_function));
    Ok(json!({
        "type": r#type, "name": name, "root_certs": marks(&root_certs), "tls_root_certs": marks(&tls_root_certs),
        "crypto_config": crypto, "fabric_node_ous": units,
    }))
}

fn shown_policy(policy: &Policy) -> Result<Value, DecodeError> {
    Ok(
        match PolicyType::try_from(policy.r#type).expect("a type of policy") {
            PolicyType::ImplicitMeta => {
                let ImplicitMetaPolicy { sub_policy, rule } = ImplicitMetaPolicy::decode(&policy.value[..])?;
                json!(format!(
                    "{:?} {sub_policy}",
                    Rule::try_from(rule).expect("a rule")
                ))
            }
            PolicyType::Signature => {
                let SignaturePolicyEnvelope {
                    version,
                    rule,
                    identities,
                } = SignaturePolicyEnvelope::decode(&policy.value[..])?;
                let Some(SignatureRule::NOutOf(NOutOf { n, rules })) = rule.and_then(|rule| rule.r#type)
                else {
                    panic!("n out of")
                };
                let mut signers = Vec::new();
                for rule in rules {
                    let Some(SignatureRule::SignedBy(at)) = rule.r#type else {
                        panic!("signed by")
                    };
                    let identity = &identities[usize::try_from(at).expect("an index")];
                    signers.push(
                        match Classification::try_from(identity.principal_classification)
                            .expect("a classification")
                        {
                            Classification::Role => {
                                let MspRole { msp_identifier, role } =
                                    MspRole::decode(&identity.principal[..])?;
                                format!(
                                    "{msp_identifier} {:?}",
                                    MspRoleType::try_from(role).expect("a role")
                                )
                            }
                            Classification::Identity => {
                                let SerializedIdentity { mspid, id_bytes } =
                                    SerializedIdentity::decode(&identity.principal[..])?;
                                format!("{mspid} {}", mark(&id_bytes))
                            }
                            Classification::OrganizationUnit => panic!("a signer by a unit"),
                        },
                    );
                }
                assert_eq!((version, signers.len()), (0, identities.len()));
                json!(format!("{n} of {}", signers.join(", ")))
            }
            other => panic!("a policy by {other:?}"),
        },
    )
}

/// Short hash of a certificate.
fn mark(pem: &[u8]) -> String {
    assert!(
        pem.starts_with(b"-----BEGIN CERTIFICATE-----\n") && pem.ends_with(b"-----END CERTIFICATE-----\n")
    );
    format!("certificate {}", hex::encode(&Sha256::digest(pem)[..4]))
}
