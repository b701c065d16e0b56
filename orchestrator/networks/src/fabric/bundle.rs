//! What a user needs to connect. Pure.

use super::{
    ca,
    facts::{Duty, Facts, Organisation},
    msp,
    render::GRPC,
    yaml::yaml,
};
use crate::{
    BundleParts, Reach,
    shell::{Exported, exports},
};
use chainpool_agent::{ClusterSpec, NodeName};
use chainpool_api::BundleNode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the `peer` program reads before its environment.
const CLI_CONFIG: &str = "peer:\n  BCCSP:\n    Default: SW\n    SW:\n      Hash: SHA2\n      Security: 256\n  client:\n    connTimeout: 3s\n";

/// One program in three languages, by its path in a bundle.
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

/// Registers and enrols somebody at a Fabric CA.
const ENROL: &str = include_str!("gateway/enrol.sh");

/// The nodes, the files by which programs reach them, and the two commands, to be run in the bundle's folder.
pub(super) fn bundle(spec: &ClusterSpec, reach: &Reach) -> BundleParts {
    let facts = Facts::read(spec).expect("render has written these facts");
    let nodes = nodes(&facts, spec, reach);
    let addresses: Addresses = nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), address(node)?)))
        .collect();
    let mut files: BTreeMap<String, String> = GATEWAY
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into();
    files.insert("config/core.yaml".to_owned(), CLI_CONFIG.to_owned());
    files.insert("network.json".to_owned(), written(&network(&facts)));
    for organisation in &facts.organisations {
        let profile = profile(&facts, organisation, &addresses);
        let name = &organisation.name;
        files.insert(format!("{name}/connection.yaml"), yaml(&profile));
        files.insert(format!("{name}/connection.json"), written(&profile));
        files.insert(format!("{name}/env"), env(&facts, organisation, &addresses));
    }
    for (organisation, server) in servers(&facts) {
        files.insert(
            format!("{}/ca-env", organisation.name),
            ca_env(spec, organisation, server, &addresses),
        );
    }
    if servers(&facts).next().is_some() {
        files.insert("enrol.sh".to_owned(), ENROL.to_owned());
    }
    for organisation in facts.organisations.iter().chain([&facts.ordering]) {
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
    let (write, read) = commands(&facts);
    files.insert("README.md".to_owned(), readme(&facts, &write, &read));
    BundleParts {
        nodes,
        write,
        read,
        files,
    }
}

/// The published address of each node's port for users: a Fabric CA's, or for gRPC.
type Addresses<'a> = BTreeMap<&'a str, &'a str>;

fn address(node: &BundleNode) -> Option<&str> {
    node.endpoints
        .iter()
        .find(|endpoint| [GRPC, ca::HTTPS].contains(&endpoint.name.as_str()))
        .map(|endpoint| endpoint.address.as_str())
}

/// The Fabric CAs, each with its organisation.
fn servers(facts: &Facts) -> impl Iterator<Item = (&Organisation, &NodeName)> {
    facts
        .organisations
        .iter()
        .filter_map(|organisation| Some((organisation, organisation.ca_node.as_ref()?)))
}

fn of<'a>(addresses: &Addresses<'a>, node: &NodeName) -> &'a str {
    addresses.get(node.as_str()).copied().unwrap_or_default()
}

fn nodes(facts: &Facts, spec: &ClusterSpec, reach: &Reach) -> Vec<BundleNode> {
    let msp = |name: &NodeName| match facts.duty(name) {
        (Duty::Database, _) => None,
        (_, organisation) => organisation.map(|organisation| organisation.msp.clone()),
    };
    let package = |name: &NodeName| {
        facts
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
            endpoints: reach.endpoints(node),
        })
        .collect()
}

/// How long the examples wait for a commit, beside the time that a block may wait to be filled.
const COMMIT_SECONDS: u32 = 15;

