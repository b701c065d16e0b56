//! Calls to the engine: time limits, API version and error mapping.

use crate::{
    connect::Address,
    transport::{Flow, Transport},
};
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker, errors::Error as Bollard};
use chainpool_agent::{Answer, Error, Result, call_within, error_chain};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Time limit of one call.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// Time limit of an image pull.
pub(crate) const PULL: Duration = Duration::from_mins(10);
/// Time limit for the engine to settle (a removal, a name just released).
pub(crate) const SETTLE: Duration = Duration::from_mins(1);
/// Poll interval meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The minimum engine API version: Docker 20.10.
const OLDEST: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 41,
};

/// One engine, and the negotiated API version.
pub(crate) struct Engine {
    transport: Transport,
    agreed: Mutex<Option<Docker>>,
}

impl Engine {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            transport: Transport::new(address),
            agreed: Mutex::new(None),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        self.transport.address()
    }

    /// A client in the negotiated version. Negotiated at the first call, because an agent is made without
    /// contacting the engine; after a failure the next call negotiates again.
    pub(crate) async fn docker(&self) -> Result<Docker> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(docker) = agreed {
            return Ok(docker);
        }
        let docker = self.transport.client(API_DEFAULT_VERSION, None)?;
        let docker = self
            .call(CALL, docker.negotiate_version())
            .await
            .map_err(|f| f.into_error("report its version"))?;
        if docker.client_version() < OLDEST {
            return Err(Error::Refused(format!(
                "the engine at {} has API version {}: Chainpool needs {OLDEST} (Docker 20.10) or newer",
                self.address(),
                docker.client_version()
            )));
        }
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    /// The same for one stream, whose items pass through the flow.
    pub(crate) async fn docker_streaming(&self) -> Result<(Docker, Arc<Flow>)> {
        let version = self.docker().await?.client_version();
        let flow = Arc::new(Flow::new());
        Ok((self.transport.client(&version, Some(flow.clone()))?, flow))
    }

    /// Waits for a call, up to `limit`.
    pub(crate) fn call<'a, T: 'a>(
        &'a self,
        limit: Duration,
        call: impl Future<Output = Result<T, Bollard>> + Send + 'a,
    ) -> impl Future<Output = Result<T, CallError>> + Send + 'a {
        call_within(limit, self.address(), call, |error| self.call_error(error))
    }

    /// Maps an error of bollard.
    pub(crate) fn call_error(&self, error: Bollard) -> CallError {
        match error {
            Bollard::DockerResponseServerError { status_code, message } => {
                if status_code == 400 && (message.contains("is too new") || message.contains("is too old")) {
                    // The engine was replaced by another version: negotiate again at the next call.
                    *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    return CallError::Other(Error::Busy(format!(
                        "the engine's version changed ({message})"
                    )));
                }
                if status_code == 404 && message.trim().is_empty() {
                    // An engine always names what it does not find. A gateway's 404 must not count as
                    // "absent".
                    return CallError::Other(Error::Unreachable(format!(
                        "{}: no Docker engine responds at this address (status 404 without a message)",
                        self.address()
                    )));
                }
                CallError::Answer(EngineAnswer {
                    code: status_code,
                    message: self.sanitized(&message),
                })
            }
            // An error within a pull's or import's stream.
            Bollard::DockerStreamError { error } => CallError::Answer(EngineAnswer {
                code: 400,
                message: self.sanitized(&error),
            }),
            // The error quotes the response, which may be confidential.
            Bollard::JsonDataError { .. } => CallError::Other(Error::Refused(format!(
                "{}: not a compatible Docker engine; correct the address",
                self.address()
            ))),
            other => CallError::Other(Error::Unreachable(format!(
                "{}: {}",
                self.address(),
                self.explain(&other)
            ))),
        }
    }

    /// An engine's message for display. An unknown peer's message is cut shorter.
    pub(crate) fn sanitized(&self, message: &str) -> String {
        let is_known = self
            .agreed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        chainpool_agent::sanitized(message, is_known)
    }

    fn explain(&self, error: &Bollard) -> String {
        let text = error_chain(error);
        if text.contains("received fatal alert") {
            return format!(
                "{text}: check that the engine's authority signed the client certificate, and that it has not expired"
            );
        }
        let Bollard::IOError { err } = error else {
            return text;
        };
        let hint = match (err.kind(), self.address()) {
            (std::io::ErrorKind::NotFound, Address::Unix(_)) => "start the engine there, or correct the path",
            (std::io::ErrorKind::ConnectionRefused, _) => "start the engine there, or correct the address",
            (std::io::ErrorKind::PermissionDenied, Address::Unix(_)) => {
                "run Chainpool as root or as a member of the group docker"
            }
            (std::io::ErrorKind::InvalidData, Address::Tcp { tls: Some(_), .. }) => {
                "check that the engine's certificate is signed by the given authority, names this host and has not expired"
            }
            _ => return text,
        };
        format!("{text}: {hint}")
    }
}

