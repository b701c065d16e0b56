//! Connection bundle for users. Pure.

mod yaml;

use crate::{
    BundleParts, PublicEndpoints,
    fabric::{
        bundle::yaml::yaml,
        crypto::msp,
        model::{
            self, NetworkModel, NodeKind, Organisation,
            ports::{self, GRPC},
        },
    },
    shell::{Exported, exports},
};
use chainpool_agent::{ClusterSpec, NodeName};
use chainpool_api::BundleNode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// `core.yaml` of the `peer` program; its environment overrides it.
const CLI_CONFIG: &str = "peer:\n  BCCSP:\n    Default: SW\n    SW:\n      Hash: SHA2\n      Security: 256\n  client:\n    connTimeout: 3s\n";

/// The example client in three languages, by path in the bundle.
const GATEWAY: [(&str, &str); 6] = [
    ("gateway/node/transact.mjs", include_str!("gateway/transact.mjs")),
    ("gateway/node/package.json", include_str!("gateway/package.json")),
    ("gateway/go/main.go", include_str!("gateway/main.go")),
    ("gateway/go/go.mod", include_str!("gateway/go.mod.txt")),
    (
        "gateway/java/Transact.java",
        include_str!("gateway/Transact.java"),
    ),
    ("gateway/java/pom.xml", include_str!("gateway/pom.xml")),
];

/// Script that registers and enrols an identity at a Fabric CA.
const ENROL: &str = include_str!("gateway/enrol.sh");

/// Nodes, files for clients, and the two commands, which run in the bundle's folder.
pub(crate) fn bundle(spec: &ClusterSpec, public_endpoints: &PublicEndpoints) -> BundleParts {
    let model = NetworkModel::read(spec).expect("render wrote this model");
    let nodes = nodes(&model, spec, public_endpoints);
    let addresses: Addresses = nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), address(node)?)))
        .collect();
    let mut files: BTreeMap<String, String> = GATEWAY
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into();
    files.insert("config/core.yaml".to_owned(), CLI_CONFIG.to_owned());
    files.insert("network.json".to_owned(), pretty_json(&network(&model)));
    for organisation in &model.organisations {
        let profile = profile(&model, organisation, &addresses);
        let name = &organisation.name;
        files.insert(format!("{name}/connection.yaml"), yaml(&profile));
        files.insert(format!("{name}/connection.json"), pretty_json(&profile));
        files.insert(format!("{name}/env"), env(&model, organisation, &addresses));
    }
    for (organisation, server) in servers(&model) {
        files.insert(
            format!("{}/ca-env", organisation.name),
            ca_env(spec, organisation, server, &addresses),
        );
    }
    if servers(&model).next().is_some() {
        files.insert("enrol.sh".to_owned(), ENROL.to_owned());
    }
    for organisation in model.organisations.iter().chain([&model.ordering]) {
        files.extend(identity(
            spec,
            organisation,
            "admin",
            &organisation.admin,
            &organisation.admin_key(),
        ));
        files.extend(identity(
            spec,
            organisation,
            "user",
            &organisation.user,
            &organisation.user_key(),
        ));
        files.insert(
            format!("{}/tlsca.pem", organisation.name),
            organisation.tls_ca.clone(),
        );
    }
    let (write, read) = commands(&model);
    files.insert("README.md".to_owned(), readme(&model, &write, &read));
    BundleParts {
        nodes,
        write,
        read,
        files,
    }
}

/// Published address of each node's client port: gRPC, or HTTPS of a Fabric CA.
type Addresses<'a> = BTreeMap<&'a str, &'a str>;

fn address(node: &BundleNode) -> Option<&str> {
    node.endpoints
        .iter()
        .find(|endpoint| [GRPC, ports::HTTPS].contains(&endpoint.name.as_str()))
        .map(|endpoint| endpoint.address.as_str())
}

