//! Tests of the listener, without a façade.

mod early_response;

use super::*;
use crate::limits::Limits;
use axum::{response::Html, routing::get};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

fn config(listen: &str) -> ServeConfig {
    ServeConfig::new(listen.parse().unwrap())
}

/// Serves a router on a free port.
async fn start(
    app: Router,
    config: ServeConfig,
    shutdown: CancellationToken,
) -> (SocketAddr, JoinHandle<Result<(), ServeError>>) {
    let (bound, address) = oneshot::channel();
    let serving = tokio::spawn(async move {
        listen(app, &config, shutdown, move |address| {
            bound.send(address).expect("the test waits for it");
        })
        .await
    });
    (address.await.unwrap(), serving)
}

/// Sends one request on a new connection and returns the whole response.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

#[test]
fn listening_beyond_loopback_requires_tls_or_a_configured_proxy() {
    for safe in ["127.0.0.1:0", "[::1]:0", "127.9.9.9:80", "[::ffff:127.0.0.1]:80"] {
        assert!(reject_exposed(&config(safe)).is_ok(), "{safe}");
    }
    for exposed in ["0.0.0.0:0", "[::]:0", "10.0.0.1:80", "[::ffff:10.0.0.1]:80"] {
        let error = reject_exposed(&config(exposed)).unwrap_err().to_string();
        assert!(
            error.contains("TLS") && error.contains("127.0.0.1") && error.contains("--behind-proxy"),
            "{error}"
        );
        for url in ["http://pool.example", "https://pool.example"] {
            let beside = ServeConfig {
                public_url: Some(url.parse().unwrap()),
                ..config(exposed)
            };
            assert!(reject_exposed(&beside).is_err(), "clients could bypass the proxy");
        }
        let behind = ServeConfig {
            behind_proxy: vec!["10.0.0.0/24".parse().unwrap()],
            ..config(exposed)
        };
        assert!(reject_exposed(&behind).is_ok());
        let tls = ServeConfig {
            tls: Some(("cert.pem".into(), "key.pem".into())),
            ..config(exposed)
        };
        assert!(reject_exposed(&tls).is_ok());
    }
}

/// The client address that the server determines from forged forwarding headers.
async fn client_address(config: ServeConfig) -> String {
    let who = get(
        async |client: axum::extract::ConnectInfo<SocketAddr>, headers: http::HeaderMap| {
            format!("{} {}", client.0.ip(), headers.contains_key("x-forwarded-proto"))
        },
    );
    let shutdown = CancellationToken::new();
    let (address, serving) = start(Router::new().route("/", who), config, shutdown.clone()).await;
    let request = "GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 6.6.6.6, 203.0.113.9\r\nx-forwarded-proto: https\r\nconnection: close\r\n\r\n";
    let answer = ask(address, request).await;
    shutdown.cancel();
    serving.await.unwrap().unwrap();
    answer.rsplit("\r\n").next().unwrap().to_owned()
}

#[tokio::test]
async fn only_a_trusted_proxy_sets_the_client_address() {
    assert_eq!(client_address(config("127.0.0.1:0")).await, "127.0.0.1 true");
    let http = ServeConfig {
        public_url: Some("http://pool.example".parse().unwrap()),
        ..config("127.0.0.1:0")
    };
    assert_eq!(client_address(http).await, "127.0.0.1 true");
    let https = ServeConfig {
        public_url: Some("https://pool.example".parse().unwrap()),
        ..config("127.0.0.1:0")
    };
    assert_eq!(
        client_address(https).await,
        "203.0.113.9 true",
        "as in older configurations without a proxy list"
    );
    let named = ServeConfig {
        behind_proxy: vec!["127.0.0.0/8".parse().unwrap()],
        ..config("127.0.0.1:0")
    };
    assert_eq!(client_address(named).await, "203.0.113.9 true");
}

/// Limits short enough for a test.
fn short_limits() -> Limits {
    let short = Duration::from_millis(100);
    Limits {
        handshake: short,
        first_request: short,
        idle: short,
        ping: short,
        ..Limits::default()
    }
}

