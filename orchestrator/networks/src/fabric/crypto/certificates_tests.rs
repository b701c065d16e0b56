//! Certificates, verified with OpenSSL.

use super::*;
use crate::{
    PublicEndpoints,
    fabric::{
        organisations::{Organisations, organisation::OrganisationKeys},
        parameters::Parameters,
    },
};
use std::{collections::BTreeMap, fs, path::Path, process::Command};

const AT: i64 = 1_795_000_000;

fn made(seed: u8, parameters: &Parameters) -> Organisations {
    let public_endpoints = PublicEndpoints {
        address: "fabric.example.org".to_owned(),
        loopback: false,
        machines: BTreeMap::from([
            ("m1".to_owned(), "192.0.2.7".to_owned()),
            ("m2".to_owned(), "2001:db8::7".to_owned()),
        ]),
    };
    let seed = Seed::new([seed; 32]);
    Organisations::create(
        &CertificateIssuer::new(&seed, Timestamp(AT * 1000), parameters.certificate_days),
        parameters,
        "cp-0123456789ab-1",
        &public_endpoints,
    )
}

/// Runs `openssl` in a folder; returns success and output.
fn openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program openssl");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

/// Verifies a certificate against an authority at a time.
fn holds(folder: &Path, authority: &str, certificate: &str, at: i64, more: &[&str]) -> (bool, String) {
    fs::write(folder.join("ca.pem"), authority).expect("written");
    fs::write(folder.join("leaf.pem"), certificate).expect("written");
    let at = at.to_string();
    let arguments = [
        &["verify", "-x509_strict", "-attime", &at, "-CAfile", "ca.pem"],
        more,
        &["leaf.pem"],
    ]
    .concat();
    openssl(folder, &arguments)
}

/// Text of a certificate from this heading to the end of the next line.
fn field(folder: &Path, certificate: &str, extension: &str) -> String {
    fs::write(folder.join("leaf.pem"), certificate).expect("written");
    let (fine, text) = openssl(folder, &["x509", "-in", "leaf.pem", "-noout", "-ext", extension]);
    assert!(fine, "{text}");
    text.trim().to_owned()
}

fn enrolments(keyed: &OrganisationKeys) -> Vec<(&Issued, String, &str)> {
    let node = |(at, role): (usize, &'static str)| {
        let member = &keyed.members[at];
        (
            &member.enrolment,
            format!("{}.{}", member.name, keyed.domain),
            role,
        )
    };
    let nodes = (0..keyed.members.len()).map(|at| node((at, keyed.role.as_str())));
    nodes
        .chain([
            (&keyed.admin, format!("Admin@{}", keyed.domain), "admin"),
            (&keyed.user, format!("User1@{}", keyed.domain), "client"),
        ])
        .collect()
}

#[test]
fn enrolments_are_valid_only_for_their_own_authority() {
    let folder = tempfile::tempdir().unwrap();
    let made = made(
        1,
        &Parameters {
            orderers: 3,
            ..Parameters::default()
        },
    );
    for keyed in made.all() {
        let ca = &keyed.ca.certificate;
        assert!(holds(folder.path(), ca, ca, AT, &[]).0);
        for (issued, name, role) in enrolments(keyed) {
            let (fine, said) = holds(folder.path(), ca, &issued.certificate, AT, &[]);
            assert!(fine, "{said}");
            assert!(
                !holds(
                    folder.path(),
                    &keyed.tls_ca.certificate,
                    &issued.certificate,
                    AT,
                    &[]
                )
                .0
            );
            let (_, subject) = openssl(
                folder.path(),
                &[
                    "x509", "-in", "leaf.pem", "-noout", "-subject", "-nameopt", "RFC2253",
                ],
            );
            assert_eq!(subject.trim(), format!("subject=CN={name},OU={role}"));
            let (_, algorithm) = openssl(folder.path(), &["x509", "-in", "leaf.pem", "-noout", "-text"]);
            assert!(
                algorithm.contains("ecdsa-with-SHA256") && algorithm.contains("NIST CURVE: P-256"),
                "{algorithm}"
            );
            let usage = field(
                folder.path(),
                &issued.certificate,
                "keyUsage,extendedKeyUsage,basicConstraints",
            );
            assert_eq!(
                usage,
                "X509v3 Key Usage: critical\n    Digital Signature\nX509v3 Basic Constraints: critical\n    CA:FALSE"
            );
        }
    }
}

#[test]
fn tls_certificates_are_valid_for_every_name_of_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let made = made(
        1,
        &Parameters {
            peers: 2,
            ..Parameters::default()
        },
    );
    for keyed in made.all() {
        for member in &keyed.members {
            let name = member.name.as_str();
            let hosts = [name, "localhost", "fabric.example.org"].map(|host| ["-verify_hostname", host]);
            let addresses = ["127.0.0.1", "192.0.2.7", "2001:db8::7"].map(|address| ["-verify_ip", address]);
            for check in hosts.iter().chain(&addresses) {
                for purpose in ["sslserver", "sslclient"] {
                    let more = [&["-purpose", purpose], &check[..]].concat();
                    let (fine, said) = holds(
                        folder.path(),
                        &keyed.tls_ca.certificate,
                        &member.tls.certificate,
                        AT,
                        &more,
                    );
                    assert!(fine, "{name} {check:?}: {said}");
                }
            }
            for check in [["-verify_hostname", "other"], ["-verify_ip", "192.0.2.8"]] {
                assert!(
                    !holds(
                        folder.path(),
                        &keyed.tls_ca.certificate,
                        &member.tls.certificate,
                        AT,
                        &check
                    )
                    .0,
                    "{check:?}"
                );
            }
            let usage = field(
                folder.path(),
                &member.tls.certificate,
                "keyUsage,extendedKeyUsage",
            );
            assert!(usage.contains("Digital Signature, Key Encipherment"), "{usage}");
            assert!(
                usage.contains("TLS Web Server Authentication, TLS Web Client Authentication"),
                "{usage}"
            );
        }
    }
}

