//! Host resources that a network needs.

use crate::{
    Requirements,
    fabric::{
        model::{
            names::{self, orderers, organisation_name, peers},
            ports::{self, need, ports},
            role::Role,
        },
        parameters::Parameters,
        render::memory::{self, CHAINCODE_MEMORY, memory},
    },
};
use chainpool_agent::NodeName;

/// Host resources that a network with these parameters needs.
pub(crate) fn requirements(parameters: &Parameters) -> Requirements {
    let of = |names: Vec<NodeName>, role: Role| names.into_iter().map(move |name| (name, role));
    let peers = (1..=parameters.organisations).flat_map(|n| of(peers(parameters, n), Role::Peer));
    let nodes: Vec<(NodeName, Role)> = of(orderers(parameters), Role::Orderer).chain(peers).collect();
    let with_ca = if parameters.certificate_authorities {
        parameters.organisations
    } else {
        0
    };
    let servers: Vec<NodeName> = (1..=with_ca).map(|n| names::ca(&organisation_name(n))).collect();
    let databases = names::databases(parameters);
    let others = [
        (parameters.chaincodes.len(), CHAINCODE_MEMORY),
        (servers.len(), memory::CA_MEMORY),
        (databases.len(), memory::DATABASE_MEMORY),
    ];
    let other_memory = others
        .map(|(count, memory)| u64::try_from(count).expect("a few") * memory)
        .iter()
        .sum::<u64>();
    let member_ports = nodes
        .iter()
        .flat_map(|(name, role)| ports(*role).map(move |(port, ..)| need(name, port)));
    Requirements {
        size: u32::try_from(nodes.len() + others.iter().map(|(count, _)| count).sum::<usize>())
            .expect("a few"),
        memory_bytes: nodes.iter().map(|(_, role)| memory(*role)).sum::<u64>() + other_memory,
        ports: member_ports
            .chain(servers.iter().map(|name| need(name, ports::HTTPS)))
            .collect(),
        colocated: databases.into_iter().collect(),
    }
}
