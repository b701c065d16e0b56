//! Fabric CA nodes, byte by byte, and their invariants.

use super::*;
use crate::fabric::{
    fixture::{NOW, THEN, changed, rendered},
    model::{NetworkModel, files::CA_HOME, names},
    render::requirements::requirements,
};
use chainpool_agent::{Boot, ClusterSpec};
use std::{fs, path::Path, process::Command};

fn with_ca() -> Parameters {
    Parameters {
        certificate_authorities: true,
        ..Parameters::default()
    }
}

fn of<'a>(spec: &'a ClusterSpec, organisation: &str) -> &'a NodeSpec {
    spec.node(&names::ca(organisation)).expect("it is there")
}

/// Checks a certificate of a node against its organisation's TLS authority.
fn verify(folder: &Path, spec: &ClusterSpec, at: i64, check: [&str; 2]) -> bool {
    let model = NetworkModel::read(spec).expect("model");
    fs::write(folder.join("ca.pem"), &model.organisations[0].tls_ca).unwrap();
    fs::write(
        folder.join("leaf.pem"),
        files::text(of(spec, "org1"), CA_HOME, TLS).expect("a certificate"),
    )
    .unwrap();
    let at = at.to_string();
    let arguments = [
        &[
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-attime",
            &at,
            "-CAfile",
            "ca.pem",
        ],
        &check[..],
        &["leaf.pem"],
    ];
    Command::new("openssl")
        .args(arguments.concat())
        .current_dir(folder)
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn rendered_bytes_do_not_change() {
    let mut node = of(&rendered(&with_ca(), 7), "org1").clone();
    let config = files::text(&node, CA_HOME, CONFIG).expect("a configuration");
    insta::assert_snapshot!("config", config);
    node.files.clear();
    insta::assert_json_snapshot!("node", node);
}

#[test]
fn fabric_cas_are_optional_and_change_nothing_else() {
    let (without, with) = (rendered(&Parameters::default(), 1), rendered(&with_ca(), 1));
    assert_eq!(with.nodes.len(), without.nodes.len() + 2);
    for node in &without.nodes {
        assert_eq!(with.node(&node.name), Some(node));
    }
    let [before, after] = [&without, &with].map(|spec| NetworkModel::read(spec).expect("model"));
    assert_eq!(before.channels, after.channels, "channels do not depend on them");
    let requirements = requirements(&with_ca());
    assert_eq!(usize::try_from(requirements.size).unwrap(), with.nodes.len());
    assert_eq!(
        requirements.memory_bytes,
        with.nodes
            .iter()
            .map(|node| node.limits.memory_bytes)
            .sum::<u64>()
    );
    let published = with.nodes.iter().flat_map(|n| {
        n.ports
            .iter()
            .filter(|p| p.published.is_some())
            .map(|p| ports::need(&n.name, &p.name))
    });
    let (mut published, mut needed) = (published.collect::<Vec<_>>(), requirements.ports);
    published.sort();
    needed.sort();
    assert_eq!(published, needed);
}

#[test]
fn a_fabric_ca_signs_with_its_organisations_authority_and_its_secrets_are_sealed() {
    let spec = rendered(&with_ca(), 1);
    let model = NetworkModel::read(&spec).expect("model");
    for organisation in &model.organisations {
        let node = of(&spec, &organisation.name);
        assert_eq!(files::text(node, CA_HOME, CA).as_ref(), Some(&organisation.ca));
        assert_eq!(
            files::find(node, CA_HOME, CA_KEY).map(|file| &file.content),
            spec.keys.get(&organisation.ca_key())
        );
        assert_eq!(organisation.ca_node.as_ref(), Some(&node.name));
        for file in &node.files {
            assert!(
                file.path.starts_with(&format!("{}/node/", node.volumes[0].path)),
                "{}",
                file.path
            );
            let is_secret = [CONFIG, CA_KEY, TLS_KEY]
                .iter()
                .any(|path| file.path == format!("{CA_HOME}/{path}"));
            assert_eq!(
                (file.secret, file.mode, file.owner),
                (is_secret, if is_secret { 0o400 } else { 0o444 }, USER)
            );
        }
    }
    let password =
        |spec: &ClusterSpec, key: &str| String::from_utf8(spec.keys[key].expose().clone()).unwrap();
    let passwords = ["org1/registrar", "org2/registrar"].map(|key| password(&spec, key));
    assert!(
        passwords[0] != passwords[1] && password(&rendered(&with_ca(), 2), "org1/registrar") != passwords[0]
    );
    assert!(
        passwords
            .iter()
            .all(|password| password.len() == 32 && password.chars().all(|c| c.is_ascii_hexdigit()))
    );
    let open = spec.seal().public;
    let text = serde_json::to_string(&open).unwrap();
    let files = open
        .nodes
        .iter()
        .flat_map(|node| &node.files)
        .map(|file| String::from_utf8_lossy(file.content.expose()).into_owned());
    let all = files.chain([text]).collect::<String>();
    assert!(passwords.iter().all(|password| !all.contains(password)) && !all.contains("PRIVATE KEY"));
}

#[test]
fn the_tls_certificate_names_all_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let spec = rendered(&with_ca(), 1);
    for check in [
        ["-verify_hostname", "ca-org1"],
        ["-verify_hostname", "localhost"],
        ["-verify_ip", "127.0.0.1"],
        ["-verify_ip", "192.0.2.7"],
    ] {
        assert!(verify(folder.path(), &spec, THEN, check), "{check:?}");
    }
    assert!(!verify(folder.path(), &spec, THEN, ["-verify_ip", "192.0.2.8"]));
}

