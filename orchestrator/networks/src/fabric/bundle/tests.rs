//! Connection bundles.

use super::*;
use crate::{
    RenderRequest, Seed,
    fabric::{fixture, parameters::Parameters, render::render},
};
use std::{fs, process::Command};

fn public_endpoints(address: &str) -> PublicEndpoints {
    PublicEndpoints {
        address: address.to_owned(),
        loopback: false,
        machines: BTreeMap::new(),
    }
}

fn bundled(parameters: &Parameters, address: &str) -> BundleParts {
    let request = RenderRequest {
        public_endpoints: public_endpoints(address),
        ..fixture::request(parameters)
    };
    bundle(
        &render(parameters, &request, &Seed::new([7; 32])),
        &public_endpoints(address),
    )
}

fn with_chaincode() -> Parameters {
    Parameters {
        chaincodes: vec!["basic:1.0=registry.example/basic:1".to_owned()],
        ..Parameters::default()
    }
}

#[test]
fn bundle_bytes_do_not_change() {
    let parts = bundled(&with_chaincode(), "192.0.2.7");
    let files = parts
        .files
        .iter()
        .filter(|(path, _)| !path.starts_with("gateway/"));
    let shown = files.map(|(path, text)| {
        let is_key = text.contains("PRIVATE KEY");
        assert_eq!(is_key, path.ends_with("key.pem"), "{path}");
        format!("==== {path}\n{}", if is_key { "(secret)\n" } else { text })
    });
    insta::assert_snapshot!("files", shown.collect::<String>());
    insta::assert_json_snapshot!("nodes", parts.nodes);
}

#[test]
fn with_a_chaincode_one_organisation_writes_and_another_reads() {
    let parts = bundled(&with_chaincode(), "192.0.2.7");
    let write = "npm install --silent --prefix gateway/node && node gateway/node/transact.mjs org1 submit put name satoshi";
    assert_eq!(
        (parts.write.as_str(), parts.read.as_str()),
        (write, "node gateway/node/transact.mjs org2 evaluate get name")
    );
    let network: Value = serde_json::from_str(&parts.files["network.json"]).expect("json");
    assert_eq!(
        (&network["channel"], &network["chaincode"]),
        (&json!("main"), &json!("basic"))
    );
}

#[test]
fn without_a_chaincode_an_administrator_writes() {
    let parts = bundled(&Parameters::default(), "192.0.2.7");
    let write = ". org1/env && peer lifecycle chaincode approveformyorg -C main -n nothing -v $(date +%s) --sequence 1 \
                 -o $ORDERER_ADDRESS --tls --cafile $ORDERER_CA";
    assert_eq!(
        (parts.write.as_str(), parts.read.as_str()),
        (write, ". org2/env && peer channel getinfo -c main")
    );
}

#[test]
fn a_profile_names_published_addresses() {
    let parts = bundled(
        &Parameters {
            peers: 2,
            ..Parameters::default()
        },
        "fd00::5",
    );
    let profile: Value = serde_json::from_str(&parts.files["org2/connection.json"]).expect("json");
    assert_eq!(profile["client"]["organization"], "org2");
    assert_eq!(
        profile["organizations"]["org2"],
        json!({"mspid": "Org2MSP", "peers": ["peer0-org2", "peer1-org2"]})
    );
    let urls: Vec<&str> = profile["peers"]
        .as_object()
        .expect("peers")
        .values()
        .filter_map(|p| p["url"].as_str())
        .collect();
    assert_eq!(urls.len(), 4);
    assert!(
        urls.iter().all(|url| url.starts_with("grpcs://[fd00::5]:200")),
        "{urls:?}"
    );
    assert_eq!(profile["orderers"]["orderer0"]["url"], "grpcs://[fd00::5]:20000");
}

/// Only Chainpool has access to control ports, and the authorities' keys stay secret.
#[test]
fn the_keys_of_authorities_and_of_chainpool_are_in_no_bundle() {
    let parts = bundled(&Parameters::default(), "192.0.2.7");
    let keys: Vec<&String> = parts
        .files
        .keys()
        .filter(|path| path.ends_with("key.pem"))
        .collect();
    let who = [
        "orderers/admin",
        "orderers/user",
        "org1/admin",
        "org1/user",
        "org2/admin",
        "org2/user",
    ];
    assert_eq!(
        keys,
        who.map(|who| format!("{who}/msp/keystore/key.pem"))
            .iter()
            .collect::<Vec<_>>()
    );
    let mut endpoints = parts.nodes.iter().flat_map(|node| &node.endpoints);
    assert!(endpoints.all(|endpoint| endpoint.name == "grpc"));
}

#[test]
fn a_shell_reads_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("env"),
        &bundled(&Parameters::default(), "192.0.2.7").files["org1/env"],
    )
    .unwrap();
    let shell = Command::new("sh")
        .args([
            "-c",
            ". ./env && echo $CORE_PEER_ADDRESS $CORE_PEER_LOCALMSPID $ORDERER_ADDRESS",
        ])
        .current_dir(&folder)
        .output();
    assert_eq!(
        String::from_utf8_lossy(&shell.unwrap().stdout),
        "192.0.2.7:20003 Org1MSP 192.0.2.7:20000\n"
    );
}

