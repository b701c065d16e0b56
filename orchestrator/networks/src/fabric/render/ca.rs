//! The optional Fabric CA of an organisation: a server that registers and enrols identities. It signs with
//! the organisation's enrolment authority, so its identities are members of every channel of the
//! organisation.
//!
//! Settings of Fabric CA 1.5: `cmd/fabric-ca-server/config.go`, `lib/ca.go`, `images/fabric-ca/Dockerfile`.

use crate::{
    RenderRequest,
    fabric::{
        model::{
            REGISTRAR,
            files::{self, CA_HOME, TLS, TLS_KEY, USER},
            ports::{self, CA_PORT, HTTPS},
            role,
        },
        organisations::{organisation::OrganisationKeys, server::Server},
        parameters::Parameters,
        render::{
            environment, images,
            memory::{self, CA_MEMORY},
        },
    },
};
use chainpool_agent::{Audience, File, Limits, NodeSpec, Port, Protocol, Secret, SpecHash, Variable, Volume};
use chainpool_api::LogLevel;
use std::collections::BTreeMap;

/// Mount point of its volume: the home of the official image. Everything is one folder below, as in other
/// nodes.
const MOUNT: &str = "/etc/hyperledger/fabric-ca-server";
const CONFIG: &str = "fabric-ca-server-config.yaml";
const CA: &str = "ca/cert.pem";
const CA_KEY: &str = "ca/key.pem";

/// Its node.
pub(crate) fn node(
    parameters: &Parameters,
    request: &RenderRequest,
    keyed: &OrganisationKeys,
    server: &Server,
) -> NodeSpec {
    NodeSpec {
        name: server.name.clone(),
        images: request.images.get(role::CA).cloned().unwrap_or_else(images::ca),
        command: ["fabric-ca-server", "start"].map(str::to_owned).to_vec(),
        user: Some(format!("{}:{}", USER.0, USER.1)),
        env: environment(request.log_level),
        files: files(parameters, keyed, server),
        volumes: vec![Volume {
            name: "home".to_owned(),
            path: MOUNT.to_owned(),
            shared: false,
        }],
        ports: vec![Port {
            name: HTTPS.to_owned(),
            inside: CA_PORT,
            protocol: Protocol::Tcp,
            audience: Audience::User,
            published: request.ports.get(&ports::need(&server.name, HTTPS)).copied(),
        }],
        limits: Limits {
            memory_bytes: CA_MEMORY,
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

fn environment(level: LogLevel) -> BTreeMap<String, Variable> {
    environment::environment([
        ("FABRIC_CA_SERVER_HOME", CA_HOME.to_owned()),
        ("FABRIC_CA_SERVER_LOGLEVEL", environment::level(level).to_owned()),
        ("GOMEMLIMIT", format!("{}MiB", CA_MEMORY / memory::MIB * 4 / 5)),
        ("TMPDIR", format!("{CA_HOME}/tmp")),
    ])
}

fn files(parameters: &Parameters, keyed: &OrganisationKeys, server: &Server) -> Vec<File> {
    let open =
        |path: &str, text: &str| files::file(CA_HOME, path, Secret::new(text.as_bytes().to_vec()), false);
    vec![
        files::file(CA_HOME, CONFIG, config(parameters, server), true),
        open(CA, &keyed.ca.certificate),
        files::file(CA_HOME, CA_KEY, keyed.ca.key(), true),
        open(TLS, &server.tls.certificate),
        files::file(CA_HOME, TLS_KEY, server.tls.key.pem(), true),
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
port: {CA_PORT}
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

/// The node with its current certificate; certificates that it issues are valid as long.
pub(crate) fn recertified(node: &NodeSpec, parameters: &Parameters, server: &Server) -> NodeSpec {
    let certificate = Secret::new(server.tls.certificate.as_bytes().to_vec());
    files::with_files(
        node,
        CA_HOME,
        [(TLS, certificate), (CONFIG, config(parameters, server))],
    )
}

#[cfg(test)]
#[path = "ca_tests.rs"]
mod tests;