#[test]
fn fabric_cas_can_be_added_to_new_and_existing_organisations() {
    let old = rendered(
        &Parameters {
            organisations: 1,
            ..with_ca()
        },
        1,
    );
    let new = changed(&old, &with_ca(), false).unwrap();
    for before in &old.nodes {
        assert_eq!(new.node(&before.name), Some(before), "{}", before.name);
    }
    let model = NetworkModel::read(&new).expect("model");
    assert_eq!(
        files::text(of(&new, "org2"), CA_HOME, CA).as_ref(),
        Some(&model.organisations[1].ca)
    );
    assert_eq!(old.keys["org1/registrar"], new.keys["org1/registrar"]);
    assert!(new.keys.contains_key("org2/registrar"));

    let plain = rendered(&Parameters::default(), 1);
    let served = changed(&plain, &with_ca(), false).unwrap();
    assert!(
        plain
            .nodes
            .iter()
            .all(|before| served.node(&before.name) == Some(before))
    );
    assert_eq!(served.nodes.len(), plain.nodes.len() + 2);
    let errors = changed(&served, &Parameters::default(), false).expect_err("must be refused");
    assert_eq!(
        errors.0["certificate_authorities"],
        "cannot remove the Fabric CAs of a running network; create another cluster"
    );
}

#[test]
fn a_renewed_certificate_keeps_the_key_and_sets_the_validity_of_issued_ones() {
    let folder = tempfile::tempdir().unwrap();
    let old = rendered(&with_ca(), 1);
    let parameters = Parameters {
        certificate_days: 730,
        ..with_ca()
    };
    let new = changed(&old, &parameters, true).unwrap();
    assert!(verify(
        folder.path(),
        &new,
        NOW + 729 * 86_400,
        ["-verify_hostname", "ca-org1"]
    ));
    assert!(!verify(
        folder.path(),
        &old,
        THEN + 366 * 86_400,
        ["-verify_hostname", "ca-org1"]
    ));
    let (before, after) = (of(&old, "org1"), of(&new, "org1"));
    assert_ne!(before.hash, after.hash);
    let differing = before
        .files
        .iter()
        .zip(&after.files)
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.path.rsplit('/').next().unwrap());
    assert_eq!(differing.collect::<Vec<_>>(), [CONFIG, "server.crt"]);
    let config = files::text(after, CA_HOME, CONFIG).expect("a configuration");
    assert!(config.contains("expiry: 17520h"), "{config}");
    assert_eq!(old.keys["org1/registrar"], new.keys["org1/registrar"]);
    // One at a time, before orderers and peers.
    let again = |name: &str| {
        [
            Boot::Start(vec![names::ca(name)]),
            Boot::Ready(vec![names::ca(name)]),
        ]
    };
    assert_eq!(new.boot[..4], [again("org1"), again("org2")].concat());
    assert_eq!(new.boot.last(), Some(&Boot::Init("commit".to_owned())));
}
