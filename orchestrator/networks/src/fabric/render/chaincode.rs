//! Chaincode nodes and their packages.

use crate::{
    RenderRequest,
    fabric::{
        model::{
            self,
            ports::{CHAINCODE, CHAINCODE_PORT},
        },
        parameters::chaincode::Chaincode,
        render::{environment::environment, memory::CHAINCODE_MEMORY, package},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::{Audience, Limits, NodeSpec, Port, Protocol, SpecHash};

/// Builds the model of a chaincode: its package and its node.
pub(crate) fn packaged(chaincode: &Chaincode) -> model::Chaincode {
    let Chaincode {
        name,
        version,
        image: _,
    } = chaincode;
    let node = chaincode.node();
    let (package_id, package) = package::package(name, &format!("{node}:{CHAINCODE_PORT}"));
    let package = BASE64.encode(package);
    model::Chaincode {
        name: name.clone(),
        version: version.clone(),
        package_id,
        package,
        node,
        earlier: vec![],
        overrides: false,
    }
}

/// Renders a chaincode node: the user's image with its own program. Shims and samples for Go and Node read
/// the first of the two variables for the id and for TLS, those for Java the second. Its root is writable,
/// because the program is unknown.
pub(crate) fn chaincode_node(
    request: &RenderRequest,
    chaincode: &Chaincode,
    model: &model::Chaincode,
) -> NodeSpec {
    let settings = [
        ("CHAINCODE_ID", model.package_id.clone()),
        ("CORE_CHAINCODE_ID_NAME", model.package_id.clone()),
        ("CHAINCODE_SERVER_ADDRESS", format!("0.0.0.0:{CHAINCODE_PORT}")),
        ("CHAINCODE_TLS_DISABLED", "true".to_owned()),
        ("CORE_PEER_TLS_ENABLED", "false".to_owned()),
    ];
    NodeSpec {
        name: model.node.clone(),
        images: vec![chaincode.image.clone()],
        command: vec![],
        user: None,
        env: environment(settings),
        files: vec![],
        volumes: vec![],
        ports: vec![Port {
            name: CHAINCODE.to_owned(),
            inside: CHAINCODE_PORT,
            protocol: Protocol::Tcp,
            audience: Audience::Peers,
            published: None,
        }],
        limits: Limits {
            memory_bytes: CHAINCODE_MEMORY,
            processes: 512,
            cpu_millis: None,
        },
        readiness: None,
        result: false,
        read_only_root: false,
        log: request.log.clone(),
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: 10,
        machine: None,
        hash: SpecHash(String::new()),
    }
}