/// Waits until the server closes a connection, whatever it sends before.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // A reset also counts as closed.
    drop(
        tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut rest))
            .await
            .expect("the connection stays open"),
    );
}

#[tokio::test]
async fn idle_connections_are_closed_in_every_protocol() {
    let (_folder, files, _) = certificate();
    let app = Router::new().route("/healthz", get(async || "ok"));
    for tls in [None, Some(files)] {
        let is_tls = tls.is_some();
        let shutdown = CancellationToken::new();
        let config = ServeConfig {
            tls,
            limits: short_limits(),
            ..config("127.0.0.1:0")
        };
        let (address, serving) = start(app.clone(), config, shutdown.clone()).await;
        let beginnings: &[&[u8]] = if is_tls {
            &[b"", b"\x16\x03\x01"]
        } else {
            &[
                b"",
                b"PRI * HT",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                // Complete settings, then nothing.
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
                b"GET /healthz HTTP/1.1\r\nhost: x\r\n",
                b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
            ]
        };
        for beginning in beginnings {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            closed(stream).await;
        }
        shutdown.cancel();
        serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_idle_tls_connection_is_closed_after_its_handshake() {
    let (_folder, files, root) = certificate();
    let shutdown = CancellationToken::new();
    let config = ServeConfig {
        tls: Some(files),
        limits: Limits {
            handshake: Duration::from_mins(1),
            ..short_limits()
        },
        ..config("127.0.0.1:0")
    };
    let (address, serving) = start(Router::new(), config, shutdown.clone()).await;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap())
        .unwrap();
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut client = client.with_root_certificates(roots.clone()).with_no_client_auth();
        client.alpn_protocols = vec![protocol.to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connector
            .connect("localhost".try_into().unwrap(), stream)
            .await
            .unwrap();
        let mut rest = Vec::new();
        drop(
            tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut rest))
                .await
                .expect("the connection stays open"),
        );
    }
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn idle_connections_over_the_limit_do_not_block_healthz() {
    let app = Router::new().route("/healthz", get(async || "ok"));
    let shutdown = CancellationToken::new();
    let limits = Limits {
        connections: 128,
        ..Limits::default()
    };
    let (address, serving) = start(
        app,
        ServeConfig {
            limits,
            ..config("127.0.0.1:0")
        },
        shutdown.clone(),
    )
    .await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = tokio::time::timeout(Duration::from_mins(1), ask(address, request))
        .await
        .expect("the server hangs");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Keeps them open until here, before their idle limit.
    drop(idle);
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_large_request_head_is_rejected() {
    let shutdown = CancellationToken::new();
    let app = Router::new().route("/", get(async || "ok"));
    let (address, serving) = start(app, config("127.0.0.1:0"), shutdown.clone()).await;
    for (size, status) in [(60_000, "200"), (70_000, "431")] {
        let request = format!(
            "GET /?x={} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            "x".repeat(size)
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"));
    }
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_server_rejects_new_connections_with_503_and_finishes_its_requests() {
    let (started, proceed) = (Arc::new(tokio::sync::Semaphore::new(0)), CancellationToken::new());
    let (signal, wait) = (started.clone(), proceed.clone());
    let app = Router::new().route(
        "/",
        get(async move || {
            signal.add_permits(1);
            wait.cancelled().await;
            "done"
        }),
    );
    let shutdown = CancellationToken::new();
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let (address, serving) = start(
        app,
        ServeConfig {
            limits,
            ..config("127.0.0.1:0")
        },
        shutdown.clone(),
    )
    .await;
    let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let asking = [(); 2].map(|()| tokio::spawn(async move { ask(address, request).await }));
    drop(started.acquire_many(2).await.unwrap());
    let mut rejected = TcpStream::connect(address).await.unwrap();
    let mut answer = String::new();
    rejected.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 503")
            && head.contains("retry-after")
            && head.contains(&format!("content-length: {}", body.len())),
        "{answer}"
    );
    let problem: chainpool_api::Problem = serde_json::from_str(body).unwrap();
    assert_eq!(problem.code, "too_many_connections");
    proceed.cancel();
    for asking in asking {
        assert!(asking.await.unwrap().ends_with("done"));
    }
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_bind_error_names_the_address() {
    let taken = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
        .await
        .unwrap();
    let address = taken.local_addr().unwrap();
    let config = ServeConfig {
        listen: address,
        ..config("127.0.0.1:0")
    };
    let error = listen(Router::new(), &config, CancellationToken::new(), |_| {
        panic!("bound")
    })
    .await
    .unwrap_err();
    assert!(
        matches!(error, ServeError::Bind { .. }) && error.to_string().contains(&address.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_shutdown_finishes_running_requests_and_accepts_no_others() {
    let (started, proceed) = (
        Arc::new(tokio::sync::Notify::new()),
        Arc::new(tokio::sync::Notify::new()),
    );
    let (signal, wait) = (started.clone(), proceed.clone());
    let app = Router::new().route(
        "/",
        get(async move || {
            signal.notify_one();
            wait.notified().await;
            "done"
        }),
    );
    let shutdown = CancellationToken::new();
    let (address, serving) = start(app, config("127.0.0.1:0"), shutdown.clone()).await;
    let asking = tokio::spawn(async move { ask(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await });
    started.notified().await;
    shutdown.cancel();
    proceed.notify_one();
    let answer = asking.await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
        "{answer}"
    );
    serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn large_texts_are_compressed_but_streams_are_not() {
    let app = Router::new()
        .route("/small", get(async || Html("small")))
        .route("/large", get(async || Html("x".repeat(5000))))
        .route(
            "/stream",
            get(async || {
                let lines =
                    futures::stream::iter(["x".repeat(5000), "y".repeat(5000)].map(Ok::<_, io::Error>));
                ([("content-type", "text/plain")], Body::from_stream(lines))
            }),
        )
        .layer(CompressionLayer::new().compress_when(Compressible));
    let shutdown = CancellationToken::new();
    let (address, serving) = start(app, config("127.0.0.1:0"), shutdown.clone()).await;
    for (path, compressed) in [("/small", false), ("/large", true), ("/stream", false)] {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n");
        assert_eq!(
            ask(address, &request).await.contains("content-encoding: gzip"),
            compressed,
            "{path}"
        );
    }
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[test]
fn invalid_certificate_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let error = |cert: &Path, key: &Path| match tls(cert, key) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    assert!(error(&cert, &key).contains("cert.pem"));
    std::fs::write(&cert, "not a certificate").unwrap();
    assert!(error(&cert, &key).contains("no certificate"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    assert!(error(&cert, &key).contains("key.pem"));
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(
        error(&cert, &key).contains("does not match"),
        "{}",
        error(&cert, &key)
    );
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    assert!(tls(&cert, &key).is_ok());
}

/// A certificate for `localhost` and its key as files, and the certificate as PEM.
fn certificate() -> (tempfile::TempDir, (PathBuf, PathBuf), String) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (folder, (cert, key), made.cert.pem())
}

#[tokio::test]
async fn the_server_terminates_tls() {
    let (_folder, files, root) = certificate();
    let shutdown = CancellationToken::new();
    let tls = ServeConfig {
        tls: Some(files),
        ..config("127.0.0.1:0")
    };
    let app = Router::new().route("/", get(async || "by TLS"));
    let (address, serving) = start(app, tls, shutdown.clone()).await;
    let provider = rustls::crypto::ring::default_provider();
    // The process may already have a provider; both are ring.
    let _ = provider.install_default();
    let root = reqwest::Certificate::from_pem(root.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([root])
        .resolve("localhost", address)
        .build()
        .unwrap();
    let answer = client
        .get(format!("https://localhost:{}/", address.port()))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.version(), answer.text().await.unwrap().as_str()),
        (http::Version::HTTP_2, "by TLS")
    );
    let plain = reqwest::Client::new()
        .get(format!("http://{address}/"))
        .send()
        .await;
    assert!(plain.is_err(), "accepted without TLS");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