/// What the examples read: the first channel and chaincode, and the organisations.
fn network(facts: &Facts) -> Value {
    json!({
        "channel": first_channel(facts),
        "chaincode": facts.chaincodes.first().map(|chaincode| &chaincode.name),
        "organisations": facts.organisations.iter().map(|organisation| &organisation.name).collect::<Vec<_>>(),
        "channels": facts.channels.iter().map(|channel| &channel.name).collect::<Vec<_>>(),
        "chaincodes": facts.chaincodes.iter().map(|chaincode| &chaincode.name).collect::<Vec<_>>(),
        "commitSeconds": COMMIT_SECONDS + facts.parameters.batch_timeout_ms.div_ceil(1000),
    })
}

fn first_channel(facts: &Facts) -> &str {
    facts.channels.first().map_or("", |channel| &channel.name)
}

/// The connection profile of an organisation's clients.
fn profile(facts: &Facts, client: &Organisation, addresses: &Addresses) -> Value {
    let member = |organisation: &Organisation| {
        organisation
            .nodes
            .iter()
            .map(|node| {
                let url = format!("grpcs://{}", of(addresses, node));
                (
                    node.to_string(),
                    json!({"url": url, "tlsCACerts": {"pem": organisation.tls_ca}}),
                )
            })
            .collect::<Vec<_>>()
    };
    let peers: Map<_, _> = facts.organisations.iter().flat_map(&member).collect();
    let role =
        json!({"endorsingPeer": true, "chaincodeQuery": true, "ledgerQuery": true, "eventSource": true});
    let channel = json!({
        "orderers": facts.ordering.nodes,
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
        let url = format!("https://{}", of(addresses, server));
        (
            server.to_string(),
            json!({"url": url, "caName": server, "tlsCACerts": {"pem": [o.tls_ca]}, "httpOptions": {"verify": true}}),
        )
    };
    let authorities: Map<_, _> = servers(facts).map(authority).collect();
    let mut profile = json!({
        "name": format!("{}-{}", first_channel(facts), client.name),
        "version": "1.0.0",
        "client": {"organization": client.name, "connection": {"timeout": {"peer": {"endorser": "300"}, "orderer": "300"}}},
        "organizations": facts.organisations.iter().map(organisation).collect::<Map<_, _>>(),
        "orderers": member(&facts.ordering).into_iter().collect::<Map<_, _>>(),
        "peers": peers,
        "channels": facts.channels.iter().map(|c| (c.name.clone(), channel.clone())).collect::<Map<_, _>>(),
    });
    if !authorities.is_empty() {
        profile["certificateAuthorities"] = authorities.into();
    }
    profile
}

/// The environment of the `peer` program as an organisation's administrator; read by `.` in the bundle's folder. The last two are
/// for its options `-o` and `--cafile`: it looks for a relative path below its configuration's folder.
fn env(facts: &Facts, organisation: &Organisation, addresses: &Addresses) -> String {
    let Organisation { name, msp, nodes, .. } = organisation;
    let first = |nodes: &[NodeName]| {
        Exported::Text(
            nodes
                .first()
                .map(|node| of(addresses, node))
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
        ("ORDERER_ADDRESS", first(&facts.ordering.nodes)),
        (
            "ORDERER_CA",
            Exported::Here(format!("{}/tlsca.pem", facts.ordering.name)),
        ),
    ])
}

/// Where an organisation's Fabric CA is, and who registers others there; read by `.`, and as secret as a key.
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
        ("CA_ADDRESS", Exported::Text(of(addresses, server).to_owned())),
        (
            "CA_URL",
            Exported::Text(format!("https://{}", of(addresses, server))),
        ),
        ("CA_REGISTRAR", Exported::Text(ca::REGISTRAR.to_owned())),
        ("CA_SECRET", Exported::Text(password.unwrap_or_default())),
    ])
}

/// The MSP folder of somebody who signs.
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

