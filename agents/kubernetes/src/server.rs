//! Calls to the API server, with time limits and error mapping.

use crate::response_limit;
use chainpool_agent::{Answer, Error, Result, call_within, error_chain, sanitized};
use kube::{Api, Client, Config, Resource, client::ClientBuilder, core::Status, runtime::watcher};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Time limit of one call.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// Time limit for changes in progress on the cluster, such as a pod start or a deletion.
pub(crate) const SETTLE: Duration = Duration::from_mins(2);
/// Interval between checks of such a change.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The reason that kube sets if an error body is not a Status. It then uses the body as message.
const NO_STATUS: &str = "Failed to parse error data";

/// One API server.
pub(crate) struct Server {
    config: Config,
    client: Mutex<Option<Client>>,
    /// True once it was verified as an API server.
    verified: AtomicBool,
}

impl Server {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            client: Mutex::new(None),
            verified: AtomicBool::new(false),
        }
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        self.config
            .cluster_url
            .to_string()
            .trim_end_matches('/')
            .to_owned()
    }

    /// The client. Created at the first call, because it needs a runtime and the creation of an agent does
    /// not.
    pub(crate) fn client(&self) -> Result<Client> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        let builder = ClientBuilder::try_from(self.config.clone()).map_err(|e| {
            Error::Refused(format!(
                "{}: invalid certificate, key or token in the kubeconfig: {}",
                self.address(),
                error_chain(&e)
            ))
        })?;
        Ok(client
            .insert(builder.with_layer(&response_limit::layer()).build())
            .clone())
    }

    /// Marks the server as a verified API server.
    pub(crate) fn mark_verified(&self) {
        self.verified.store(true, Ordering::Relaxed);
    }

    /// The API of a kind in all namespaces, or of a cluster-scoped kind.
    pub(crate) fn all<K: Resource>(&self) -> Result<Api<K>>
    where
        K::DynamicType: Default,
    {
        Ok(Api::all(self.client()?))
    }

    /// The API of a kind in one namespace.
    pub(crate) fn within<K: Resource<Scope = k8s_openapi::NamespaceResourceScope>>(
        &self,
        namespace: &str,
    ) -> Result<Api<K>>
    where
        K::DynamicType: Default,
    {
        Ok(Api::namespaced(self.client()?, namespace))
    }

    /// Waits for a call, up to `limit`.
    pub(crate) fn call<'a, T: 'a>(
        &'a self,
        limit: Duration,
        call: impl Future<Output = Result<T, kube::Error>> + Send + 'a,
    ) -> impl Future<Output = Result<T, CallError>> + Send + 'a {
        call_within(limit, self.address(), call, |error| self.call_error(error))
    }

    /// Maps an error of kube.
    pub(crate) fn call_error(&self, error: kube::Error) -> CallError {
        match error {
            kube::Error::Api(status) => self.status_error(*status),
            // Its message quotes the response, which may be confidential.
            kube::Error::SerdeError(_) => CallError::Other(Error::Refused(format!(
                "{}: not a supported API server; check the address",
                self.address()
            ))),
            other => CallError::Other(Error::Unreachable(self.with_hint(&other))),
        }
    }

    /// Maps an error of a watch.
    pub(crate) fn watch_error(&self, error: watcher::Error) -> CallError {
        match error {
            watcher::Error::InitialListFailed(e)
            | watcher::Error::WatchStartFailed(e)
            | watcher::Error::WatchFailed(e) => self.call_error(e),
            watcher::Error::WatchError(status) => self.status_error(*status),
            watcher::Error::NoResourceVersion => CallError::Other(Error::Refused(format!(
                "{}: not a supported API server (a list has no resourceVersion); check the address",
                self.address()
            ))),
        }
    }

    fn status_error(&self, status: Status) -> CallError {
        // All fields of a Status have defaults, so kube accepts any JSON object. A real one is a failure with
        // a code.
        if status.is_failure() && status.code != 0 && status.reason != NO_STATUS {
            let is_verified = self.verified.load(Ordering::Relaxed);
            return CallError::Answer(ServerAnswer {
                code: status.code,
                reason: status.reason,
                message: sanitized(&status.message, is_verified),
            });
        }
        self.status_only_error(status.code)
    }

    /// The error for a status code without message, because messages of another service may be confidential.
    pub(crate) fn status_only_error(&self, code: u16) -> CallError {
        match code {
            0 => CallError::Other(Error::Unreachable(format!(
                "{}: no API server responds there",
                self.address()
            ))),
            // A gateway responds instead of the server; its 404 must not mean "absent".
            404 | 502..=504 => CallError::Other(Error::Unreachable(format!(
                "{}: no API server responds there (status {code})",
                self.address()
            ))),
            _ => CallError::Answer(ServerAnswer {
                code,
                reason: String::new(),
                message: String::new(),
            }),
        }
    }

    /// The text of a connection error, with advice for common causes.
    fn with_hint(&self, error: &kube::Error) -> String {
        let text = format!("{}: {}", self.address(), error_chain(error));
        let hint = if text.contains("UnknownIssuer") || text.contains("BadSignature") {
            "the kubeconfig's authority did not sign the server's certificate: use the cluster's own certificate-authority-data"
        } else if text.contains("NotValidForName") {
            "the server's certificate is not valid for this address: use an address in the certificate, or set tls-server-name in the kubeconfig"
        } else if text.contains("Expired") {
            "a certificate has expired: renew it, and check the clocks of the cluster and of this machine"
        } else if text.contains("Connection refused") {
            "start the API server there, or correct the address"
        } else {
            return text;
        };
        format!("{text}: {hint}")
    }
}

