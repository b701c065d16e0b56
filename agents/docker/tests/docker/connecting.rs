//! Connections to an engine: TCP, mutual TLS, and an engine that is down.

use crate::fixture::{connection, engine_address, key, node, with_fixture};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{Agent, Connection, Error, ImageRequest, LogQuery, Platform, Scope, Secret, Tls, Wake};
use chainpool_agent_docker::{DockerAgent, DockerPlatform};
use futures::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use std::sync::Arc;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, UnixStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// A certificate authority, as set up by an engine's administrator.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    fn issue(&self, name: &str) -> Result<(rcgen::Certificate, KeyPair)> {
        let key = KeyPair::generate()?;
        Ok((
            CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.0)?,
            key,
        ))
    }

    /// The TLS settings of a client.
    fn client(&self) -> Result<Tls> {
        let (cert, key) = self.issue("client")?;
        Ok(Tls {
            ca: self.0.pem(),
            cert: cert.pem(),
            key: Secret::new(key.serialize_pem()),
        })
    }

    /// The TLS acceptor of the engine's side, which verifies clients.
    fn acceptor(&self, name: &str) -> Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let (cert, key) = self.issue(name)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![cert.der().clone()], key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Forwards connections of this listener to the engine, until aborted; open connections are cut off.
fn pass_on(listener: TcpListener, tls: Option<TlsAcceptor>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut passing = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            passing.spawn(async move {
                match tls {
                    None => pass(stream, vec![]).await,
                    Some(tls) => pass(tls.accept(stream).await?, vec![]).await,
                }
            });
        }
    })
}

/// Forwards a connection, starting with bytes already read. Errors are left to the peer.
async fn pass(mut stream: impl AsyncRead + AsyncWrite + Unpin, read: Vec<u8>) -> Result<()> {
    let address = engine_address();
    let path = address
        .strip_prefix("unix://")
        .context("these tests need the engine's unix socket")?;
    let mut engine = UnixStream::connect(path).await?;
    engine.write_all(&read).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut engine).await?;
    Ok(())
}

fn at(fixture: &crate::fixture::Fixture, listener: &TcpListener, tls: Option<Tls>) -> Result<Connection> {
    let address = format!("tcp://{}", listener.local_addr()?);
    Ok(Connection {
        address,
        tls,
        insecure: false,
        ..connection(fixture.instance)
    })
}

#[test]
fn an_engine_is_reachable_through_mutual_tls() {
    with_fixture(async |fixture| {
        let authority = Authority::new()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let agent = DockerAgent::connect(&at(fixture, &listener, Some(authority.client()?))?)?;
        let passing = pass_on(listener, Some(authority.acceptor("127.0.0.1")?));
        ensure!(agent.probe().await?.engine_id == fixture.agent.probe().await?.engine_id);
        let (key, node) = (key(), node("v0", crate::fixture::STAY));
        agent.ensure_network(&key, &crate::fixture::network()).await?;
        agent
            .ensure_node(&key, &node, &fixture.image, &crate::fixture::RUN)
            .await?;
        ensure!(
            agent.observe(Scope::Cluster(key.cluster)).await?
                == fixture.agent.observe(Scope::Cluster(key.cluster)).await?
        );
        agent.drop_cluster(key.cluster, 1).await?;
        passing.abort();
        Ok(())
    });
}

#[test]
fn a_wrong_certificate_on_either_side_is_reported() {
    with_fixture(async |fixture| {
        let (ours, theirs) = (Authority::new()?, Authority::new()?);
        let mut mixed = ours.client()?;
        mixed.ca = theirs.client()?.ca;
        for (tls, name, hint) in [
            (ours.client()?, "127.0.0.1", "signed by the given authority"), // the engine's is of another authority
            (theirs.client()?, "other.example", "names this host"), // the engine's is for another host
            (mixed, "127.0.0.1", "signed the client certificate"),  // ours is of another authority
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let agent = DockerAgent::connect(&at(fixture, &listener, Some(tls))?)?;
            let passing = pass_on(listener, Some(theirs.acceptor(name)?));
            let error = agent.probe().await.expect_err(hint);
            ensure!(
                matches!(&error, Error::Unreachable(text) if text.contains(hint)),
                "{hint}: {error}"
            );
            passing.abort();
        }
        Ok(())
    });
}

#[test]
fn an_engine_may_come_up_after_its_agent() {
    with_fixture(async |fixture| {
        // Bound now, to reserve the port.
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let address = format!("tcp://{}", socket.local_addr()?);
        let agent = DockerPlatform.connect(&Connection {
            address,
            insecure: false,
            ..connection(fixture.instance)
        })?;
        let error = agent.probe().await.expect_err("nobody listens");
        ensure!(
            matches!(&error, Error::Unreachable(text) if text.contains("start the engine")),
            "{error}"
        );
        let passing = pass_on(socket.listen(64)?, None);
        agent.probe().await?;
        passing.abort();
        Ok(())
    });
}

#[test]
fn a_peer_that_is_not_an_engine_is_reported() {
    with_fixture(async |fixture| {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let agent = DockerAgent::connect(&at(fixture, &listener, None)?)?;
        let closing = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        let error = agent
            .observe(Scope::Host)
            .await
            .expect_err("the peer closes the connection");
        ensure!(matches!(error, Error::Unreachable(_)), "{error}");
        closing.abort();
        Ok(())
    });
}