/// The Fabric CAs, each with its organisation.
fn servers(model: &NetworkModel) -> impl Iterator<Item = (&Organisation, &NodeName)> {
    model
        .organisations
        .iter()
        .filter_map(|organisation| Some((organisation, organisation.ca_node.as_ref()?)))
}

fn address_of<'a>(addresses: &Addresses<'a>, node: &NodeName) -> &'a str {
    addresses.get(node.as_str()).copied().unwrap_or_default()
}

fn nodes(model: &NetworkModel, spec: &ClusterSpec, public_endpoints: &PublicEndpoints) -> Vec<BundleNode> {
    let msp = |name: &NodeName| match model.kind(name) {
        (NodeKind::Database, _) => None,
        (_, organisation) => organisation.map(|organisation| organisation.msp.clone()),
    };
    let package = |name: &NodeName| {
        model
            .chaincodes
            .iter()
            .find(|c| &c.node == name)
            .map(|c| c.package_id.clone())
    };
    spec.nodes
        .iter()
        .map(|node| BundleNode {
            name: node.name.to_string(),
            identities: [("msp_id", msp(&node.name)), ("package_id", package(&node.name))]
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect(),
            endpoints: public_endpoints.endpoints(node),
        })
        .collect()
}

/// How long the examples wait for a commit beyond the batch timeout.
const COMMIT_SECONDS: u32 = 15;

/// `network.json` of the examples: the first channel and chaincode, and the organisations.
fn network(model: &NetworkModel) -> Value {
    json!({
        "channel": first_channel(model),
        "chaincode": model.chaincodes.first().map(|chaincode| &chaincode.name),
        "organisations": model.organisations.iter().map(|organisation| &organisation.name).collect::<Vec<_>>(),
        "channels": model.channels.iter().map(|channel| &channel.name).collect::<Vec<_>>(),
        "chaincodes": model.chaincodes.iter().map(|chaincode| &chaincode.name).collect::<Vec<_>>(),
        "commitSeconds": COMMIT_SECONDS + model.parameters.batch_timeout_ms.div_ceil(1000),
    })
}

fn first_channel(model: &NetworkModel) -> &str {
    model.channels.first().map_or("", |channel| &channel.name)
}

/// The connection profile of an organisation's clients.
fn profile(model: &NetworkModel, client: &Organisation, addresses: &Addresses) -> Value {
    let member = |organisation: &Organisation| {
        organisation
            .nodes
            .iter()
            .map(|node| {
                let url = format!("grpcs://{}", address_of(addresses, node));
                (
                    node.to_string(),
                    json!({"url": url, "tlsCACerts": {"pem": organisation.tls_ca}}),
                )
            })
            .collect::<Vec<_>>()
    };
    let peers: Map<_, _> = model.organisations.iter().flat_map(&member).collect();
    let role =
        json!({"endorsingPeer": true, "chaincodeQuery": true, "ledgerQuery": true, "eventSource": true});
    let channel = json!({
        "orderers": model.ordering.nodes,
        "peers": peers.keys().map(|name| (name.clone(), role.clone())).collect::<Map<_, _>>(),
    });
    let organisation = |o: &Organisation| {
        let mut entry = json!({"mspid": o.msp, "peers": o.nodes});
        if let Some(server) = &o.ca_node {
            entry["certificateAuthorities"] = json!([server]);
        }
        (o.name.clone(), entry)
    };
    let authority = |(o, server): (&Organisation, &NodeName)| {
        let url = format!("https://{}", address_of(addresses, server));
        (
            server.to_string(),
            json!({"url": url, "caName": server, "tlsCACerts": {"pem": [o.tls_ca]}, "httpOptions": {"verify": true}}),
        )
    };
    let authorities: Map<_, _> = servers(model).map(authority).collect();
    let mut profile = json!({
        "name": format!("{}-{}", first_channel(model), client.name),
        "version": "1.0.0",
        "client": {"organization": client.name, "connection": {"timeout": {"peer": {"endorser": "300"}, "orderer": "300"}}},
        "organizations": model.organisations.iter().map(organisation).collect::<Map<_, _>>(),
        "orderers": member(&model.ordering).into_iter().collect::<Map<_, _>>(),
        "peers": peers,
        "channels": model.channels.iter().map(|c| (c.name.clone(), channel.clone())).collect::<Map<_, _>>(),
    });
    if !authorities.is_empty() {
        profile["certificateAuthorities"] = authorities.into();
    }
    profile
}

