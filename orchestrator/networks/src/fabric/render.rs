//! Renders a request to a spec: files, ports and limits of every node. Pure.
//!
//! Settings of Fabric 2.5: `sampleconfig/orderer.yaml`, `sampleconfig/core.yaml`, `core/peer/config.go`; 3.1
//! has the same, and its additional settings keep their defaults.

use super::{
    ca,
    certificates::{CertificateIssuer, Issued},
    chaincode,
    consensus::Consensus,
    database,
    genesis::{self, Origin},
    keys::{Key, bytes},
    msp,
    network_model::{self, Channel, NetworkModel},
    organisation::{Member, OrganisationKeys, Organisations, Role, orderers, organisation_name, peers},
    parameters::{Chaincode, Parameters},
    version::Version,
};
use crate::{PortNeed, RenderRequest, Requirements, Seed};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::{
    Audience, Boot, ClusterSpec, File, Limits, NodeName, NodeSpec, Port, Protocol, Secret, SpecHash,
    Variable, Volume,
};
use chainpool_api::LogLevel;
use prost::Message;
use std::collections::BTreeMap;

/// User port: endorsing and the gateway on a peer, broadcast and deliver on an orderer.
pub(super) const GRPC: &str = "grpc";
/// Channel participation on an orderer.
pub(super) const ADMIN: &str = "admin";
/// Metrics and health.
pub(super) const METRICS: &str = "metrics";
/// Port of a chaincode.
pub(super) const CHAINCODE: &str = "chaincode";

/// Ports inside the nodes.
pub(super) const ORDERER_PORT: u16 = 7050;
pub(super) const PEER_PORT: u16 = 7051;
const ADMIN_PORT: u16 = 7053;
const METRICS_PORT: u16 = 9443;
const CHAINCODE_PORT: u16 = 9999;

/// Boot actions.
pub(super) const JOIN: &str = "channels";
pub(super) const MEMBERS: &str = "members";
pub(super) const DEPLOY: &str = "chaincodes";
pub(super) const COMMIT: &str = "commit";

/// Paths of a node's TLS certificate and key.
pub(super) const TLS: &str = "tls/server.crt";
pub(super) const TLS_KEY: &str = "tls/server.key";

/// Owner of a node's files and user of its process. Neither image needs a user of its own for it.
pub(super) const USER: (u32, u32) = (1000, 1000);

/// Mount point of a node's volume: where the official images declare one, which would otherwise be anonymous.
/// A new volume's top folder belongs to root, so everything is one folder below, in folders that the upload
/// creates for the user.
const MOUNT: &str = "/var/hyperledger";
const HOME: &str = "/var/hyperledger/node";

/// Folder of `orderer.yaml` in the official orderer image and in ours.
const ORDERER_CONFIG: &str = "/etc/hyperledger/fabric";

/// Settings of a peer. The images' `core.yaml` names a Docker engine, which environment variables cannot
/// unset.
const CORE_YAML: &str = include_str!("core.yaml");

/// When idle, an orderer uses about 35 MB, a peer 65 MB, a JVM chaincode twice that. The rest is for blocks
/// in progress and the page cache.
const ORDERER_MEMORY: u64 = 256 * MIB;
const PEER_MEMORY: u64 = 384 * MIB;
const CHAINCODE_MEMORY: u64 = 384 * MIB;
pub(super) const MIB: u64 = 1024 * 1024;

/// Suitable images by role.
pub(super) fn images() -> BTreeMap<String, Vec<String>> {
    let of =
        |version: Version| [Role::Orderer, Role::Peer].map(|role| (version.role(role), version.images(role)));
    Version::ALL
        .into_iter()
        .flat_map(of)
        .chain([
            (ca::ROLE.to_owned(), ca::images()),
            (database::ROLE.to_owned(), database::images()),
        ])
        .collect()
}

/// Host resources that a network with these parameters needs.
pub(super) fn requirements(parameters: &Parameters) -> Requirements {
    let of = |names: Vec<NodeName>, role: Role| names.into_iter().map(move |name| (name, role));
    let peers = (1..=parameters.organisations).flat_map(|n| of(peers(parameters, n), Role::Peer));
    let nodes: Vec<(NodeName, Role)> = of(orderers(parameters), Role::Orderer).chain(peers).collect();
    let with_ca = if parameters.certificate_authorities {
        parameters.organisations
    } else {
        0
    };
    let servers: Vec<NodeName> = (1..=with_ca).map(|n| ca::name(&organisation_name(n))).collect();
    let databases = database::names(parameters);
    let others = [
        (parameters.chaincodes.len(), CHAINCODE_MEMORY),
        (servers.len(), ca::MEMORY),
        (databases.len(), database::MEMORY),
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
            .chain(servers.iter().map(|name| need(name, ca::HTTPS)))
            .collect(),
        colocated: databases.into_iter().collect(),
    }
}