#[test]
fn a_watch_of_a_lost_engine_ends_with_lost() {
    with_fixture(async |fixture| {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let agent = DockerAgent::connect(&at(fixture, &listener, None)?)?;
        let passing = pass_on(listener, None);
        let mut wakes = agent.watch();
        ensure!(wakes.next().await == Some(Wake::Connected));
        passing.abort();
        ensure!(matches!(wakes.next().await, Some(Wake::Lost(_))));
        ensure!(wakes.next().await.is_none(), "it ends");
        Ok(())
    });
}

/// Answers each request on this listener with these bytes, then repeats `more` while the peer reads.
fn answering(listener: TcpListener, answer: String, more: Option<Vec<u8>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, more) = (answer.clone(), more.clone());
            tokio::spawn(async move {
                let mut request = [0; 4096];
                (stream.read(&mut request).await.ok()? > 0).then_some(())?;
                stream.write_all(answer.as_bytes()).await.ok()?;
                while let Some(more) = &more {
                    stream.write_all(more).await.ok()?;
                }
                Some(())
            });
        }
    })
}

#[test]
fn another_services_response_is_not_quoted() {
    with_fixture(async |fixture| {
        let secret = "db_password=hunter2";
        let body = |kind: &str, status: &str, body: &str| {
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let forged = format!(r#"{{"message":"\u001b[31mforged\nline {}"}}"#, "x".repeat(10_000));
        for (answer, shown) in [
            (body("text/plain", "500 Internal Server Error", secret), None),
            (
                body(
                    "application/json",
                    "403 Forbidden",
                    &format!(r#"{{"error":"{secret}"}}"#),
                ),
                None,
            ),
            (
                body(
                    "application/json",
                    "401 Unauthorized",
                    &format!(r#"["{secret}"]"#),
                ),
                None,
            ),
            (
                body("application/json", "200 OK", &format!(r#""{secret}""#)),
                None,
            ),
            (
                body("application/json", "500 Internal Server Error", &forged),
                Some(r"\u{1b}[31mforged\nline xxx"),
            ),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let agent = DockerAgent::connect(&at(fixture, &listener, None)?)?;
            let answering = answering(listener, answer.clone(), None);
            let error = agent.probe().await.expect_err("no engine").to_string();
            ensure!(!error.contains("hunter2"), "{answer}: {error}");
            ensure!(
                !error.chars().any(char::is_control) && error.len() < 400,
                "{answer}: {error}"
            );
            ensure!(shown.is_none_or(|shown| error.contains(shown)), "{error}");
            answering.abort();
        }
        Ok(())
    });
}

#[test]
fn an_endless_response_is_aborted() {
    with_fixture(async |fixture| {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let agent = DockerAgent::connect(&at(fixture, &listener, None)?)?;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"Version\":\"";
        let answering = answering(listener, head.to_owned(), Some(vec![b'x'; 1 << 20]));
        let error = agent.probe().await.expect_err("an endless response");
        ensure!(error.to_string().contains("exceeds 64 MiB"), "{error}");
        answering.abort();
        Ok(())
    });
}

/// Answers requests to paths with this suffix endlessly, and forwards others to the engine.
fn endless(listener: TcpListener, end: &'static str, begin: Vec<u8>, more: Vec<u8>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (begin, more) = (begin.clone(), more.clone());
            tokio::spawn(async move {
                let mut request = vec![0; 16 << 10];
                let length = stream.read(&mut request).await?;
                request.truncate(length);
                let line = String::from_utf8_lossy(&request)
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                let path = line.split([' ', '?']).nth(1).unwrap_or_default();
                if !path.ends_with(end) {
                    return pass(stream, request).await;
                }
                stream.write_all(&begin).await?;
                loop {
                    stream.write_all(&more).await?;
                }
            });
        }
    })
}

/// A chunk of a chunked body. Its delimiters contain line ends.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[test]
fn a_stream_without_items_is_aborted() {
    with_fixture(async |fixture| {
        let (key, node) = (key(), node("v0", crate::fixture::STAY));
        fixture.start(&key, &node).await?;
        let plain = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
        let chunked =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (a_line, lines) = (vec![b'x'; 1 << 20], b"xxxxxxx\n".repeat(1 << 17));
        let a_frame = [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        for (end, begin, more) in [
            ("/events", [&chunked[..], &chunk(b"\"")].concat(), chunk(&lines)), // one string over many lines
            ("/logs", plain.to_vec(), a_line.clone()),
            ("/logs", [&plain[..], &a_frame].concat(), lines),
            ("/images/create", [&plain[..], b"\""].concat(), a_line),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let agent = DockerAgent::connect(&at(fixture, &listener, None)?)?;
            let answering = endless(listener, end, begin, more);
            let why = match end {
                "/events" => match agent.watch().collect::<Vec<_>>().await.pop() {
                    Some(Wake::Lost(why)) => why,
                    other => anyhow::bail!("{other:?}"),
                },
                "/logs" => match agent
                    .logs(&key, &node.name, LogQuery::default())
                    .await?
                    .collect::<Vec<_>>()
                    .await
                    .pop()
                {
                    Some(Err(error)) => error.to_string(),
                    other => anyhow::bail!("{other:?}"),
                },
                _ => agent
                    .ensure_image(&ImageRequest::of(&["chainpool-test/absent:1".to_owned()]))
                    .await
                    .expect_err("an endless response")
                    .to_string(),
            };
            ensure!(why.contains("one event or line exceeds 2 MiB"), "{end}: {why}");
            answering.abort();
        }
        fixture.agent.drop_cluster(key.cluster, 1).await?;
        Ok(())
    });
}
