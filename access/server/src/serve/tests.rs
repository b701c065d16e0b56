//! The listener, without a façade behind it.

use super::*;
use axum::{response::Html, routing::get};
use std::net::{IpAddr, Ipv4Addr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

fn config(listen: &str) -> ServeConfig {
    ServeConfig { listen: listen.parse().unwrap(), tls: None, public_url: None, rate_limit_per_second: 0 }
}

/// Serves a router on a port of the system's choice.
async fn start(app: Router, config: ServeConfig, shutdown: CancellationToken) -> (SocketAddr, JoinHandle<Result<(), ServeError>>) {
    let (bound, address) = oneshot::channel();
    let serving =
        tokio::spawn(
            async move { listen(app, &config, shutdown, move |address| bound.send(address).expect("the test waits for it")).await },
        );
    (address.await.unwrap(), serving)
}

/// One request over a connection of its own; the answer whole.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn beyond_loopback_only_with_tls() {
    for safe in ["127.0.0.1:0", "[::1]:0", "127.9.9.9:80", "[::ffff:127.0.0.1]:80"] {
        assert!(refuse_exposed(&config(safe)).is_ok(), "{safe}");
    }
    for exposed in ["0.0.0.0:0", "[::]:0", "10.0.0.1:80", "[::ffff:10.0.0.1]:80"] {
        let said = refuse_exposed(&config(exposed)).unwrap_err().to_string();
        assert!(said.contains("TLS") && said.contains("127.0.0.1") && said.contains("https://"), "{said}");
        let plain = ServeConfig { public_url: Some("http://pool.example".into()), ..config(exposed) };
        assert!(refuse_exposed(&plain).is_err());
        let proxied = ServeConfig { public_url: Some("https://pool.example".into()), ..config(exposed) };
        assert!(refuse_exposed(&proxied).is_ok());
        let tls = ServeConfig { tls: Some(("cert.pem".into(), "key.pem".into())), ..config(exposed) };
        assert!(refuse_exposed(&tls).is_ok());
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let config = ServeConfig { listen: address, ..config("127.0.0.1:0") };
    let error = listen(Router::new(), &config, CancellationToken::new(), |_| panic!("it was bound")).await.unwrap_err();
    assert!(matches!(error, ServeError::Bind { .. }) && error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_shutdown_lets_a_request_end_and_takes_no_other() {
    let (begun, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (tell, wait) = (begun.clone(), go_on.clone());
    let app = Router::new().route(
        "/",
        get(async move || {
            tell.notify_one();
            wait.notified().await;
            "done"
        }),
    );
    let shutdown = CancellationToken::new();
    let (address, serving) = start(app, config("127.0.0.1:0"), shutdown.clone()).await;
    let asking = tokio::spawn(async move { ask(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await });
    begun.notified().await;
    shutdown.cancel();
    go_on.notify_one();
    let answer = asking.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn texts_are_compressed_when_large_and_streams_never() {
    let app = Router::new()
        .route("/small", get(async || Html("small")))
        .route("/large", get(async || Html("x".repeat(5000))))
        .route(
            "/stream",
            get(async || {
                let lines = futures::stream::iter(["x".repeat(5000), "y".repeat(5000)].map(Ok::<_, io::Error>));
                ([("content-type", "text/plain")], Body::from_stream(lines))
            }),
        )
        .layer(CompressionLayer::new().compress_when(Compressible));
    let shutdown = CancellationToken::new();
    let (address, serving) = start(app, config("127.0.0.1:0"), shutdown.clone()).await;
    for (path, compressed) in [("/small", false), ("/large", true), ("/stream", false)] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n");
        assert_eq!(ask(address, &request).await.contains("content-encoding: gzip"), compressed, "{path}");
    }
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[test]
fn files_that_are_no_certificate_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let said = |cert: &Path, key: &Path| match tls(cert, key) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    };
    assert!(said(&cert, &key).contains("cert.pem"));
    std::fs::write(&cert, "not a certificate").unwrap();
    assert!(said(&cert, &key).contains("no certificate"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    assert!(said(&cert, &key).contains("key.pem"));
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(said(&cert, &key).contains("does not fit"), "{}", said(&cert, &key));
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    assert!(tls(&cert, &key).is_ok());
}

#[tokio::test]
async fn it_speaks_tls_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let shutdown = CancellationToken::new();
    let tls = ServeConfig { tls: Some((cert, key)), ..config("127.0.0.1:0") };
    let app = Router::new().route("/", get(async || "by TLS"));
    let (address, serving) = start(app, tls, shutdown.clone()).await;
    let provider = rustls::crypto::ring::default_provider();
    // The process may have a provider already; either is ring.
    let _ = provider.install_default();
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).resolve("localhost", address).build().unwrap();
    let answer = client.get(format!("https://localhost:{}/", address.port())).send().await.unwrap();
    assert_eq!((answer.version(), answer.text().await.unwrap().as_str()), (http::Version::HTTP_2, "by TLS"));
    let plain = reqwest::Client::new().get(format!("http://{address}/")).send().await;
    assert!(plain.is_err(), "it answered without TLS");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
