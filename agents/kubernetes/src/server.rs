//! Calls to the API server: their time limits, and what their errors mean.

use crate::bounds;
use chainpool_agent::{Error, Result};
use kube::{Api, Client, Config, Resource, client::ClientBuilder, core::Status, runtime::watcher};
use std::{
    error::Error as _,
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// How long one call may take.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// How long we wait for the cluster to settle what it has begun (a pod, a deletion).
pub(crate) const SETTLE: Duration = Duration::from_mins(2);
/// How often we look at a deletion meanwhile.
const LOOK: Duration = Duration::from_millis(200);
/// How many characters of its words are shown: of an API server, and of what may be none.
pub(crate) const SERVER: usize = 4000;
const STRANGER: usize = 200;
/// How kube says that an error's body is no Status; it takes the body for the message.
const NO_STATUS: &str = "Failed to parse error data";

/// One API server.
pub(crate) struct Server {
    config: Config,
    client: Mutex<Option<Client>>,
    /// Whether it was seen to be an API server.
    known: AtomicBool,
}

impl Server {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            client: Mutex::new(None),
            known: AtomicBool::new(false),
        }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> String {
        self.config
            .cluster_url
            .to_string()
            .trim_end_matches('/')
            .to_owned()
    }

    /// The client. Made at the first call, because it needs a runtime and an agent is made without one.
    pub(crate) fn client(&self) -> Result<Client> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        let builder = ClientBuilder::try_from(self.config.clone()).map_err(|e| {
            Error::Refused(format!(
                "{}: certificate, key or token of the kubeconfig cannot be used: {}",
                self.address(),
                chain(&e)
            ))
        })?;
        Ok(client
            .insert(builder.with_layer(&bounds::layer()).build())
            .clone())
    }

    /// From here on it counts as an API server.
    pub(crate) fn know(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// The objects of a kind in all namespaces, or of a kind that has none.
    pub(crate) fn all<K: Resource>(&self) -> Result<Api<K>>
    where
        K::DynamicType: Default,
    {
        Ok(Api::all(self.client()?))
    }

    /// The objects of a kind in one namespace.
    pub(crate) fn within<K: Resource<Scope = k8s_openapi::NamespaceResourceScope>>(
        &self,
        namespace: &str,
    ) -> Result<Api<K>>
    where
        K::DynamicType: Default,
    {
        Ok(Api::namespaced(self.client()?, namespace))
    }

    /// Waits for a call, but not longer than `limit`. Boxed: several calls at once would else make large futures.
    pub(crate) fn call<'a, T>(
        &'a self,
        limit: Duration,
        call: impl Future<Output = Result<T, kube::Error>> + Send + 'a,
    ) -> impl Future<Output = Result<T, Fault>> + Send + 'a
    where
        T: 'a,
    {
        let call = Box::pin(call);
        async move {
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
    }

    /// What an error of kube's means.
    pub(crate) fn fault(&self, error: kube::Error) -> Fault {
        match error {
            kube::Error::Api(status) => self.answer(*status),
            // Its words hold parts of what answered, which nobody may be meant to see.
            kube::Error::SerdeError(_) => Fault::Error(Error::Refused(format!(
                "{}: what answers there is no API server we understand",
                self.address()
            ))),
            other => Fault::Error(Error::Unreachable(self.explain(&other))),
        }
    }

    /// What an error of a watch means.
    pub(crate) fn watch_fault(&self, error: watcher::Error) -> Fault {
        match error {
            watcher::Error::InitialListFailed(e)
            | watcher::Error::WatchStartFailed(e)
            | watcher::Error::WatchFailed(e) => self.fault(e),
            watcher::Error::WatchError(status) => self.answer(*status),
            watcher::Error::NoResourceVersion => Fault::Error(Error::Refused(format!(
                "{}: what answers there lists without a version",
                self.address()
            ))),
        }
    }

    fn answer(&self, status: Status) -> Fault {
        // Every field of a Status has a default, so kube takes any JSON object for one. A server's says that it is a failure, with its code.
        if status.is_failure() && status.code != 0 && status.reason != NO_STATUS {
            let most = if self.known.load(Ordering::Relaxed) {
                SERVER
            } else {
                STRANGER
            };
            return Fault::Answer {
                status: Box::new(status),
                most,
            };
        }
        self.wordless(status.code)
    }

    /// What an error means that is told by its number alone, because nobody may be meant to see the words of another service.
    pub(crate) fn wordless(&self, code: u16) -> Fault {
        match code {
            0 => Fault::Error(Error::Unreachable(format!(
                "{}: no API server answers there",
                self.address()
            ))),
            // A gateway answers in the server's place, and its 404 must not count as "absent".
            404 | 502..=504 => Fault::Error(Error::Unreachable(format!(
                "{}: no API server answers there (status {code})",
                self.address()
            ))),
            _ => Fault::Answer {
                status: Box::new(Status {
                    code,
                    ..Status::default()
                }),
                most: STRANGER,
            },
        }
    }

    fn explain(&self, error: &kube::Error) -> String {
        let text = format!("{}: {}", self.address(), chain(error));
        let hint = if text.contains("UnknownIssuer") || text.contains("BadSignature") {
            "the kubeconfig's authority did not sign the server's certificate: take the cluster's own (certificate-authority-data)"
        } else if text.contains("NotValidForName") {
            "the server's certificate does not name this address: use one that it names, or set tls-server-name in the kubeconfig"
        } else if text.contains("Expired") {
            "a certificate has ended: check the cluster's and our clock"
        } else if text.contains("Connection refused") {
            "start the API server there, or correct the address"
        } else {
            return text;
        };
        format!("{text}: {hint}")
    }
}