pub(super) fn need(node: &NodeName, port: &str) -> PortNeed {
    PortNeed {
        node: node.clone(),
        port: port.to_owned(),
    }
}

fn memory(role: Role) -> u64 {
    match role {
        Role::Orderer => ORDERER_MEMORY,
        Role::Peer => PEER_MEMORY,
    }
}

/// A role's ports with inside numbers and audiences. Raft uses `grpc` too. Control ports are published as
/// well, because some platforms have no other access; they accept only Chainpool's certificate.
fn ports(role: Role) -> impl Iterator<Item = (&'static str, u16, Audience)> {
    let metrics = (METRICS, METRICS_PORT, Audience::Control);
    let ports = match role {
        Role::Orderer => vec![
            (GRPC, ORDERER_PORT, Audience::User),
            (ADMIN, ADMIN_PORT, Audience::Control),
            metrics,
        ],
        Role::Peer => vec![(GRPC, PEER_PORT, Audience::User), metrics],
    };
    ports.into_iter()
}

/// Renders the spec of one generation.
pub(super) fn render(parameters: &Parameters, request: &RenderRequest, seed: &Seed) -> ClusterSpec {
    let issuer = CertificateIssuer::new(seed, request.genesis_at, parameters.certificate_days);
    let organisations =
        Organisations::create(&issuer, parameters, &request.chain_id, &request.public_endpoints);
    let control_ca = &organisations.control_ca.certificate;
    let members = organisations
        .all()
        .flat_map(|keyed| keyed.members.iter().map(move |member| (keyed, member)));
    let mut nodes: Vec<NodeSpec> = members
        .map(|(keyed, member)| node(parameters, request, keyed, member, control_ca))
        .collect();
    nodes.extend(
        organisations
            .databases()
            .map(|(member, password)| database::node(request, member, password)),
    );
    nodes.extend(
        organisations
            .servers()
            .map(|(keyed, server)| ca::node(parameters, request, keyed, server)),
    );
    let chaincodes: Vec<(Chaincode, network_model::Chaincode)> = parameters
        .chaincodes()
        .into_iter()
        .map(|c| (c.clone(), packaged(&c)))
        .collect();
    nodes.extend(
        chaincodes
            .iter()
            .map(|(chaincode, model)| chaincode_node(request, chaincode, model)),
    );
    let channels = parameters
        .channels
        .iter()
        .map(|name| channel(name, parameters, request, seed, &organisations))
        .collect();
    let model = model(
        parameters,
        channels,
        chaincodes.into_iter().map(|(_, model)| model).collect(),
        &organisations,
    );
    let mut boot = vec![
        Boot::Start(nodes.iter().map(|node| node.name.clone()).collect()),
        Boot::Init(JOIN.to_owned()),
    ];
    if !model.chaincodes.is_empty() {
        boot.push(Boot::Init(DEPLOY.to_owned()));
    }
    ClusterSpec {
        nodes,
        jobs: vec![],
        boot,
        network: request.network.clone(),
        facts: model.write(),
        keys: organisations.keys(),
    }
    .with_hashes()
}

/// Builds the model of a network.
pub(super) fn model(
    parameters: &Parameters,
    channels: Vec<Channel>,
    chaincodes: Vec<network_model::Chaincode>,
    organisations: &Organisations,
) -> NetworkModel {
    NetworkModel {
        parameters: parameters.clone(),
        channels,
        ordering: organisations.ordering.model(),
        organisations: organisations.peers.iter().map(OrganisationKeys::model).collect(),
        control: organisations.control.certificate.clone(),
        control_ca: organisations.control_ca.certificate.clone(),
        chaincodes,
    }
}

/// Builds a channel of all organisations and orderers.
pub(super) fn channel(
    name: &str,
    parameters: &Parameters,
    request: &RenderRequest,
    seed: &Seed,
    organisations: &Organisations,
) -> Channel {
    let nonce = bytes(seed, &format!("nonce {name}"));
    let block = genesis::block(
        &Origin {
            channel: name,
            at: request.genesis_at,
            nonce: &nonce[..24],
        },
        parameters,
        organisations,
    );
    Channel {
        name: name.to_owned(),
        genesis: BASE64.encode(block.encode_to_vec()),
    }
}