/// Environment of the `peer` program as an organisation's administrator, for the shell's `.` command in the
/// bundle's folder. The last two are for its options `-o` and `--cafile`: it resolves relative paths below
/// its configuration's folder.
fn env(model: &NetworkModel, organisation: &Organisation, addresses: &Addresses) -> String {
    let Organisation { name, msp, nodes, .. } = organisation;
    let first = |nodes: &[NodeName]| {
        Exported::Text(
            nodes
                .first()
                .map(|node| address_of(addresses, node))
                .unwrap_or_default()
                .to_owned(),
        )
    };
    exports([
        ("FABRIC_CFG_PATH", Exported::Here("config".to_owned())),
        ("CORE_PEER_TLS_ENABLED", Exported::Text("true".to_owned())),
        ("CORE_PEER_LOCALMSPID", Exported::Text(msp.clone())),
        ("CORE_PEER_ADDRESS", first(nodes)),
        (
            "CORE_PEER_TLS_ROOTCERT_FILE",
            Exported::Here(format!("{name}/tlsca.pem")),
        ),
        (
            "CORE_PEER_MSPCONFIGPATH",
            Exported::Here(format!("{name}/admin/msp")),
        ),
        ("ORDERER_ADDRESS", first(&model.ordering.nodes)),
        (
            "ORDERER_CA",
            Exported::Here(format!("{}/tlsca.pem", model.ordering.name)),
        ),
    ])
}

/// Address and registrar credentials of an organisation's Fabric CA, for the shell's `.` command; as secret
/// as a key.
fn ca_env(
    spec: &ClusterSpec,
    organisation: &Organisation,
    server: &NodeName,
    addresses: &Addresses,
) -> String {
    let password = spec
        .keys
        .get(&organisation.registrar_key())
        .map(|password| String::from_utf8_lossy(password.expose()).into_owned());
    exports([
        ("CA_NAME", Exported::Text(server.to_string())),
        (
            "CA_ADDRESS",
            Exported::Text(address_of(addresses, server).to_owned()),
        ),
        (
            "CA_URL",
            Exported::Text(format!("https://{}", address_of(addresses, server))),
        ),
        ("CA_REGISTRAR", Exported::Text(model::REGISTRAR.to_owned())),
        ("CA_SECRET", Exported::Text(password.unwrap_or_default())),
    ])
}

/// MSP folder of a signing identity.
fn identity(
    spec: &ClusterSpec,
    organisation: &Organisation,
    who: &str,
    certificate: &str,
    key: &str,
) -> Vec<(String, String)> {
    let path = |file: &str| format!("{}/{who}/msp/{file}", organisation.name);
    let files = msp::files(&organisation.ca, &organisation.tls_ca, certificate)
        .into_iter()
        .map(|(file, text)| (path(file), text));
    let key = spec
        .keys
        .get(key)
        .map(|key| (path(msp::KEY), String::from_utf8_lossy(key.expose()).into_owned()));
    files.chain(key).collect()
}

