//! Calls to the API server: their time limits, and what their errors mean.

use crate::bounds;
use chainpool_agent::{Error, Result};
use kube::{Api, Client, Config, Resource, client::ClientBuilder, core::Status, runtime::watcher};
use std::{
    error::Error as _,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long one call may take.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// How long we wait for the cluster to settle what it has begun (a pod, a deletion).
pub(crate) const SETTLE: Duration = Duration::from_mins(2);
/// How often we look at a deletion meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// One API server.
pub(crate) struct Server {
    config: Config,
    client: Mutex<Option<Client>>,
}

impl Server {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, client: Mutex::new(None) }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> String {
        self.config.cluster_url.to_string().trim_end_matches('/').to_owned()
    }

    /// The client. Made at the first call, because it needs a runtime and an agent is made without one.
    pub(crate) fn client(&self) -> Result<Client> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        let builder = ClientBuilder::try_from(self.config.clone()).map_err(|e| {
            Error::Refused(format!("{}: certificate, key or token of the kubeconfig cannot be used: {}", self.address(), chain(&e)))
        })?;
        Ok(client.insert(builder.with_layer(&bounds::layer()).build()).clone())
    }

    /// The objects of a kind in all namespaces, or of a kind that has none.
    pub(crate) fn all<K: Resource>(&self) -> Result<Api<K>>
    where
        K::DynamicType: Default,
    {
        Ok(Api::all(self.client()?))
    }

    /// The objects of a kind in one namespace.
    pub(crate) fn within<K: Resource<Scope = k8s_openapi::NamespaceResourceScope>>(&self, namespace: &str) -> Result<Api<K>>
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
                Err(_) => Err(Fault::Error(Error::Unreachable(format!("{}: no answer within {} s", self.address(), limit.as_secs())))),
            }
        }
    }

    /// What an error of kube's means.
    pub(crate) fn fault(&self, error: kube::Error) -> Fault {
        match error {
            kube::Error::Api(status) => self.answer(*status),
            kube::Error::SerdeError(e) => {
                Fault::Error(Error::Refused(format!("{}: what answers there is no API server we understand ({e})", self.address())))
            }
            other => Fault::Error(Error::Unreachable(self.explain(&other))),
        }
    }

    /// What an error of a watch means.
    pub(crate) fn watch_fault(&self, error: watcher::Error) -> Fault {
        match error {
            watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => self.fault(e),
            watcher::Error::WatchError(status) => self.answer(*status),
            watcher::Error::NoResourceVersion => {
                Fault::Error(Error::Refused(format!("{}: what answers there lists without a version", self.address())))
            }
        }
    }

    fn answer(&self, status: Status) -> Fault {
        // A gateway that answers in the server's place speaks no Status, and its 404 must not count as "absent".
        if status.reason == "Failed to parse error data" && matches!(status.code, 404 | 502..=504) {
            return Fault::Error(Error::Unreachable(format!("{}: no API server answers there (status {})", self.address(), status.code)));
        }
        Fault::Answer(Box::new(status))
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

/// What went wrong in one call. Keeps the server's own words as long as a verb may still branch on them.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server answered so.
    Answer(Box<Status>),
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
        matches!(self, Self::Answer(status) if status.code == code)
    }

    /// Whether the server's words contain this.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Answer(status) if status.message.contains(words))
    }

    /// Whether the thing, or the namespace it is in, is being removed just now.
    pub(crate) fn is_going(&self) -> bool {
        self.says("being terminated") || self.says("is being deleted")
    }

    /// Whether a name is taken.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Answer(status) if status.reason == "AlreadyExists")
    }

    /// What the executor may do about it. `doing` completes "the cluster would not …".
    pub(crate) fn into_error(self, doing: &str) -> Error {
        let going = self.is_going();
        let Status { code, message, .. } = match self {
            Self::Error(error) => return error,
            Self::Answer(status) => *status,
        };
        let words = if message.is_empty() { format!("status {code}") } else { message };
        let text = format!("the cluster would not {doing}: {words}");
        match code {
            _ if going => Error::Busy(text),
            401 => Error::Refused(format!("{text}. The token or certificate of the kubeconfig is not, or no longer, good there")),
            403 if words.contains("exceeded quota") => Error::Busy(text),
            403 => Error::Refused(format!("{text}. Compare its rights with agents/kubernetes/rbac.yaml")),
            408 | 409 | 410 | 429 | 500.. => Error::Busy(text),
            _ => Error::Refused(text),
        }
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

    fn error(code: u16, reason: &str, message: &str) -> Error {
        let server = Server::new(Config::new("https://h:6443".parse().expect("an address")));
        server.fault(kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())).into_error("do it")
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
        for (code, message) in [(400, "bad"), (401, "who"), (403, "forbidden"), (404, "gone"), (422, "invalid")] {
            assert!(matches!(error(code, "x", message), Error::Refused(_)), "{code} {message}");
        }
    }

    #[test]
    fn a_gateways_404_is_no_absence() {
        assert!(matches!(error(404, "Failed to parse error data", "<html>"), Error::Unreachable(_)));
    }
}