/// Waits one poll interval; false after the deadline.
pub(crate) async fn wait_for_retry(deadline: Instant) -> bool {
    if Instant::now() >= deadline {
        return false;
    }
    tokio::time::sleep(POLL_INTERVAL).await;
    true
}

/// The error of one call to an engine.
pub(crate) type CallError = chainpool_agent::CallError<EngineAnswer>;

/// An error answer of an engine.
#[derive(Debug)]
pub(crate) struct EngineAnswer {
    /// The HTTP status.
    pub(crate) code: u16,
    /// The message.
    pub(crate) message: String,
}

/// Messages of status 500 about a failed dependency of the engine; they last until the dependency recovers.
const DEPENDENCIES: [&str; 2] = ["no space left on device", "failed to initialize logging driver"];

/// Messages of status 500 about permanent errors.
pub(crate) const LASTING: [&str; 7] = [
    "port is already allocated",
    "address already in use",
    "cannot assign requested address",
    "runtime create failed",
    "executable file not found",
    "unknown log opt",
    "invalid",
];

/// The error of a message about a failed dependency; `None` for any other message.
pub(crate) fn dependency(text: &str) -> Option<Error> {
    let about = DEPENDENCIES.iter().find(|known| text.contains(*known))?;
    let advice = if about.starts_with("no space") {
        "Free disk space on that machine; Chainpool retries until then"
    } else {
        "Restart the log server, or set another for the host; Chainpool retries until then"
    };
    Some(Error::Dependency(format!("{text}. {advice}")))
}

/// Returns true if the engine is already removing the object.
pub(crate) fn is_being_removed(error: &CallError) -> bool {
    error.answer().is_some_and(EngineAnswer::is_being_removed)
}

impl EngineAnswer {
    fn is_being_removed(&self) -> bool {
        let about = ["already in progress", "marked for removal"];
        self.code == 409 && about.iter().any(|text| self.message.contains(text))
    }
}

impl Answer for EngineAnswer {
    fn code(&self) -> u16 {
        self.code
    }

    fn message(&self) -> &str {
        &self.message
    }

    fn into_error(self, action: &str) -> Error {
        let text = format!("the engine failed to {action}: {}", self.text());
        if let Some(error) = dependency(&text) {
            return error;
        }
        let passing = match self.code {
            408 | 429 | 502..=504 => true,
            409 => self.is_being_removed(),
            500.. => !LASTING.iter().any(|text| self.message.contains(text)),
            _ => false,
        };
        if passing {
            Error::Busy(text)
        } else {
            Error::Refused(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_agent::absent_is_fine;

    fn error(code: u16, message: &str) -> Error {
        EngineAnswer {
            code,
            message: message.to_owned(),
        }
        .into_error("do it")
    }

    #[test]
    fn a_404_without_a_message_is_not_an_absence() {
        let engine = Engine::new(Address::Unix("/nowhere".into()));
        let fault = |message: &str| {
            engine.call_error(Bollard::DockerResponseServerError {
                status_code: 404,
                message: message.to_owned(),
            })
        };
        assert!(matches!(fault(""), CallError::Other(Error::Unreachable(_))));
        assert!(fault("No such container: x").has_code(404));
        assert!(absent_is_fine::<(), _>(Err(fault("No such container: x"))).is_ok());
        assert!(absent_is_fine::<(), _>(Err(fault("\n"))).is_err());
    }

    #[test]
    fn a_failed_dependency_is_transient() {
        for message in [
            "write /var/lib/docker/x: no space left on device",
            "failed to initialize logging driver: dial tcp 10.0.0.9:514: connect: connection refused",
        ] {
            let error = error(500, message);
            assert!(
                matches!(&error, Error::Dependency(text) if text.contains(message)) && error.is_transient(),
                "{error}"
            );
        }
    }

    #[test]
    fn the_message_of_an_unknown_peer_is_cut_short() {
        let engine = Engine::new(Address::Unix("/nowhere".into()));
        let error = engine.call_error(Bollard::DockerResponseServerError {
            status_code: 500,
            message: "x".repeat(5000),
        });
        assert!(
            error.answer().is_some_and(|answer| answer.message.len() < 300),
            "{error:?}"
        );
    }

    #[test]
    fn transient_answers_are_busy_and_others_are_refused() {
        assert!(error(503, "").is_transient());
        assert!(error(500, "context deadline exceeded").is_transient());
        assert!(error(409, "removal of container x is already in progress").is_transient());
        for (status, message) in [
            (400, "bad"),
            (403, "no"),
            (404, "gone"),
            (409, "name in use"),
            (500, "port is already allocated"),
        ] {
            assert!(
                matches!(error(status, message), Error::Refused(_)),
                "{status} {message}"
            );
        }
    }
}
