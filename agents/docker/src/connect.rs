//! Engine addresses, validated once.

use chainpool_agent::{Connection, Error, Result, Tls};
use hyper::http::uri::Authority;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc};

/// The address of an engine, with its transport security.
#[derive(Clone)]
pub(crate) enum Address {
    /// A socket on this machine.
    Unix(PathBuf),
    /// A TCP port of a machine.
    Tcp {
        /// Its name or address, without brackets.
        host: String,
        /// Its port.
        port: u16,
        /// Mutual TLS; `None`: plain.
        tls: Option<Arc<TlsClient>>,
    },
}

/// The client side of mutual TLS.
pub(crate) struct TlsClient {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server: ServerName<'static>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

impl Address {
    /// Validates a connection's address, certificates and bind address, without contacting the engine.
    pub(crate) fn parse(connection: &Connection) -> Result<Self> {
        let text = connection.address.as_str();
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return refused(format!(
                    "{text:?} needs an absolute path: write unix:///var/run/docker.sock"
                ));
            }
            if connection.tls.is_some() {
                return refused(
                    "certificates apply to tcp:// addresses only: omit them with a unix socket".to_owned(),
                );
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let Some(rest) = text.strip_prefix("tcp://") else {
            return refused(format!(
                "{text:?} is not an engine address: write unix:///var/run/docker.sock or tcp://host:2376"
            ));
        };
        let address = Self::parse_tcp(text, rest.trim_end_matches('/'), connection)?;
        if connection.bind.is_loopback() && !address.is_local() {
            return refused(format!(
                "ports bound to {} cannot be reached on {address}: set bind to 0.0.0.0 or to an address of that machine",
                connection.bind
            ));
        }
        Ok(address)
    }

    fn parse_tcp(text: &str, rest: &str, connection: &Connection) -> Result<Self> {
        let authority = rest
            .parse::<Authority>()
            .ok()
            .filter(|a| !a.as_str().contains('@') && !a.host().is_empty());
        let (Some(authority), true) = (authority.as_ref(), !rest.contains('/')) else {
            return refused(format!(
                "{text:?} is not an engine address: write tcp://host:2376, with a port and nothing after it"
            ));
        };
        let Some(port) = authority.port_u16() else {
            return refused(format!(
                "{text:?} has no port: engines listen on 2376 with TLS, on 2375 without"
            ));
        };
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = connection
            .tls
            .as_ref()
            .map(|tls| TlsClient::new(tls, &host))
            .transpose()?
            .map(Arc::new);
        if tls.is_none() && !is_loopback(&host) && !connection.insecure {
            return refused(format!(
                "{text} without certificates lets anyone on the network path take over that machine: set ca, cert and key for mutual TLS, or set insecure"
            ));
        }
        Ok(Self::Tcp { host, port, tls })
    }

    /// Returns true if the address is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => is_loopback(host),
        }
    }

    /// The host of ports that are bound to every address.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "127.0.0.1",
            Self::Tcp { host, .. } => host,
        }
    }
}

impl TlsClient {
    /// Parses the PEM texts. Trusts only the given authority, never the machine's public ones: otherwise
    /// anyone with a public certificate for the engine's name could impersonate it.
    fn new(tls: &Tls, host: &str) -> Result<Self> {
        let roots = certificates(&tls.ca, "authority's certificate (ca)")?;
        let chain = certificates(&tls.cert, "client certificate (cert)")?;
        let key = PrivateKeyDer::from_pem_slice(tls.key.expose().as_bytes()).map_err(|e| {
            Error::Refused(format!(
                "the key of the client certificate cannot be read: {e}. Give it as unencrypted PEM text"
            ))
        })?;
        let mut store = RootCertStore::empty();
        for root in roots {
            store
                .add(root)
                .map_err(|e| Error::Refused(format!("the authority's certificate (ca) is invalid: {e}")))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::Refused(format!("TLS cannot be set up: {e}")))?
            .with_root_certificates(store)
            .with_client_auth_cert(chain, key)
            .map_err(|e| Error::Refused(format!("the client certificate and its key do not match: {e}")))?;
        let server = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::Refused(format!("{host:?} is neither a host name nor an address")))?;
        Ok(Self {
            config: Arc::new(config),
            server,
        })
    }
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => refused(format!("the {what} contains no certificate: give it as PEM text")),
        Err(e) => refused(format!("the {what} cannot be read: {e}. Give it as PEM text")),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn refused<T>(text: String) -> Result<T> {
    Err(Error::Refused(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_agent::{InstanceId, Secret};

    fn connection(address: &str) -> Connection {
        Connection {
            instance: InstanceId::new(),
            address: address.to_owned(),
            tls: None,
            insecure: false,
            bind: "0.0.0.0".parse().expect("an address"),
            kubeconfig: None,
            storage_class: None,
            mirror: None,
            registry: None,
        }
    }

    fn parse(address: &str) -> Result<String> {
        Address::parse(&connection(address)).map(|a| a.to_string())
    }

    #[test]
    fn valid_addresses_are_accepted_unchanged() {
        for address in [
            "unix:///var/run/docker.sock",
            "tcp://127.0.0.1:2375",
            "tcp://localhost:2375",
            "tcp://[::1]:2375",
        ] {
            assert_eq!(parse(address).expect(address), address);
        }
    }

    #[test]
    fn invalid_addresses_are_refused_with_the_remedy() {
        for (address, hint) in [
            ("/var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("unix://docker.sock", "absolute path"),
            ("http://h:1", "tcp://host:2376"),
            ("tcp://", "tcp://host:2376"),
            ("tcp://localhost", "has no port"),
            ("tcp://localhost:99999", "no port"),
            ("tcp://me@localhost:1", "tcp://host:2376"),
            ("tcp://localhost:1/x", "nothing after it"),
            ("tcp://10.0.0.5:2375", "insecure"),
        ] {
            let error = parse(address).expect_err(address).to_string();
            assert!(error.contains(hint), "{address}: {error}");
        }
    }

    #[test]
    fn plain_tcp_beyond_loopback_requires_insecure() {
        let insecure = Connection {
            insecure: true,
            ..connection("tcp://10.0.0.5:2375")
        };
        assert!(Address::parse(&insecure).is_ok());
        let unreachable = Connection {
            bind: "127.0.0.1".parse().expect("an address"),
            ..insecure
        };
        let error = Address::parse(&unreachable).err().expect("refused").to_string();
        assert!(error.contains("set bind to 0.0.0.0"), "{error}");
    }

    #[test]
    fn invalid_certificates_are_refused_by_field() {
        let tls = Tls {
            ca: "nonsense".into(),
            cert: String::new(),
            key: Secret::new(String::new()),
        };
        let error = Address::parse(&Connection {
            tls: Some(tls.clone()),
            ..connection("tcp://10.0.0.5:2376")
        })
        .err()
        .expect("refused");
        assert!(error.to_string().contains("(ca)"), "{error}");
        let error = Address::parse(&Connection {
            tls: Some(tls),
            ..connection("unix:///s")
        })
        .err()
        .expect("refused");
        assert!(error.to_string().contains("unix socket"), "{error}");
    }
}