#[test]
fn only_chainpool_has_access_to_control_ports() {
    let folder = tempfile::tempdir().unwrap();
    let made = made(1, &Parameters::default());
    let ca = &made.control_ca.certificate;
    assert!(
        holds(
            folder.path(),
            ca,
            &made.control.certificate,
            AT,
            &["-purpose", "sslclient"]
        )
        .0
    );
    assert!(
        !holds(
            folder.path(),
            ca,
            &made.control.certificate,
            AT,
            &["-purpose", "sslserver"]
        )
        .0
    );
    for keyed in made.all() {
        for other in keyed
            .members
            .iter()
            .map(|m| &m.tls)
            .chain([&keyed.admin, &keyed.user])
        {
            assert!(!holds(folder.path(), ca, &other.certificate, AT, &[]).0);
        }
    }
}

#[test]
fn leaves_expire_after_their_days_and_authorities_later() {
    const DAY: i64 = 86_400;
    let folder = tempfile::tempdir().unwrap();
    for days in [30, 3650] {
        let made = made(
            1,
            &Parameters {
                certificate_days: days,
                ..Parameters::default()
            },
        );
        let org = &made.peers[0];
        let end = AT + i64::from(days) * DAY;
        let leaves = [
            (&org.ca, &org.admin),
            (&org.tls_ca, &org.members[0].tls),
            (&made.control_ca, &made.control),
        ];
        for (authority, issued) in leaves {
            for (at, fine) in [
                (AT - 3599, true),
                (AT - 3601, false),
                (end - 1, true),
                (end + 1, false),
            ] {
                let (held, said) = holds(
                    folder.path(),
                    &authority.certificate,
                    &issued.certificate,
                    at,
                    &[],
                );
                assert_eq!(held, fine, "{days} days, at {at}: {said}");
            }
            assert!(
                holds(
                    folder.path(),
                    &authority.certificate,
                    &authority.certificate,
                    end + 3650 * DAY - 1,
                    &[]
                )
                .0
            );
        }
    }
}

#[test]
fn keys_match_certificates_and_identifiers_match_fabric() {
    let folder = tempfile::tempdir().unwrap();
    let made = made(1, &Parameters::default());
    for keyed in made.all() {
        for (issued, ..) in enrolments(keyed) {
            fs::write(folder.path().join("key.pem"), issued.key.pem().expose()).unwrap();
            fs::write(folder.path().join("leaf.pem"), &issued.certificate).unwrap();
            let (_, of_key) = openssl(folder.path(), &["pkey", "-in", "key.pem", "-pubout"]);
            let (_, of_certificate) =
                openssl(folder.path(), &["x509", "-in", "leaf.pem", "-noout", "-pubkey"]);
            assert!(of_key.starts_with("-----BEGIN PUBLIC KEY-----"), "{of_key}");
            assert_eq!(of_key, of_certificate);
        }
        let authority =
            field(folder.path(), &keyed.admin.certificate, "authorityKeyIdentifier").replace(':', "");
        let issuer = field(folder.path(), &keyed.ca.certificate, "subjectKeyIdentifier").replace(':', "");
        let last = |text: &str| text.lines().last().expect("a line").trim().to_owned();
        assert_eq!((last(&authority), last(&issuer).len()), (last(&issuer), 64));
        let usage = field(folder.path(), &keyed.ca.certificate, "keyUsage,basicConstraints");
        assert!(
            usage.contains("Digital Signature, Key Encipherment, Certificate Sign, CRL Sign")
                && usage.contains("CA:TRUE"),
            "{usage}"
        );
    }
}

#[test]
fn serials_are_positive_and_unique() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for seed in [1, 2] {
        let made = made(
            seed,
            &Parameters {
                peers: 2,
                orderers: 3,
                ..Parameters::default()
            },
        );
        let all = made.all().flat_map(|keyed| {
            let leaves = keyed
                .members
                .iter()
                .flat_map(|m| [&m.enrolment, &m.tls])
                .chain([&keyed.admin, &keyed.user]);
            leaves
                .map(|issued| &issued.certificate)
                .chain([&keyed.ca.certificate, &keyed.tls_ca.certificate])
        });
        for certificate in all.chain([&made.control.certificate, &made.control_ca.certificate]) {
            fs::write(folder.path().join("leaf.pem"), certificate).unwrap();
            let (_, serial) = openssl(folder.path(), &["x509", "-in", "leaf.pem", "-noout", "-serial"]);
            let serial = serial
                .trim()
                .strip_prefix("serial=")
                .expect("a serial")
                .to_owned();
            assert!(
                serial.len() == 40 && matches!(serial.as_bytes()[0], b'4'..=b'7'),
                "{serial}"
            );
            seen.insert(serial);
            count += 1;
        }
    }
    assert_eq!(seen.len(), count);
}

#[test]
fn names_that_are_not_ascii_are_omitted() {
    assert_eq!(alternative_name("bücher.example"), None);
    assert!(matches!(alternative_name("::1"), Some(SanType::IpAddress(_))));
}