/// An error and its causes, each said once.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            let _ = write!(text, ": {words}");
        }
        source = cause.source();
    }
    text
}

/// Waits a moment before a condition is looked at again; false once the deadline has passed.
pub(crate) async fn look_again(deadline: Instant) -> bool {
    if Instant::now() >= deadline {
        return false;
    }
    tokio::time::sleep(LOOK).await;
    true
}

/// Another's words as people get to see them: not longer than they may be, on one line.
pub(crate) fn shown(words: &str, most: usize) -> String {
    let mut shown = String::new();
    for (count, character) in words.trim().chars().enumerate() {
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

/// What went wrong in one call. Keeps the server's own words as long as a verb may still branch on them.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server answered so.
    Answer {
        /// Its words, whole.
        status: Box<Status>,
        /// How many characters of them are shown.
        most: usize,
    },
    /// Anything else, already understood.
    Error(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Fault {
    /// Whether the server answered with this status.
    pub(crate) fn is(&self, code: u16) -> bool {
        matches!(self, Self::Answer { status, .. } if status.code == code)
    }

    /// Whether the server's words contain this.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Answer { status, .. } if status.message.contains(words))
    }

    /// Whether the thing, or the namespace it is in, is being removed just now.
    pub(crate) fn is_going(&self) -> bool {
        self.says("being terminated") || self.says("is being deleted")
    }

    /// Whether a name is taken.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Answer { status, .. } if status.reason == "AlreadyExists")
    }

    /// What the executor may do about it. `doing` completes "the cluster would not …".
    pub(crate) fn into_error(self, doing: &str) -> Error {
        let (going, over_quota) = (self.is_going(), self.says("exceeded quota"));
        let (code, words) = match self {
            Self::Error(error) => return error,
            Self::Answer { status, most } => (status.code, words(&status, most)),
        };
        let text = format!("the cluster would not {doing}: {words}");
        match code {
            _ if going => Error::Busy(text),
            401 => Error::Refused(format!(
                "{text}. The token or certificate of the kubeconfig is not, or no longer, good there"
            )),
            403 if over_quota => Error::Busy(text),
            403 => Error::Refused(format!(
                "{text}. Compare its rights with agents/kubernetes/rbac.yaml"
            )),
            408 | 409 | 410 | 429 | 500.. => Error::Busy(text),
            _ => Error::Refused(text),
        }
    }
}

/// A server's words, else the number that it gave instead.
pub(crate) fn words(status: &Status, most: usize) -> String {
    if status.message.is_empty() {
        format!("status {}", status.code)
    } else {
        shown(&status.message, most)
    }
}

/// Absent is what a removal wants.
pub(crate) fn absent_is_fine<T>(result: Result<T, Fault>) -> Result<(), Fault> {
    match result {
        Err(fault) if fault.is(404) => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stranger::{agent, answer, stranger};
    use chainpool_agent::Agent;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::api::ListParams;

    fn error(code: u16, reason: &str, message: &str) -> Error {
        let server = Server::new(Config::new("https://h:6443".parse().expect("an address")));
        server
            .fault(kube::Error::Api(
                Status::failure(message, reason).with_code(code).boxed(),
            ))
            .into_error("do it")
    }

    #[test]
    fn an_answer_that_may_pass_is_busy_and_any_other_is_refused() {
        for (code, message) in [
            (429, "slow"),
            (500, "etcd"),
            (503, "starting"),
            (409, "modified"),
            (403, "because it is being terminated"),
            (403, "exceeded quota"),
        ] {
            assert!(error(code, "x", message).is_transient(), "{code} {message}");
        }
        for (code, message) in [
            (400, "bad"),
            (401, "who"),
            (403, "forbidden"),
            (404, "gone"),
            (422, "invalid"),
        ] {
            assert!(
                matches!(error(code, "x", message), Error::Refused(_)),
                "{code} {message}"
            );
        }
    }

    #[test]
    fn a_gateways_404_is_no_absence() {
        assert!(matches!(error(404, NO_STATUS, "<html>"), Error::Unreachable(_)));
    }

    #[tokio::test]
    async fn what_another_service_answers_is_not_told() {
        let secret = "db_password=hunter2";
        let status = |message: &str| {
            format!(r#"{{"kind":"Status","status":"Failure","code":500,"message":"{message}"}}"#)
        };
        let (json, text) = ("application/json", "text/plain");
        for (code, kind, body, shown) in [
            ("401 Unauthorized", text, secret.to_owned(), "status 401"),
            ("403 Forbidden", text, secret.to_owned(), "status 403"),
            (
                "404 Not Found",
                text,
                secret.to_owned(),
                "no API server answers there (status 404)",
            ),
            ("500 Internal Server Error", text, secret.to_owned(), "status 500"),
            (
                "503 Service Unavailable",
                text,
                secret.to_owned(),
                "no API server answers there (status 503)",
            ),
            (
                "403 Forbidden",
                json,
                format!(r#"{{"error":"{secret}"}}"#),
                "no API server answers there",
            ),
            (
                "403 Forbidden",
                json,
                format!(r#"{{"message":"{secret}"}}"#),
                "no API server answers there",
            ),
            (
                "403 Forbidden",
                json,
                format!(r#"{{"code":403,"message":"{secret}"}}"#),
                "status 403",
            ),
            ("401 Unauthorized", json, format!(r#"["{secret}"]"#), "status 401"),
            (
                "200 OK",
                json,
                format!(r#""{secret}""#),
                "no API server we understand",
            ),
            (
                "200 OK",
                json,
                format!(r#"{{"items":"{secret}"}}"#),
                "no API server we understand",
            ),
            ("200 OK", text, secret.to_owned(), "no API server we understand"),
            (
                "500 Internal Server Error",
                json,
                status(&format!(r"\u001b[31mforged\nline {}", "x".repeat(10_000))),
                r"\u{1b}[31mforged\nline xxx",
            ),
        ] {
            let given = answer(code, kind, &body);
            let server = stranger(move |_| given.clone()).await;
            let list = server
                .call(
                    CALL,
                    server
                        .all::<Namespace>()
                        .expect("a client")
                        .list(&ListParams::default()),
                )
                .await;
            let list = list
                .map(drop)
                .expect_err("no API server")
                .into_error("list its machines")
                .to_string();
            assert!(list.contains(shown), "{code} {body}: {list}");
            let probe = agent(server)
                .probe()
                .await
                .expect_err("no API server")
                .to_string();
            for error in [list, probe] {
                assert!(!error.contains("hunter2"), "{code} {body}: {error}");
                assert!(
                    !error.chars().any(char::is_control) && error.len() < 400,
                    "{code}: {error}"
                );
            }
        }
    }

    #[test]
    fn a_known_servers_words_are_told_at_length() {
        let server = Server::new(Config::new("https://h:6443".parse().expect("an address")));
        let told = || {
            let status = Status::failure(&format!("denied: {}", "x".repeat(10_000)), "Forbidden")
                .with_code(403)
                .boxed();
            server
                .fault(kube::Error::Api(status))
                .into_error("do it")
                .to_string()
                .chars()
                .filter(|c| *c == 'x')
                .count()
        };
        assert!((100..STRANGER).contains(&told()));
        server.know();
        assert!((3000..SERVER).contains(&told()));
    }
}
