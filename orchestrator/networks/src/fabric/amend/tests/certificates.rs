//! Certificates of amended specs, read by `openssl`.

use super::*;

/// Runs `openssl` in a folder; returns its output.
fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program openssl");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// Checks a certificate against an authority, at the time of the change.
fn verify(folder: &Path, authority: &str, certificate: &str) {
    fs::write(folder.join("ca.pem"), authority).unwrap();
    fs::write(folder.join("leaf.pem"), certificate).unwrap();
    openssl(
        folder,
        &[
            "verify",
            "-x509_strict",
            "-attime",
            &NOW.to_string(),
            "-CAfile",
            "ca.pem",
            "leaf.pem",
        ],
    );
}

/// Output of `openssl x509` for one option.
fn certificate_field(folder: &Path, certificate: &str, what: &str) -> String {
    fs::write(folder.join("leaf.pem"), certificate).unwrap();
    openssl(folder, &["x509", "-in", "leaf.pem", "-noout", what])
}

/// The certificates of a node: enrolment, TLS.
fn certificates(spec: &ClusterSpec, name: &str) -> [String; 2] {
    let member = member::load(node(spec, name)).expect("its files");
    [member.enrolment.certificate, member.tls.certificate]
}

#[test]
fn new_members_have_certificates_of_the_existing_authorities() {
    let folder = tempfile::tempdir().unwrap();
    let old = rendered(&small());
    let new = changed(&old, &large(), false).unwrap();
    let (before, after) = (model(&old), model(&new));
    let of = [
        ("orderer2", &before.ordering),
        ("peer1-org1", &before.organisations[0]),
        ("peer1-org2", &after.organisations[1]),
    ];
    for (name, organisation) in of {
        let [enrolment, tls] = certificates(&new, name);
        verify(folder.path(), &organisation.ca, &enrolment);
        verify(folder.path(), &organisation.tls_ca, &tls);
    }
    assert!(
        before
            .organisations
            .iter()
            .all(|known| known.ca != after.organisations[1].ca)
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one renewal, compared field by field")]
fn renewed_certificates_keep_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let old = rendered(&Parameters {
        orderers: 3,
        ..small()
    });
    let parameters = Parameters {
        certificate_days: 30,
        orderers: 3,
        ..small()
    };
    let new = changed(&old, &parameters, true).unwrap();
    let order = ["orderer0", "orderer1", "orderer2", "peer0-org1"];
    let phases = order.iter().flat_map(|name| {
        let only = || vec![node(&old, name).name.clone()];
        [Boot::Start(only()), Boot::Ready(only()), init("commit")]
    });
    let phases: Vec<Boot> = phases.collect();
    assert_eq!(new.boot, phases);
    let next = changed(
        &new,
        &Parameters {
            peers: 2,
            ..parameters.clone()
        },
        false,
    )
    .unwrap();
    assert!(
        matches!(&next.boot[0], Boot::Start(all) if all.len() == next.nodes.len()),
        "{:?}",
        next.boot
    );
    assert_eq!(
        next.boot[1..],
        [init("channels"), init("members"), init("chaincodes")]
    );
    assert_eq!(node(&new, "cc-basic"), node(&old, "cc-basic"));
    assert_eq!(new.keys, old.keys);
    let (before, after) = (model(&old), model(&new));
    assert_eq!(
        (&after.channels, &after.chaincodes, &after.control_ca),
        (&before.channels, &before.chaincodes, &before.control_ca)
    );

    let mut pairs = vec![(before.control, after.control, before.control_ca)];
    for (before, after) in [
        (before.ordering, after.ordering),
        (before.organisations[0].clone(), after.organisations[0].clone()),
    ] {
        assert_eq!(
            (&before.ca, &before.tls_ca, &before.nodes),
            (&after.ca, &after.tls_ca, &after.nodes)
        );
        for node in &before.nodes {
            let [enrolment, tls] = certificates(&old, node.as_str());
            let [new_enrolment, new_tls] = certificates(&new, node.as_str());
            pairs.extend([
                (enrolment, new_enrolment, before.ca.clone()),
                (tls, new_tls, before.tls_ca.clone()),
            ]);
        }
        pairs.extend([
            (before.admin, after.admin, before.ca.clone()),
            (before.user, after.user, before.ca),
        ]);
    }
    assert_eq!(pairs.len(), 1 + 3 * 2 + 2 + 2 + 2);
    for (before, after, authority) in pairs {
        verify(folder.path(), &authority, &after);
        for what in ["-pubkey", "-subject", "-issuer"] {
            assert_eq!(
                certificate_field(folder.path(), &before, what),
                certificate_field(folder.path(), &after, what)
            );
        }
        assert_ne!(
            certificate_field(folder.path(), &before, "-serial"),
            certificate_field(folder.path(), &after, "-serial")
        );
        fs::write(folder.path().join("leaf.pem"), &after).unwrap();
        let ends = (NOW + 30 * 86_400 + 1).to_string();
        let late = ["verify", "-attime", &ends, "-CAfile", "ca.pem", "leaf.pem"];
        let late = Command::new("openssl")
            .args(late)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(!late.status.success(), "it is valid for too long");
    }
    // Nothing else of a node changes.
    for (before, after) in old
        .nodes
        .iter()
        .zip(&new.nodes)
        .filter(|(before, _)| order.contains(&before.name.as_str()))
    {
        let differing = before.files.iter().zip(&after.files).filter(|(a, b)| a != b);
        assert_eq!(
            differing
                .map(|(a, _)| a.path.rsplit('/').next().unwrap())
                .collect::<Vec<_>>(),
            ["cert.pem", "server.crt"]
        );
        assert_ne!(before.hash, after.hash);
        let bare = |node: &NodeSpec| NodeSpec {
            files: vec![],
            hash: SpecHash(String::new()),
            ..node.clone()
        };
        assert_eq!(bare(before), bare(after));
    }
}

#[test]
fn expired_certificates_are_renewed_on_all_nodes_at_once() {
    let old = rendered(&Parameters {
        orderers: 3,
        ..small()
    });
    let parameters = Parameters {
        orderers: 3,
        ..small()
    };
    let renewed_at = |at: i64| {
        let mut request = request_at(&parameters, NOW);
        request.genesis_at = chainpool_api::Timestamp(at);
        amend(
            &old,
            &Amendment {
                request,
                renew_certificates: true,
                previous: PreviousChange::Completed,
            },
            &parameters,
            &Seed::new([2; 32]),
        )
        .unwrap()
    };
    let end = tls::pem_expiry(&model(&old).control).expect("it ends");
    assert!(renewed_at(end.0 - 1).boot.len() > 1);
    let late = renewed_at(end.0);
    assert_eq!(
        late.boot,
        [Boot::Start(
            old.nodes.iter().map(|node| node.name.clone()).collect()
        )]
    );
    // Until it has completed, some nodes may still have the expired certificates.
    assert_eq!(
        changed_after(&late, &parameters, true, PreviousChange::Unfinished)
            .unwrap()
            .boot,
        late.boot
    );
    assert!(
        changed_after(&late, &parameters, true, PreviousChange::Completed)
            .unwrap()
            .boot
            .len()
            > 1
    );
}

#[test]
fn renewed_certificates_name_the_current_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let old = rendered(&small());
    let mut request = request_at(&small(), NOW);
    request.public_endpoints.address = "198.51.100.9".to_owned();
    let change = Amendment {
        request,
        renew_certificates: true,
        previous: PreviousChange::Completed,
    };
    let new = amend(&old, &change, &small(), &Seed::new([2; 32])).unwrap();
    let [_, tls] = certificates(&new, "peer0-org1");
    fs::write(folder.path().join("leaf.pem"), tls).unwrap();
    let names = openssl(
        folder.path(),
        &["x509", "-in", "leaf.pem", "-noout", "-ext", "subjectAltName"],
    );
    assert!(
        names.contains("198.51.100.9") && !names.contains("192.0.2.7"),
        "{names}"
    );
}
