//! Servers with certificates of a private CA.

use crate::server::{Home, RunOutput};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::Arc,
    thread,
};

/// A CA.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A server for one connection, with a certificate for a name. Returns its address and the certificate.
fn serve(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new([name.to_owned()])
        .expect("a name")
        .signed_by(&key, authority)
        .expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports them")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .expect("they fit");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("https://{}", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        let (tcp, _) = listener.accept().expect("a client connects");
        let mut stream = StreamOwned::new(
            ServerConnection::new(Arc::new(config)).expect("a connection"),
            tcp,
        );
        let head = BufReader::new(&mut stream)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .count();
        if head > 0 {
            let body = r#"{"items":[]}"#;
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
            .expect("it is read");
        }
    });
    (address, certificate.pem())
}

#[tokio::test]
async fn only_the_given_ca_is_trusted() {
    let (ours, other) = (authority(), authority());
    let home = Home::new();
    for (name, authority) in [("ours.pem", &ours), ("other.pem", &other)] {
        fs::write(home.folder.path().join(name), authority.pem()).unwrap();
    }
    let list = async |authority: &str| -> RunOutput {
        home.run(
            &[
                ("CHAINPOOL_TOKEN", "t0ken"),
                ("CHAINPOOL_SERVER", &serve(&ours, "127.0.0.1").0),
            ],
            &["token", "list", "--server-ca", authority],
        )
        .await
    };
    let right = list("ours.pem").await;
    assert_eq!(right.code, Some(0), "{right:?}");
    let wrong = list("other.pem").await;
    assert_eq!(wrong.code, Some(6), "{wrong:?}");
    assert!(
        wrong.errors.contains("not trusted") && wrong.errors.contains("--server-ca"),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn the_local_server_is_trusted_by_its_pinned_certificate_for_any_name() {
    let authority = authority();
    let (address, certificate) = serve(&authority, "pool.example.org");
    let (_, another) = serve(&authority, "pool.example.org");
    let home = Home::new();
    let list = async |address: &str, certificate: &str| {
        let context =
            format!("server = \"{address}\"\ntoken = \"t0ken\"\ncertificate = \"\"\"\n{certificate}\"\"\"\n");
        fs::write(home.folder.path().join("admin.context"), context).unwrap();
        home.run(&[], &["token", "list"]).await
    };
    let right = list(&address, &certificate).await;
    assert_eq!(right.code, Some(0), "{right:?}");
    let (address, _) = serve(&authority, "pool.example.org");
    let wrong = list(&address, &another).await;
    assert_eq!(wrong.code, Some(6), "{wrong:?}");
    assert!(wrong.errors.contains("not trusted"), "{wrong:?}");
}
