//! Renders a request to a spec: files, ports and limits of every node. Pure.
//!
//! Settings of Fabric 2.5: `sampleconfig/orderer.yaml`, `sampleconfig/core.yaml`, `core/peer/config.go`; 3.1
//! has the same, and its additional settings keep their defaults.

use crate::{
    RenderRequest,
    fabric::{
        crypto::msp,
        model::{
            files::{HOME, TLS, TLS_KEY, USER, file, with_files},
            ports::{ADMIN_PORT, METRICS_PORT, ORDERER_PORT, PEER_PORT, need, ports},
            role::Role,
        },
        organisations::{member::Member, organisation::OrganisationKeys},
        parameters::{Parameters, consensus::Consensus},
        render::{
            database,
            environment::{environment, level},
            images,
            memory::{MIB, memory},
        },
    },
};
use chainpool_agent::{Audience, File, Limits, NodeName, NodeSpec, Port, Protocol, Secret, SpecHash, Volume};
use chainpool_api::LogLevel;

/// Mount point of a node's volume: where the official images declare one, which would otherwise be anonymous.
/// A new volume's top folder belongs to root, so everything is one folder below, in folders that the upload
/// creates for the user.
const MOUNT: &str = "/var/hyperledger";

/// Folder of `orderer.yaml` in the official orderer image and in ours.
const ORDERER_CONFIG: &str = "/etc/hyperledger/fabric";

/// Settings of a peer. The images' `core.yaml` names a Docker engine, which environment variables cannot
/// unset.
const CORE_YAML: &str = include_str!("core.yaml");

/// Renders an orderer or a peer.
pub(crate) fn node(
    parameters: &Parameters,
    request: &RenderRequest,
    keyed: &OrganisationKeys,
    member: &Member,
    control_ca: &str,
) -> NodeSpec {
    let (role, version) = (keyed.role, parameters.version);
    let (command, settings) = match role {
        Role::Orderer => (vec!["orderer"], orderer_settings(keyed, parameters.consensus)),
        Role::Peer => (vec!["peer", "node", "start"], peer_settings(keyed, &member.name)),
    };
    let state = member
        .database
        .as_ref()
        .map(|password| database::peer_settings(&member.name, password))
        .unwrap_or_default();
    let port = |(name, inside, audience): (&str, u16, Audience)| Port {
        name: name.to_owned(),
        inside,
        protocol: Protocol::Tcp,
        audience,
        published: request.ports.get(&need(&member.name, name)).copied(),
    };
    NodeSpec {
        name: member.name.clone(),
        images: request
            .images
            .get(&images::node_role(version, role))
            .cloned()
            .unwrap_or_else(|| images::node(version, role)),
        command: command.into_iter().map(str::to_owned).collect(),
        user: Some(format!("{}:{}", USER.0, USER.1)),
        env: environment(
            settings
                .into_iter()
                .chain(common_settings(role, request.log_level)),
        )
        .into_iter()
        .chain(state)
        .collect(),
        files: files(keyed, member, control_ca),
        volumes: vec![Volume {
            name: "home".to_owned(),
            path: MOUNT.to_owned(),
            shared: false,
        }],
        ports: ports(role).map(port).collect(),
        limits: Limits {
            memory_bytes: memory(role),
            processes: 512,
            cpu_millis: None,
        },
        readiness: None,
        result: false,
        read_only_root: true,
        log: request.log.clone(),
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: 10,
        machine: None,
        hash: SpecHash(String::new()),
    }
}

/// Common settings of orderers and peers. The memory limit of the Go runtime triggers garbage collection
/// before the platform kills the process.
fn common_settings(role: Role, log_level: LogLevel) -> Vec<(&'static str, String)> {
    vec![
        ("FABRIC_LOGGING_SPEC", level(log_level).to_owned()),
        (
            "FABRIC_LOGGING_FORMAT",
            "%{time:2006-01-02 15:04:05.000 MST} [%{module}] %{shortfunc} -> %{level:.4s} %{message}"
                .to_owned(),
        ),
        ("GOMEMLIMIT", format!("{}MiB", memory(role) / MIB * 4 / 5)),
        ("TMPDIR", format!("{HOME}/tmp")),
    ]
}

