//! The optional Fabric CA of an organisation: a server that registers and enrols identities. It signs with
//! the organisation's enrolment authority, so its identities are members of every channel of the
//! organisation.
//!
//! Settings of Fabric CA 1.5: `cmd/fabric-ca-server/config.go`, `lib/ca.go`, `images/fabric-ca/Dockerfile`.

use super::{
    certificates::Issued,
    keys::Key,
    organisation::OrganisationKeys,
    parameters::Parameters,
    render::{self, TLS, TLS_KEY, USER},
};
use crate::RenderRequest;
use chainpool_agent::{
    Audience, File, Limits, NodeName, NodeSpec, Port, Protocol, Secret, SpecHash, Variable, Volume,
};
use chainpool_api::LogLevel;
use std::collections::BTreeMap;

/// Its role in image overrides and evidence.
pub(super) const ROLE: &str = "ca";
/// Its port, for its users.
pub(super) const HTTPS: &str = "https";
const PORT: u16 = 7054;

/// Name of the registrar.
pub(super) const REGISTRAR: &str = "admin";

/// Mount point of its volume: the home of the official image. Everything is one folder below, as in other
/// nodes.
const MOUNT: &str = "/etc/hyperledger/fabric-ca-server";
pub(super) const HOME: &str = "/etc/hyperledger/fabric-ca-server/node";
const CONFIG: &str = "fabric-ca-server-config.yaml";
const CA: &str = "ca/cert.pem";
const CA_KEY: &str = "ca/key.pem";

/// It uses 25 MB when idle; the rest is for enrolments and the page cache of its database.
pub(super) const MEMORY: u64 = 192 * render::MIB;

/// An organisation's Fabric CA server.
pub(super) struct Server {
    pub(super) name: NodeName,
    pub(super) tls: Issued,
    /// The registrar's password.
    pub(super) password: Secret<Vec<u8>>,
}

/// `ca-org1` …
pub(super) fn name(organisation: &str) -> NodeName {
    NodeName::parse(&format!("ca-{organisation}")).expect("organisations have short names")
}

/// Suitable images: the official one, then the one built by `baseimage/`.
pub(super) fn images() -> Vec<String> {
    ["hyperledger/fabric-ca:1.5.21", "chainpool/fabric-ca:1.5.6"]
        .map(str::to_owned)
        .to_vec()
}

/// Its node.
pub(super) fn node(
    parameters: &Parameters,
    request: &RenderRequest,
    keyed: &OrganisationKeys,
    server: &Server,
) -> NodeSpec {
    NodeSpec {
        name: server.name.clone(),
        images: request.images.get(ROLE).cloned().unwrap_or_else(images),
        command: ["fabric-ca-server", "start"].map(str::to_owned).to_vec(),
        user: Some(format!("{}:{}", USER.0, USER.1)),
        env: environment(request.log_level),
        files: files(parameters, keyed, server),
        volumes: vec![Volume {
            name: "home".to_owned(),
            path: MOUNT.to_owned(),
        }],
        ports: vec![Port {
            name: HTTPS.to_owned(),
            inside: PORT,
            protocol: Protocol::Tcp,
            audience: Audience::User,
            published: request.ports.get(&render::need(&server.name, HTTPS)).copied(),
        }],
        limits: Limits {
            memory_bytes: MEMORY,
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

fn environment(level: LogLevel) -> BTreeMap<String, Variable> {
    render::environment([
        ("FABRIC_CA_SERVER_HOME", HOME.to_owned()),
        ("FABRIC_CA_SERVER_LOGLEVEL", render::level(level).to_owned()),
        ("GOMEMLIMIT", format!("{}MiB", MEMORY / render::MIB * 4 / 5)),
        ("TMPDIR", format!("{HOME}/tmp")),
    ])
}

fn files(parameters: &Parameters, keyed: &OrganisationKeys, server: &Server) -> Vec<File> {
    let open =
        |path: &str, text: &str| render::file(HOME, path, Secret::new(text.as_bytes().to_vec()), false);
    vec![
        render::file(HOME, CONFIG, config(parameters, server), true),
        open(CA, &keyed.ca.certificate),
        render::file(HOME, CA_KEY, keyed.ca.key(), true),
        open(TLS, &server.tls.certificate),
        render::file(HOME, TLS_KEY, server.tls.key.pem(), true),
        open("tmp/.keep", ""),
    ]
}

/// Its configuration with the registrar's password. The version is the oldest of its line, because a server
/// rejects a configuration newer than itself. The organisational unit of a certificate is the registered
/// type, `client`, `peer`, `admin` or `orderer`, as the channels' MSP expects. It issues no intermediate
/// authorities: no channel would know them.
fn config(parameters: &Parameters, server: &Server) -> Secret<Vec<u8>> {
    let password = String::from_utf8_lossy(server.password.expose());
    let (name, hours) = (&server.name, u64::from(parameters.certificate_days) * 24);
    let text = format!(
        "version: 1.5.0
port: {PORT}
tls:
  enabled: true
  certfile: {TLS}
  keyfile: {TLS_KEY}
  clientauth:
    type: noclientcert
ca:
  name: {name}
  certfile: {CA}
  keyfile: {CA_KEY}
crl:
  expiry: 24h
registry:
  maxenrollments: -1
  identities:
    - name: {REGISTRAR}
      pass: {password}
      type: client
      affiliation: \"\"
      attrs:
        hf.Registrar.Roles: \"*\"
        hf.Registrar.DelegateRoles: \"*\"
        hf.Registrar.Attributes: \"*\"
        hf.Revoker: true
        hf.IntermediateCA: false
        hf.GenCRL: true
        hf.AffiliationMgr: true
db:
  type: sqlite3
  datasource: fabric-ca-server.db
affiliations: {{}}
signing:
  default:
    usage:
      - digital signature
    expiry: {hours}h
bccsp:
  default: SW
  sw:
    hash: SHA2
    security: 256
    filekeystore:
      keystore: msp/keystore
operations:
  listenAddress: 127.0.0.1:9443
metrics:
  provider: disabled
"
    );
    Secret::new(text.into_bytes())
}

/// Reads a server from its node's files. `None`: a render did not write them, or they were removed.
pub(super) fn load(node: &NodeSpec, password: Secret<Vec<u8>>) -> Option<Server> {
    let key = Key::read(&render::find(node, HOME, TLS_KEY)?.content)?;
    let certificate = render::text(node, HOME, TLS)?;
    Some(Server {
        name: node.name.clone(),
        tls: Issued { certificate, key },
        password,
    })
}

/// The node with its current certificate; certificates that it issues are valid as long.
pub(super) fn recertified(node: &NodeSpec, parameters: &Parameters, server: &Server) -> NodeSpec {
    let certificate = Secret::new(server.tls.certificate.as_bytes().to_vec());
    render::with_files(
        node,
        HOME,
        [(TLS, certificate), (CONFIG, config(parameters, server))],
    )
}

#[cfg(test)]
#[path = "ca_tests.rs"]
mod tests;
