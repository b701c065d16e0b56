//! The ways to an engine: TCP, mutual TLS, and an engine that is not there yet.

use crate::yard::{connection, engine_address, key, node, yard};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{Agent, Connection, Error, Platform, Scope, Secret, Tls, Wake};
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
    net::{TcpListener, TcpStream, UnixStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// An authority, as an administrator of an engine makes one.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    fn issue(&self, name: &str) -> Result<(rcgen::Certificate, KeyPair)> {
        let key = KeyPair::generate()?;
        Ok((CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.0)?, key))
    }

    /// What a client is given.
    fn client(&self) -> Result<Tls> {
        let (cert, key) = self.issue("client")?;
        Ok(Tls { ca: self.0.pem(), cert: cert.pem(), key: Secret::new(key.serialize_pem()) })
    }

    /// How the engine's side asks for such clients.
    fn acceptor(&self, name: &str) -> Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let (cert, key) = self.issue(name)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![cert.der().clone()], key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Passes what comes to this listener on to the engine, until it is aborted; what it carries then is cut off.
fn pass_on(listener: TcpListener, tls: Option<TlsAcceptor>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut passing = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            passing.spawn(pass(stream, tls.clone()));
        }
    })
}

/// An end with an error is the other side's affair.
async fn pass(mut stream: TcpStream, tls: Option<TlsAcceptor>) -> Result<()> {
    let address = engine_address();
    let path = address.strip_prefix("unix://").context("these tests need the engine's unix socket")?;
    let mut engine = UnixStream::connect(path).await?;
    match tls {
        None => tokio::io::copy_bidirectional(&mut stream, &mut engine).await?,
        Some(tls) => tokio::io::copy_bidirectional(&mut tls.accept(stream).await?, &mut engine).await?,
    };
    Ok(())
}

fn at(yard: &crate::yard::Yard, listener: &TcpListener, tls: Option<Tls>) -> Result<Connection> {
    let port = listener.local_addr()?.port();
    Ok(Connection { address: format!("tcp://127.0.0.1:{port}"), tls, insecure: false, ..connection(yard.instance) })
}

#[test]
fn an_engine_is_reached_by_mutual_tls() {
    yard(async |yard| {
        let authority = Authority::new()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let agent = DockerAgent::connect(&at(yard, &listener, Some(authority.client()?))?)?;
        let passing = pass_on(listener, Some(authority.acceptor("127.0.0.1")?));
        ensure!(agent.probe().await?.engine_id == yard.agent.probe().await?.engine_id);
        let (key, node) = (key(), node("v0", crate::yard::STAY));
        agent.ensure_network(&key, &crate::yard::network()).await?;
        agent.ensure_node(&key, &node, &yard.image, &crate::yard::RUN).await?;
        ensure!(agent.observe(Scope::Cluster(key.cluster)).await? == yard.agent.observe(Scope::Cluster(key.cluster)).await?);
        agent.drop_cluster(key.cluster, 1).await?;
        passing.abort();
        Ok(())
    });
}

#[test]
fn a_wrong_certificate_on_either_side_is_told_so() {
    yard(async |yard| {
        let (ours, theirs) = (Authority::new()?, Authority::new()?);
        let mut mixed = ours.client()?;
        mixed.ca = theirs.client()?.ca;
        for (tls, name, says) in [
            (ours.client()?, "127.0.0.1", "signed by the given authority"), // the engine's is of another authority
            (theirs.client()?, "other.example", "names this host"),         // the engine's is for another host
            (mixed, "127.0.0.1", "signed our certificate"),                 // ours is of another authority
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let agent = DockerAgent::connect(&at(yard, &listener, Some(tls))?)?;
            let passing = pass_on(listener, Some(theirs.acceptor(name)?));
            let error = agent.probe().await.expect_err(says);
            ensure!(matches!(&error, Error::Unreachable(text) if text.contains(says)), "{says}: {error}");
            passing.abort();
        }
        Ok(())
    });
}

#[test]
fn an_engine_may_come_up_after_its_agent() {
    yard(async |yard| {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let connection = at(yard, &listener, None)?;
        let address = listener.local_addr()?;
        drop(listener);
        let agent = DockerPlatform.connect(&connection)?;
        let error = agent.probe().await.expect_err("nobody listens");
        ensure!(matches!(&error, Error::Unreachable(text) if text.contains("start the engine")), "{error}");
        let passing = pass_on(TcpListener::bind(address).await?, None);
        agent.probe().await?;
        passing.abort();
        Ok(())
    });
}

#[test]
fn what_is_no_engine_is_told_so() {
    yard(async |yard| {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let agent = DockerAgent::connect(&at(yard, &listener, None)?)?;
        let closing = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        let error = agent.observe(Scope::Host).await.expect_err("it hangs up");
        ensure!(matches!(error, Error::Unreachable(_)), "{error}");
        closing.abort();
        Ok(())
    });
}

#[test]
fn a_watch_whose_engine_goes_away_ends_with_lost() {
    yard(async |yard| {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let agent = DockerAgent::connect(&at(yard, &listener, None)?)?;
        let passing = pass_on(listener, None);
        let mut wakes = agent.watch();
        ensure!(wakes.next().await == Some(Wake::Connected));
        passing.abort();
        ensure!(matches!(wakes.next().await, Some(Wake::Lost(_))));
        ensure!(wakes.next().await.is_none(), "it ends");
        Ok(())
    });
}
