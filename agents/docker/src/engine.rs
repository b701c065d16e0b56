//! Calls to the engine: their time limits, the version they are made in, and what their errors mean.

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

/// How long one call may take.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// How long an image may take to come.
pub(crate) const PULL: Duration = Duration::from_mins(10);
/// How long we wait for the engine to settle what it has begun (a removal, a name it has just given away).
pub(crate) const SETTLE: Duration = Duration::from_mins(1);
/// How often we look meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// How many characters of its words are taken: of an engine, and of what may be none.
const ENGINE: usize = 4000;
const STRANGER: usize = 200;
/// The oldest engine API that has all we use: Docker 20.10.
const OLDEST: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 41,
};

/// One engine, and the version agreed with it.
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

    /// A client in the version that both sides speak. Agreed at the first call, because an agent is made without the
    /// engine; a failure is forgotten, so that the next call tries again.
    pub(crate) async fn docker(&self) -> Result<Docker> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(docker) = agreed {
            return Ok(docker);
        }
        let docker = self.transport.client(API_DEFAULT_VERSION, None)?;
        let docker = self
            .call(CALL, docker.negotiate_version())
            .await
            .map_err(|f| f.into_error("tell its version"))?;
        if docker.client_version() < OLDEST {
            return Err(Error::Refused(format!(
                "the engine at {} speaks API {}: Chainpool needs {OLDEST}, which is Docker 20.10 or newer",
                self.address(),
                docker.client_version()
            )));
        }
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    /// The same, for one stream, whose items go through the flow.
    pub(crate) async fn docker_streaming(&self) -> Result<(Docker, Arc<Flow>)> {
        let version = self.docker().await?.client_version();
        let flow = Arc::new(Flow::new());
        Ok((self.transport.client(&version, Some(flow.clone()))?, flow))
    }

    /// Waits for a call, but not longer than `limit`.
    pub(crate) async fn call<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Bollard>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) => Err(self.fault(e)),
            Err(_) => Err(Fault::Error(Error::Unreachable(format!(
                "{}: no answer within {} s",
                self.address(),
                limit.as_secs()
            )))),
        }
    }

    /// What an error of bollard's means.
    pub(crate) fn fault(&self, error: Bollard) -> Fault {
        match error {
            Bollard::DockerResponseServerError { status_code, message } => {
                if status_code == 400 && (message.contains("is too new") || message.contains("is too old")) {
                    // The engine was replaced by one of another version: agree again at the next call.
                    *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    return Fault::Error(Error::Busy(format!("the engine's version changed ({message})")));
                }
                if status_code == 404 && message.trim().is_empty() {
                    // An engine always says what it does not find. A gateway that answers in its place knows nothing of what
                    // there is, and its 404 must not count as "absent".
                    return Fault::Error(Error::Unreachable(format!(
                        "{}: no engine answers there (status 404 without a word)",
                        self.address()
                    )));
                }
                Fault::Answer {
                    status: status_code,
                    message: self.shown(message.trim()),
                }
            }
            // What a pull or an import says in the middle of its stream.
            Bollard::DockerStreamError { error } => Fault::Answer {
                status: 400,
                message: self.shown(&error),
            },
            // Its words hold parts of what answered, which nobody may be meant to see.
            Bollard::JsonDataError { .. } => Fault::Error(Error::Refused(format!(
                "{}: what answers there is no engine we understand",
                self.address()
            ))),
            other => Fault::Error(Error::Unreachable(format!(
                "{}: {}",
                self.address(),
                self.explain(&other)
            ))),
        }
    }

    /// An engine's words as people get to see them: not longer than they may be, on one line. What has not been seen to be an engine says less.
    pub(crate) fn shown(&self, words: &str) -> String {
        let is_known = self
            .agreed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        let most = if is_known { ENGINE } else { STRANGER };
        let mut shown = String::new();
        for (count, character) in words.chars().enumerate() {
            if count == most {
                shown.push('…');
                break;
            }
            if character.is_control() {
                shown.extend(character.escape_default())
            } else {
                shown.push(character)
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
                "{text}: check that the engine's authority signed our certificate, and that it has not ended"
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
                "check that the engine's certificate is signed by the given authority, names this host and has not ended"
            }
            _ => return text,
        };
        format!("{text}: {hint}")
    }
}

