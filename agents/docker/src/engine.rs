//! Calls to the engine: time limits, API version and error mapping.

use crate::{
    connect::Address,
    transport::{Flow, Transport},
};
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker, errors::Error as Bollard};
use chainpool_agent::{Error, Result};
use std::{
    error::Error as _,
    fmt::Write as _,
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
/// Maximum characters of an error message: of a known engine, and of an unknown peer.
const ENGINE: usize = 4000;
const UNKNOWN_PEER: usize = 200;
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
    pub(crate) async fn call<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Bollard>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) => Err(self.fault(e)),
            Err(_) => Err(Fault::Error(Error::Unreachable(format!(
                "{}: no response within {} s",
                self.address(),
                limit.as_secs()
            )))),
        }
    }

    /// Maps an error of bollard.
    pub(crate) fn fault(&self, error: Bollard) -> Fault {
        match error {
            Bollard::DockerResponseServerError { status_code, message } => {
                if status_code == 400 && (message.contains("is too new") || message.contains("is too old")) {
                    // The engine was replaced by another version: negotiate again at the next call.
                    *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    return Fault::Error(Error::Busy(format!("the engine's version changed ({message})")));
                }
                if status_code == 404 && message.trim().is_empty() {
                    // An engine always names what it does not find. A gateway's 404 must not count as
                    // "absent".
                    return Fault::Error(Error::Unreachable(format!(
                        "{}: no Docker engine responds at this address (status 404 without a message)",
                        self.address()
                    )));
                }
                Fault::Answer {
                    status: status_code,
                    message: self.sanitized(message.trim()),
                }
            }
            // An error within a pull's or import's stream.
            Bollard::DockerStreamError { error } => Fault::Answer {
                status: 400,
                message: self.sanitized(&error),
            },
            // The error quotes the response, which may be confidential.
            Bollard::JsonDataError { .. } => Fault::Error(Error::Refused(format!(
                "{}: not a compatible Docker engine; correct the address",
                self.address()
            ))),
            other => Fault::Error(Error::Unreachable(format!(
                "{}: {}",
                self.address(),
                self.explain(&other)
            ))),
        }
    }

    /// An engine's message for display: truncated, on one line. An unknown peer's message is cut shorter.
    pub(crate) fn sanitized(&self, message: &str) -> String {
        let is_known = self
            .agreed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        let most = if is_known { ENGINE } else { UNKNOWN_PEER };
        let mut shown = String::new();
        for (count, character) in message.chars().enumerate() {
            if count == most {
                shown.push('…');
                break;
            }
            if character.is_control() {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        shown
    }

    fn explain(&self, error: &Bollard) -> String {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                let _ = write!(text, ": {cause_text}");
            }
            source = cause.source();
        }
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
pub(crate) async fn poll_again(deadline: Instant) -> bool {
    if Instant::now() >= deadline {
        return false;
    }
    tokio::time::sleep(POLL_INTERVAL).await;
    true
}

/// The error of one call. Keeps the engine's own message while a verb may branch on it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// An error response of the engine.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Its message.
        message: String,
    },
    /// Any other error, already mapped.
    Error(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
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

impl Fault {
    /// Returns true if the engine answered with this status.
    pub(crate) fn is(&self, status: u16) -> bool {
        matches!(self, Self::Answer { status: s, .. } if *s == status)
    }

    /// Returns true if the engine's message contains this text.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        matches!(self, Self::Answer { message, .. } if message.contains(text))
    }

    /// Returns true if the engine is already removing the object.
    pub(crate) fn is_being_removed(&self) -> bool {
        self.is(409) && (self.mentions("already in progress") || self.mentions("marked for removal"))
    }

    /// The error for the executor. `doing` completes "the engine failed to …".
    pub(crate) fn into_error(self, doing: &str) -> Error {
        let going = self.is_being_removed();
        let (status, message) = match self {
            Self::Error(error) => return error,
            Self::Answer { status, message } => (status, message),
        };
        let message = if message.is_empty() {
            format!("status {status}")
        } else {
            message
        };
        let text = format!("the engine failed to {doing}: {message}");
        if let Some(error) = dependency(&text) {
            return error;
        }
        let passing = match status {
            408 | 429 | 502..=504 => true,
            409 => going,
            500.. => !LASTING.iter().any(|text| message.contains(text)),
            _ => false,
        };
        if passing {
            Error::Busy(text)
        } else {
            Error::Refused(text)
        }
    }
}

/// Treats absent as success, for removals.
pub(crate) fn absent_is_fine(result: Result<(), Fault>) -> Result<(), Fault> {
    match result {
        Err(fault) if fault.is(404) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, message: &str) -> Error {
        Fault::Answer {
            status,
            message: message.to_owned(),
        }
        .into_error("do it")
    }

    #[test]
    fn a_404_without_a_message_is_not_an_absence() {
        let engine = Engine::new(Address::Unix("/nowhere".into()));
        let fault = |message: &str| {
            engine.fault(Bollard::DockerResponseServerError {
                status_code: 404,
                message: message.to_owned(),
            })
        };
        assert!(matches!(fault(""), Fault::Error(Error::Unreachable(_))));
        assert!(fault("No such container: x").is(404));
        assert!(absent_is_fine(Err(fault("No such container: x"))).is_ok());
        assert!(absent_is_fine(Err(fault("\n"))).is_err());
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
    fn a_message_is_truncated_and_has_no_control_characters() {
        let engine = Engine::new(Address::Unix("/nowhere".into()));
        let message = format!("\u{1b}[31mred\nERROR forged {}", "x".repeat(5000));
        let Fault::Answer { message, .. } = engine.fault(Bollard::DockerResponseServerError {
            status_code: 500,
            message,
        }) else {
            panic!("an answer")
        };
        assert!(
            message.chars().count() < UNKNOWN_PEER + 10 && !message.chars().any(char::is_control),
            "{message}"
        );
        assert!(message.starts_with("\\u{1b}[31mred\\nERROR forged"), "{message}");
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