/// Builds the model of a chaincode: its package and its node.
pub(super) fn packaged(chaincode: &Chaincode) -> network_model::Chaincode {
    let Chaincode {
        name,
        version,
        image: _,
    } = chaincode;
    let node = chaincode.node();
    let (package_id, package) = chaincode::package(name, &format!("{node}:{CHAINCODE_PORT}"));
    let package = BASE64.encode(package);
    network_model::Chaincode {
        name: name.clone(),
        version: version.clone(),
        package_id,
        package,
        node,
        earlier: vec![],
        overrides: false,
    }
}

/// Renders an orderer or a peer.
pub(super) fn node(
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
            .get(&version.role(role))
            .cloned()
            .unwrap_or_else(|| version.images(role)),
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
        }],
        ports: ports(role).map(port).collect(),
        limits: Limits {
            memory_bytes: memory(role),
            processes: 512,
        },
        read_only_root: true,
        log: request.log.clone(),
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: 10,
        machine: None,
        hash: SpecHash(String::new()),
    }
}

/// Renders a chaincode node: the user's image with its own program. Shims and samples for Go and Node read
/// the first of the two variables for the id and for TLS, those for Java the second. Its root is writable,
/// because the program is unknown.
pub(super) fn chaincode_node(
    request: &RenderRequest,
    chaincode: &Chaincode,
    model: &network_model::Chaincode,
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
        },
        read_only_root: false,
        log: request.log.clone(),
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: 10,
        machine: None,
        hash: SpecHash(String::new()),
    }
}

pub(super) fn environment<'a>(
    settings: impl IntoIterator<Item = (&'a str, String)>,
) -> BTreeMap<String, Variable> {
    settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Variable::Plain(value)))
        .collect()
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

/// Fabric's name of a log level.
pub(super) fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warning => "warning",
        LogLevel::Error => "error",
    }
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

/// A file in a node's home.
pub(super) fn file(home: &str, path: &str, content: Secret<Vec<u8>>, secret: bool) -> File {
    let mode = if secret { 0o400 } else { 0o444 };
    File {
        path: format!("{home}/{path}"),
        content,
        mode,
        owner: USER,
        secret,
        once: false,
    }
}

/// The node on the ports of the request; a node that was never created may have been allocated others.
pub(super) fn published(node: &NodeSpec, request: &RenderRequest) -> NodeSpec {
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
pub(super) fn recertified(node: &NodeSpec, member: &Member) -> NodeSpec {
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

/// The node with new contents of some files.
pub(super) fn with_files<const N: usize>(
    node: &NodeSpec,
    home: &str,
    contents: [(&str, Secret<Vec<u8>>); N],
) -> NodeSpec {
    let mut node = NodeSpec {
        hash: SpecHash(String::new()),
        ..node.clone()
    };
    for (path, content) in contents {
        for file in node.files.iter_mut().filter(|file| is_at(file, home, path)) {
            file.content = content.clone();
        }
    }
    node
}

/// Reads a member from its node's files. `None`: a render did not write them, or they were removed.
pub(super) fn member(node: &NodeSpec) -> Option<Member> {
    let key = |path: &str| Key::read(&find(node, HOME, path)?.content);
    let Certificates { enrolment, tls } = certificates(node)?;
    let enrolment = Issued {
        certificate: enrolment,
        key: key(&format!("msp/{}", msp::KEY))?,
    };
    let tls = Issued {
        certificate: tls,
        key: key(TLS_KEY)?,
    };
    Some(Member {
        name: node.name.clone(),
        enrolment,
        tls,
        database: None,
    })
}

/// Public certificates of a node in PEM.
pub(super) struct Certificates {
    pub(super) enrolment: String,
    pub(super) tls: String,
}

/// Reads the certificates from a node's files. `None`: a render did not write them.
pub(super) fn certificates(node: &NodeSpec) -> Option<Certificates> {
    Some(Certificates {
        enrolment: text(node, HOME, &format!("msp/{}", msp::CERTIFICATE))?,
        tls: text(node, HOME, TLS)?,
    })
}

/// The text of a file in a node's home.
pub(super) fn text(node: &NodeSpec, home: &str, path: &str) -> Option<String> {
    String::from_utf8(find(node, home, path)?.content.expose().clone()).ok()
}

/// Finds a file in a node's home.
pub(super) fn find<'a>(node: &'a NodeSpec, home: &str, path: &str) -> Option<&'a File> {
    node.files.iter().find(|file| is_at(file, home, path))
}

fn is_at(file: &File, home: &str, path: &str) -> bool {
    file.path
        .strip_prefix(home)
        .and_then(|rest| rest.strip_prefix('/'))
        == Some(path)
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