/// Waits a moment before a condition is looked at again; false once the deadline has passed.
pub(crate) async fn look_again(deadline: Instant) -> bool {
    if Instant::now() >= deadline {
        return false;
    }
    tokio::time::sleep(LOOK).await;
    true
}

/// What went wrong in one call. Keeps the engine's own words as long as a verb may still branch on them.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The engine answered so.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// Anything else, already understood.
    Error(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Words in an answer 500 about what the engine itself stands on: they are the same until somebody puts that right.
const DEPENDENCIES: [&str; 2] = ["no space left on device", "failed to initialize logging driver"];

/// Words in an answer 500 that will be the same at the next try.
pub(crate) const LASTING: [&str; 7] = [
    "port is already allocated",
    "address already in use",
    "cannot assign requested address",
    "runtime create failed",
    "executable file not found",
    "unknown log opt",
    "invalid",
];

/// The error that words are which tell of what the platform itself stands on; `None`: they tell of something else.
pub(crate) fn dependency(text: &str) -> Option<Error> {
    let about = DEPENDENCIES.iter().find(|words| text.contains(*words))?;
    let advice = if about.starts_with("no space") {
        "Free disk space on that machine; it is tried again until then"
    } else {
        "Start the log server again, or give the host another; it is tried again until then"
    };
    Some(Error::Dependency(format!("{text}. {advice}")))
}

impl Fault {
    /// Whether the engine answered with this status.
    pub(crate) fn is(&self, status: u16) -> bool {
        matches!(self, Self::Answer { status: s, .. } if *s == status)
    }

    /// Whether the engine's words contain this.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Answer { message, .. } if message.contains(words))
    }

    /// Whether the engine is already removing the thing.
    pub(crate) fn is_going(&self) -> bool {
        self.is(409) && (self.says("already in progress") || self.says("marked for removal"))
    }

    /// What the executor may do about it. `doing` completes "the engine would not …".
    pub(crate) fn into_error(self, doing: &str) -> Error {
        let going = self.is_going();
        let (status, message) = match self {
            Self::Error(error) => return error,
            Self::Answer { status, message } => (status, message),
        };
        let message = if message.is_empty() {
            format!("status {status}")
        } else {
            message
        };
        let text = format!("the engine would not {doing}: {message}");
        if let Some(error) = dependency(&text) {
            return error;
        }
        let passing = match status {
            408 | 429 | 502..=504 => true,
            409 => going,
            500.. => !LASTING.iter().any(|words| message.contains(words)),
            _ => false,
        };
        if passing {
            Error::Busy(text)
        } else {
            Error::Refused(text)
        }
    }
}

/// Absent is what a removal wants.
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
    fn a_404_without_a_word_is_no_engine_and_not_an_absence() {
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
    fn what_the_engine_stands_on_passes_when_it_is_put_right() {
        for words in [
            "write /var/lib/docker/x: no space left on device",
            "failed to initialize logging driver: dial tcp 10.0.0.9:514: connect: connection refused",
        ] {
            let error = error(500, words);
            assert!(
                matches!(&error, Error::Dependency(text) if text.contains(words)) && error.is_transient(),
                "{error}"
            );
        }
    }

    #[test]
    fn an_answer_is_cut_and_shows_no_control_characters() {
        let engine = Engine::new(Address::Unix("/nowhere".into()));
        let message = format!("\u{1b}[31mred\nERROR forged {}", "x".repeat(5000));
        let Fault::Answer { message, .. } = engine.fault(Bollard::DockerResponseServerError {
            status_code: 500,
            message,
        }) else {
            panic!("an answer")
        };
        assert!(
            message.chars().count() < STRANGER + 10 && !message.chars().any(char::is_control),
            "{message}"
        );
        assert!(message.starts_with("\\u{1b}[31mred\\nERROR forged"), "{message}");
    }

    #[test]
    fn an_answer_that_may_pass_is_busy_and_any_other_is_refused() {
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