/// Overrides of the image's `orderer.yaml`. A follower waits for a killed leader as long as calls between
/// orderers may take: 7 s by default, longer than an election. A channel follower retries a failed fetch
/// after 5 s by default: too long for the second of two orderers, which is needed for ordering.
///
/// 3.1 reads all of them too: BFT orderers use the general port and certificate for each other if nothing
/// else is set, and keep no snapshots (`orderer/common/server/main.go`,
/// `orderer/consensus/smartbft/consenter.go`).
fn orderer_settings(keyed: &OrganisationKeys, consensus: Consensus) -> Vec<(&'static str, String)> {
    let text = str::to_owned;
    let own = match consensus {
        Consensus::Raft => "etcdraft",
        Consensus::Bft => "smartbft",
    };
    let (certificate, key, ca) = (
        format!("{HOME}/tls/server.crt"),
        format!("{HOME}/tls/server.key"),
        format!("{HOME}/tls/ca.crt"),
    );
    let control = format!("[{HOME}/tls/control.crt]");
    vec![
        ("FABRIC_CFG_PATH", text(ORDERER_CONFIG)),
        ("ORDERER_GENERAL_LISTENADDRESS", text("0.0.0.0")),
        ("ORDERER_GENERAL_LISTENPORT", ORDERER_PORT.to_string()),
        ("ORDERER_GENERAL_LOCALMSPID", keyed.msp.clone()),
        ("ORDERER_GENERAL_LOCALMSPDIR", format!("{HOME}/msp")),
        ("ORDERER_GENERAL_TLS_ENABLED", text("true")),
        ("ORDERER_GENERAL_TLS_CERTIFICATE", certificate.clone()),
        ("ORDERER_GENERAL_TLS_PRIVATEKEY", key.clone()),
        ("ORDERER_GENERAL_TLS_ROOTCAS", format!("[{ca}]")),
        ("ORDERER_GENERAL_CLUSTER_RPCTIMEOUT", text("3s")),
        ("ORDERER_GENERAL_CLUSTER_REPLICATIONRETRYTIMEOUT", text("250ms")),
        ("ORDERER_GENERAL_BOOTSTRAPMETHOD", text("none")),
        ("ORDERER_CHANNELPARTICIPATION_ENABLED", text("true")),
        ("ORDERER_ADMIN_LISTENADDRESS", format!("0.0.0.0:{ADMIN_PORT}")),
        ("ORDERER_ADMIN_TLS_ENABLED", text("true")),
        ("ORDERER_ADMIN_TLS_CERTIFICATE", certificate.clone()),
        ("ORDERER_ADMIN_TLS_PRIVATEKEY", key.clone()),
        ("ORDERER_ADMIN_TLS_CLIENTAUTHREQUIRED", text("true")),
        ("ORDERER_ADMIN_TLS_CLIENTROOTCAS", control.clone()),
        (
            "ORDERER_OPERATIONS_LISTENADDRESS",
            format!("0.0.0.0:{METRICS_PORT}"),
        ),
        ("ORDERER_OPERATIONS_TLS_ENABLED", text("true")),
        ("ORDERER_OPERATIONS_TLS_CERTIFICATE", certificate),
        ("ORDERER_OPERATIONS_TLS_PRIVATEKEY", key),
        ("ORDERER_OPERATIONS_TLS_CLIENTAUTHREQUIRED", text("true")),
        ("ORDERER_OPERATIONS_TLS_CLIENTROOTCAS", control),
        ("ORDERER_METRICS_PROVIDER", text("prometheus")),
        ("ORDERER_FILELEDGER_LOCATION", format!("{HOME}/data")),
        ("ORDERER_CONSENSUS_WALDIR", format!("{HOME}/data/{own}/wal")),
        ("ORDERER_CONSENSUS_SNAPDIR", format!("{HOME}/data/{own}/snapshot")),
    ]
}

/// Overrides of [`CORE_YAML`]. A peer's gossip starts with all others of its organisation, or with itself if
/// it is alone.
fn peer_settings(keyed: &OrganisationKeys, name: &NodeName) -> Vec<(&'static str, String)> {
    let address = |name: &NodeName| format!("{name}:{PEER_PORT}");
    let others: Vec<String> = keyed
        .members
        .iter()
        .filter(|member| &member.name != name)
        .map(|member| address(&member.name))
        .collect();
    vec![
        ("FABRIC_CFG_PATH", format!("{HOME}/config")),
        ("CORE_PEER_ID", name.to_string()),
        ("CORE_PEER_ADDRESS", address(name)),
        (
            "CORE_PEER_GOSSIP_BOOTSTRAP",
            if others.is_empty() {
                address(name)
            } else {
                others.join(" ")
            },
        ),
        ("CORE_PEER_GOSSIP_EXTERNALENDPOINT", address(name)),
        ("CORE_PEER_LOCALMSPID", keyed.msp.clone()),
        (
            "CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG",
            format!(r#"{{"peername":"{name}"}}"#),
        ),
    ]
}

/// Keys, certificates and other files of a node. The file in `tmp` creates the folder.
fn files(keyed: &OrganisationKeys, member: &Member, control_ca: &str) -> Vec<File> {
    let file = |path: &str, content, secret| file(HOME, path, content, secret);
    let open = |path: &str, text: &str| file(path, Secret::new(text.as_bytes().to_vec()), false);
    let membership = msp::files(
        &keyed.ca.certificate,
        &keyed.tls_ca.certificate,
        &member.enrolment.certificate,
    );
    let mut files: Vec<File> = membership
        .into_iter()
        .map(|(path, text)| open(&format!("msp/{path}"), &text))
        .collect();
    files.extend([
        file(&format!("msp/{}", msp::KEY), member.enrolment.key.pem(), true),
        open("tls/ca.crt", &keyed.tls_ca.certificate),
        open("tls/control.crt", control_ca),
        open(TLS, &member.tls.certificate),
        file(TLS_KEY, member.tls.key.pem(), true),
        open("tmp/.keep", ""),
    ]);
    if keyed.role == Role::Peer {
        files.push(open("config/core.yaml", CORE_YAML));
    }
    files
}

/// The node on the ports of the request; a node that was never created may have been allocated others.
pub(crate) fn published(node: &NodeSpec, request: &RenderRequest) -> NodeSpec {
    let mut ports = node.ports.clone();
    for port in ports.iter_mut().filter(|port| port.published.is_some()) {
        port.published = request.ports.get(&need(&node.name, &port.name)).copied();
    }
    let hash = if ports == node.ports {
        node.hash.clone()
    } else {
        SpecHash(String::new())
    };
    NodeSpec {
        ports,
        hash,
        ..node.clone()
    }
}

/// The node with its member's current certificates.
pub(crate) fn recertified(node: &NodeSpec, member: &Member) -> NodeSpec {
    let enrolment = format!("msp/{}", msp::CERTIFICATE);
    let certificates = [
        (enrolment.as_str(), &member.enrolment.certificate),
        (TLS, &member.tls.certificate),
    ];
    with_files(
        node,
        HOME,
        certificates.map(|(path, certificate)| (path, Secret::new(certificate.as_bytes().to_vec()))),
    )
}