/// Waits before a condition is checked again; false if the deadline has passed.
pub(crate) async fn wait_for_retry(deadline: Instant) -> bool {
    if Instant::now() >= deadline {
        return false;
    }
    tokio::time::sleep(POLL_INTERVAL).await;
    true
}

/// The error of one call to an API server.
pub(crate) type CallError = chainpool_agent::CallError<ServerAnswer>;

/// An error status of an API server.
#[derive(Debug)]
pub(crate) struct ServerAnswer {
    code: u16,
    reason: String,
    message: String,
}

impl ServerAnswer {
    /// Returns true if the object or its namespace is being deleted.
    fn is_terminating(&self) -> bool {
        ["being terminated", "is being deleted"]
            .iter()
            .any(|text| self.message.contains(text))
    }
}

/// Returns true if an object of that name already exists.
pub(crate) fn already_exists(error: &CallError) -> bool {
    error
        .answer()
        .is_some_and(|answer| answer.reason == "AlreadyExists")
}

impl Answer for ServerAnswer {
    fn code(&self) -> u16 {
        self.code
    }

    fn message(&self) -> &str {
        &self.message
    }

    fn into_error(self, action: &str) -> Error {
        let text = format!("the API server failed to {action}: {}", self.text());
        match self.code {
            _ if self.is_terminating() => Error::Busy(text),
            401 => Error::Refused(format!(
                "{text}. The token or certificate of the kubeconfig is invalid or expired: replace it"
            )),
            403 if self.message.contains("exceeded quota") => Error::Busy(text),
            403 => Error::Refused(format!(
                "{text}. Grant the permissions of agents/kubernetes/rbac.yaml"
            )),
            408 | 409 | 410 | 429 | 500.. => Error::Busy(text),
            _ => Error::Refused(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_server::{agent, fake_server, response};
    use chainpool_agent::Agent;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::api::ListParams;

    fn error(code: u16, reason: &str, message: &str) -> Error {
        let server = Server::new(Config::new("https://h:6443".parse().expect("an address")));
        server
            .call_error(kube::Error::Api(
                Status::failure(message, reason).with_code(code).boxed(),
            ))
            .into_error("do it")
    }

    #[test]
    fn transient_statuses_are_busy_and_others_are_refused() {
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
    fn a_gateway_404_is_unreachable_and_not_absent() {
        assert!(matches!(error(404, NO_STATUS, "<html>"), Error::Unreachable(_)));
    }

    #[tokio::test]
    async fn responses_of_other_services_are_not_disclosed() {
        let secret = "db_password=hunter2";
        let status = |message: &str| {
            format!(r#"{{"kind":"Status","status":"Failure","code":500,"message":"{message}"}}"#)
        };
        let (json, text) = ("application/json", "text/plain");
        for (code, kind, body, expected) in [
            ("401 Unauthorized", text, secret.to_owned(), "status 401"),
            ("403 Forbidden", text, secret.to_owned(), "status 403"),
            (
                "404 Not Found",
                text,
                secret.to_owned(),
                "no API server responds there (status 404)",
            ),
            ("500 Internal Server Error", text, secret.to_owned(), "status 500"),
            (
                "503 Service Unavailable",
                text,
                secret.to_owned(),
                "no API server responds there (status 503)",
            ),
            (
                "403 Forbidden",
                json,
                format!(r#"{{"error":"{secret}"}}"#),
                "no API server responds there",
            ),
            (
                "403 Forbidden",
                json,
                format!(r#"{{"message":"{secret}"}}"#),
                "no API server responds there",
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
                "not a supported API server",
            ),
            (
                "200 OK",
                json,
                format!(r#"{{"items":"{secret}"}}"#),
                "not a supported API server",
            ),
            ("200 OK", text, secret.to_owned(), "not a supported API server"),
            (
                "500 Internal Server Error",
                json,
                status(&format!(r"\u001b[31mforged\nline {}", "x".repeat(10_000))),
                r"\u{1b}[31mforged\nline xxx",
            ),
        ] {
            let canned = response(code, kind, &body);
            let server = fake_server(move |_| canned.clone()).await;
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
                .into_error("list nodes")
                .to_string();
            assert!(list.contains(expected), "{code} {body}: {list}");
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
    fn messages_of_a_verified_server_are_longer() {
        let server = Server::new(Config::new("https://h:6443".parse().expect("an address")));
        let length = || {
            let status = Status::failure(&format!("denied: {}", "x".repeat(10_000)), "Forbidden")
                .with_code(403)
                .boxed();
            server
                .call_error(kube::Error::Api(status))
                .into_error("do it")
                .to_string()
                .chars()
                .filter(|c| *c == 'x')
                .count()
        };
        assert!((100..200).contains(&length()));
        server.mark_verified();
        assert!((3000..4000).contains(&length()));
    }
}