/// With a chaincode, one organisation's gateway writes and another's reads. Without, an administrator approves a chaincode that
/// nobody runs, which is a transaction as well, and another organisation's peer tells the height.
fn commands(facts: &Facts) -> (String, String) {
    let (Some(writer), Some(reader)) = (facts.organisations.first(), facts.organisations.last()) else {
        return Default::default();
    };
    let (writer, reader) = (&writer.name, &reader.name);
    if !facts.chaincodes.is_empty() {
        let run = "node gateway/node/transact.mjs";
        let ready = "npm install --silent --prefix gateway/node";
        return (
            format!("{ready} && {run} {writer} submit put name satoshi"),
            format!("{run} {reader} evaluate get name"),
        );
    }
    let channel = first_channel(facts);
    let approve = format!(
        "-C {channel} -n nothing -v $(date +%s) --sequence 1 -o $ORDERER_ADDRESS --tls --cafile $ORDERER_CA"
    );
    (
        format!(". {writer}/env && peer lifecycle chaincode approveformyorg {approve}"),
        format!(". {reader}/env && peer channel getinfo -c {channel}"),
    )
}

fn readme(facts: &Facts, write: &str, read: &str) -> String {
    let listed = |names: Vec<&String>| {
        names
            .into_iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let chaincodes = listed(facts.chaincodes.iter().map(|c| &c.name).collect());
    format!(
        r"# A Fabric network

Channels: {channels}. Organisations: {organisations}. Chaincodes: {chaincodes}.

Run everything in this folder. Keep it: its keys are nowhere else to be had but in a new bundle.

Commit a transaction, read it back:

    {write}
    {read}

| what | where |
|---|---|
| connection profile of an organisation | `ORG/connection.json`, `ORG/connection.yaml` |
| its administrator, a user of it | `ORG/admin/msp`, `ORG/user/msp` |
| the TLS root of its nodes | `ORG/tlsca.pem` |
| environment of the `peer` program ({version}) as its administrator | `. ORG/env`; with `-o $ORDERER_ADDRESS --tls --cafile $ORDERER_CA` where it orders |

The same client in three languages. Without arguments each runs `put name satoshi` through the first organisation and `get name`
through the last; another chaincode wants its own function: `ORG submit|evaluate FUNCTION [ARGUMENT…]`.

    npm install --prefix gateway/node && node gateway/node/transact.mjs
    (cd gateway/go && go mod tidy && go run .)
    (cd gateway/java && mvn -q compile exec:java)
{identities}",
        version = facts.parameters.version.as_str(),
        channels = listed(facts.channels.iter().map(|c| &c.name).collect()),
        organisations = listed(facts.organisations.iter().map(|o| &o.name).collect()),
        chaincodes = if chaincodes.is_empty() {
            "none"
        } else {
            &chaincodes
        },
        identities = if servers(facts).next().is_some() {
            IDENTITIES
        } else {
            ""
        },
    )
}

/// What the page says where there are Fabric CAs.
const IDENTITIES: &str = r"
## Further identities

Every organisation has a Fabric CA. `ORG/ca-env` has its address and its registrar's password, which is as secret as a key. With `curl` and
`openssl` alone; the type is `client` where none is named, else `peer`, `admin` or `orderer`:

    bash enrol.sh org1 alice client
    IDENTITY=alice node gateway/node/transact.mjs org1 submit put name alice

With Fabric's own client, for the `peer` program (`CORE_PEER_MSPCONFIGPATH=$PWD/org1/bob/msp`):

    . org1/ca-env; export FABRIC_CA_CLIENT_HOME=$PWD/org1/registrar FABRIC_CA_CLIENT_TLS_CERTFILES=$PWD/org1/tlsca.pem
    fabric-ca-client enroll -u https://$CA_REGISTRAR:$CA_SECRET@$CA_ADDRESS
    fabric-ca-client register -u https://$CA_ADDRESS --id.name bob --id.secret SECRET --id.type client
    fabric-ca-client enroll -u https://bob:SECRET@$CA_ADDRESS -M $PWD/org1/bob/msp
    cp -r org1/user/msp/cacerts org1/user/msp/config.yaml org1/bob/msp/

What it issues are identities. TLS certificates of nodes are not among them: those the network's own TLS authorities issue.
";

fn written(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