/// Names and addresses from platforms and operators are arbitrary; a user's shell must not execute them.
#[test]
fn sourcing_the_environment_executes_none_of_its_values() {
    const HOSTILE: [&str; 5] = [
        "$(touch pwn)",
        "`touch pwn`",
        "'; touch pwn; '",
        "\"; touch pwn; \"",
        "a\ntouch pwn #",
    ];
    let request = RenderRequest {
        public_endpoints: public_endpoints("192.0.2.7"),
        ..fixture::request(&with_ca())
    };
    let mut spec = render(&with_ca(), &request, &Seed::new([7; 32]));
    let mut model = NetworkModel::read(&spec).unwrap();
    for hostile in HOSTILE {
        let organisation = &mut model.organisations[0];
        (organisation.name, organisation.msp) = (hostile.to_owned(), hostile.to_owned());
        let server = organisation.ca_node.clone().unwrap();
        model.ordering.name = hostile.to_owned();
        let organisation = &model.organisations[0];
        spec.keys.insert(
            organisation.registrar_key(),
            chainpool_agent::Secret::new(hostile.as_bytes().to_vec()),
        );
        let nodes = organisation
            .nodes
            .iter()
            .chain(&model.ordering.nodes)
            .chain([&server]);
        let addresses: Addresses = nodes.map(|node| (node.as_str(), hostile)).collect();

        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("env"), env(&model, organisation, &addresses)).unwrap();
        fs::write(
            folder.path().join("ca-env"),
            ca_env(&spec, organisation, &server, &addresses),
        )
        .unwrap();
        let shown = r#". ./env; . ./ca-env; printf '%s|' "$CORE_PEER_LOCALMSPID" "$CORE_PEER_ADDRESS" "$CORE_PEER_MSPCONFIGPATH" \
            "$ORDERER_ADDRESS" "$ORDERER_CA" "$CA_ADDRESS" "$CA_URL" "$CA_SECRET""#;
        let shell = Command::new("sh")
            .args(["-c", shown])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(!folder.path().join("pwn").exists(), "{hostile}");
        let here = folder.path().canonicalize().unwrap();
        let path = |end: &str| format!("{}/{hostile}/{end}", here.display());
        let url = format!("https://{hostile}");
        let expected = [
            hostile,
            hostile,
            &path("admin/msp"),
            hostile,
            &path("tlsca.pem"),
            hostile,
            &url,
            hostile,
        ]
        .map(|v| format!("{v}|"))
        .concat();
        assert_eq!(
            String::from_utf8(shell.stdout).unwrap(),
            expected,
            "{}",
            String::from_utf8_lossy(&shell.stderr)
        );
    }
}

/// The platform reports the address of a machine.
#[test]
fn an_address_is_escaped_in_every_file() {
    let hostile = "x\"]}\n  a: b '$(id)'";
    let parts = bundled(&with_ca(), hostile);
    let profile: Value = serde_json::from_str(&parts.files["org1/connection.json"]).expect("json");
    let url = profile["peers"]["peer0-org1"]["url"]
        .as_str()
        .expect("an address")
        .to_owned();
    assert!(url.starts_with(&format!("grpcs://[{hostile}]:")), "{url}");
    // A JSON string is a valid YAML string.
    let yaml = &parts.files["org1/connection.yaml"];
    assert!(
        yaml.contains(&format!("\"url\": {}\n", Value::from(url))),
        "{yaml}"
    );
}

fn with_ca() -> Parameters {
    Parameters {
        certificate_authorities: true,
        ..with_chaincode()
    }
}

#[test]
fn fabric_cas_are_in_the_profiles_and_their_registrars_beside_them() {
    let parts = bundled(&with_ca(), "fd00::5");
    let profile: Value = serde_json::from_str(&parts.files["org2/connection.json"]).expect("json");
    assert_eq!(
        profile["organizations"]["org2"]["certificateAuthorities"],
        json!(["ca-org2"])
    );
    let known = &profile["certificateAuthorities"];
    assert_eq!(known.as_object().expect("an object").len(), 2);
    assert_eq!(
        (&known["ca-org1"]["url"], &known["ca-org1"]["caName"]),
        (&json!("https://[fd00::5]:20007"), &json!("ca-org1"))
    );
    assert_eq!(
        known["ca-org1"]["tlsCACerts"]["pem"],
        json!([parts.files["org1/tlsca.pem"]])
    );
    assert!(parts.files["org2/connection.yaml"].contains("\"https://[fd00::5]:20008\""));
    let servers: Vec<_> = parts
        .nodes
        .iter()
        .filter(|node| node.name.starts_with("ca-"))
        .collect();
    assert!(
        servers
            .iter()
            .all(|node| node.endpoints[0].name == "https" && node.identities["msp_id"].starts_with("Org")),
        "{servers:?}"
    );
    assert!(parts.files["README.md"].contains("bash enrol.sh org1 alice client"));

    // A shell reads it; the profiles do not contain the password.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca-env"), &parts.files["org1/ca-env"]).unwrap();
    let shell = Command::new("sh")
        .args([
            "-c",
            ". ./ca-env && echo $CA_URL $CA_REGISTRAR && echo $CA_SECRET",
        ])
        .current_dir(&folder)
        .output();
    let said = String::from_utf8(shell.unwrap().stdout).unwrap();
    let (address, secret) = said.trim().split_once('\n').expect("two lines");
    assert_eq!((address, secret.len()), ("https://[fd00::5]:20007 admin", 32));
    let tells = parts
        .files
        .iter()
        .filter(|(_, text)| text.contains(secret))
        .map(|(path, _)| path.as_str());
    assert_eq!(tells.collect::<Vec<_>>(), ["org1/ca-env"]);

    let without = bundled(&with_chaincode(), "fd00::5");
    assert!(
        without
            .files
            .keys()
            .all(|path| path != "enrol.sh" && !path.ends_with("ca-env"))
    );
    assert!(
        !without.files["README.md"].contains("enrol.sh")
            && !without.files["org1/connection.json"].contains("certificateAuthorities")
    );
}