/// Commands that write and read. With a chaincode they use the gateways of two organisations. Without one, an
/// administrator approves a chaincode definition, which is a transaction too, and another organisation's peer
/// reports the height.
fn commands(model: &NetworkModel) -> (String, String) {
    let (Some(writer), Some(reader)) = (model.organisations.first(), model.organisations.last()) else {
        return Default::default();
    };
    let (writer, reader) = (&writer.name, &reader.name);
    if !model.chaincodes.is_empty() {
        let run = "node gateway/node/transact.mjs";
        let ready = "npm install --silent --prefix gateway/node";
        return (
            format!("{ready} && {run} {writer} submit put name satoshi"),
            format!("{run} {reader} evaluate get name"),
        );
    }
    let channel = first_channel(model);
    let approve = format!(
        "-C {channel} -n nothing -v $(date +%s) --sequence 1 -o $ORDERER_ADDRESS --tls --cafile $ORDERER_CA"
    );
    (
        format!(". {writer}/env && peer lifecycle chaincode approveformyorg {approve}"),
        format!(". {reader}/env && peer channel getinfo -c {channel}"),
    )
}

fn readme(model: &NetworkModel, write: &str, read: &str) -> String {
    let listed = |names: Vec<&String>| {
        names
            .into_iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let chaincodes = listed(model.chaincodes.iter().map(|c| &c.name).collect());
    format!(
        r"# A Fabric network

Channels: {channels}. Organisations: {organisations}. Chaincodes: {chaincodes}.

Run all commands in this folder. Keep it: only a new bundle contains these keys.

Commit a transaction and read it back:

    {write}
    {read}

| item | location |
|---|---|
| connection profile of an organisation | `ORG/connection.json`, `ORG/connection.yaml` |
| administrator and user of an organisation | `ORG/admin/msp`, `ORG/user/msp` |
| TLS root certificate of an organisation's nodes | `ORG/tlsca.pem` |
| environment of the `peer` program ({version}) as the administrator | `. ORG/env`; for ordering add `-o $ORDERER_ADDRESS --tls --cafile $ORDERER_CA` |

The same client in three languages. Without arguments, it runs `put name satoshi` through the first organisation and
`get name` through the last one. For other functions: `ORG submit|evaluate FUNCTION [ARGUMENT…]`.

    npm install --prefix gateway/node && node gateway/node/transact.mjs
    (cd gateway/go && go mod tidy && go run .)
    (cd gateway/java && mvn -q compile exec:java)
{identities}",
        version = model.parameters.version.as_str(),
        channels = listed(model.channels.iter().map(|c| &c.name).collect()),
        organisations = listed(model.organisations.iter().map(|o| &o.name).collect()),
        chaincodes = if chaincodes.is_empty() {
            "none"
        } else {
            &chaincodes
        },
        identities = if servers(model).next().is_some() {
            IDENTITIES
        } else {
            ""
        },
    )
}

/// README section on Fabric CAs.
const IDENTITIES: &str = r"
## Further identities

Every organisation has a Fabric CA. `ORG/ca-env` holds its address and the password of its registrar; keep it as secret
as a key. To enrol an identity with `curl` and `openssl` (types: `client`, the default, `peer`, `admin`, `orderer`):

    bash enrol.sh org1 alice client
    IDENTITY=alice node gateway/node/transact.mjs org1 submit put name alice

To enrol an identity with Fabric's client, for the `peer` program (`CORE_PEER_MSPCONFIGPATH=$PWD/org1/bob/msp`):

    . org1/ca-env; export FABRIC_CA_CLIENT_HOME=$PWD/org1/registrar FABRIC_CA_CLIENT_TLS_CERTFILES=$PWD/org1/tlsca.pem
    fabric-ca-client enroll -u https://$CA_REGISTRAR:$CA_SECRET@$CA_ADDRESS
    fabric-ca-client register -u https://$CA_ADDRESS --id.name bob --id.secret SECRET --id.type client
    fabric-ca-client enroll -u https://bob:SECRET@$CA_ADDRESS -M $PWD/org1/bob/msp
    cp -r org1/user/msp/cacerts org1/user/msp/config.yaml org1/bob/msp/

The CA issues identities only. TLS certificates of nodes are issued by the network's TLS authorities.
";

fn pretty_json(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests;
