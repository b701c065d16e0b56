//! The way to the server: its address, the token, and what each failure of the way means. The calls are in `calls.rs`.

use crate::{
    args::Global,
    data::{self, Context},
    exit::{Exit, Failure, Result},
    output,
    trust::Trust,
};
use chainpool_api::{Page, Problem};
use chainpool_server::http_url;
use reqwest::{
    Method, RequestBuilder, Response,
    header::{AUTHORIZATION, HeaderValue},
    redirect,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    error::Error as _,
    fs,
    io::{self, Read as _},
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};
use url::{Host, Url};
use uuid::Uuid;

const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
const CONNECT: Duration = Duration::from_secs(5);
/// A host that is probed may take its own 30 s to answer or not.
const CALL: Duration = Duration::from_secs(90);
/// The server's own bound for the items of a page.
const PAGE: u32 = 500;

/// An answer: the document as it came, and what it means.
#[derive(Debug, Clone)]
pub(crate) struct Answer<T> {
    /// As it came: also what a newer server says and this client does not know.
    pub(crate) json: Value,
    /// What it means.
    pub(crate) value: T,
}

/// The way to one server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    public: Url,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Finds the server and the token: options first, then the environment, then the local administrator's file.
    pub(crate) fn open(global: &Global) -> Result<Self> {
        let given = match &global.token_file {
            Some(path) => Some(read_token(path)?),
            None => std::env::var("CHAINPOOL_TOKEN")
                .ok()
                .filter(|token| !token.is_empty()),
        };
        let context = if given.is_some() && global.server.is_some() {
            None
        } else {
            Context::read(&data::folder(global.data.as_deref())?)?
        };
        let address = global
            .server
            .clone()
            .or_else(|| context.as_ref().map(|context| context.server.clone()));
        let base = parse_server(address.as_deref().unwrap_or(DEFAULT_SERVER))?;
        // The local administrator's token is for the local server: no other may ever see it.
        let local =
            context.filter(|context| parse_server(&context.server).is_ok_and(|server| server == base));
        let trust = match (&global.server_ca, &local) {
            _ if base.scheme() == "http" => Trust::Nobody,
            (Some(path), _) => Trust::Authority(path),
            (
                None,
                Some(Context {
                    certificate: Some(pem),
                    ..
                }),
            ) => Trust::Exactly(pem),
            _ => Trust::System,
        };
        let token = given
            .as_deref()
            .or(local.as_ref().map(|context| context.token.as_str()));
        let public = local
            .as_ref()
            .and_then(|context| context.public_url.as_deref())
            .map(parse_server)
            .transpose()?;
        Self::new(base, public, token, &trust)
    }

    /// Whether the caller named a server or brought a token: then no other will do.
    pub(crate) fn is_directed(global: &Global) -> bool {
        global.server.is_some()
            || global.token_file.is_some()
            || std::env::var_os("CHAINPOOL_TOKEN").is_some_and(|token| !token.is_empty())
    }

    /// The way to a server of this process that stands in for the local one.
    pub(crate) fn local(address: SocketAddr, of: &Context, token: &str) -> Result<Self> {
        let public = parse_server(of.public_url.as_deref().unwrap_or(&of.server))?;
        Self::new(
            parse_server(&format!("http://{address}"))?,
            Some(public),
            Some(token),
            &Trust::Nobody,
        )
    }

    fn new(base: Url, public: Option<Url>, token: Option<&str>, trust: &Trust<'_>) -> Result<Self> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("chainpool/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .redirect(redirect::Policy::none());
        if is_this_machine(&base) {
            http = http.no_proxy();
        } else if base.scheme() == "http" && token.is_some() {
            output::note(format_args!(
                "warning: the token goes to {base} unencrypted; https would keep it secret"
            ));
        }
        let http = trust.tell(http)?.build().map_err(|error| {
            let advice = "install the system's ca-certificates, or name an authority with --server-ca";
            Failure::new(
                Exit::Unreachable,
                format!("cannot set up TLS: {}; {advice}", cause(&error)),
            )
        })?;
        let authorization = token.map(bearer).transpose()?;
        Ok(Self {
            http,
            public: public.unwrap_or_else(|| base.clone()),
            base,
            authorization,
        })
    }

    /// The server's address as it was given.
    pub(crate) fn server(&self) -> &Url {
        &self.base
    }

    /// The address that people open: behind a proxy the local server has another one for them.
    pub(crate) fn public(&self) -> &Url {
        &self.public
    }

    /// A request to a place below `/api/v1`. Names are quoted, so that none can lead to another place.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder> {
        if let Some(odd) = path.iter().find(|part| matches!(**part, "" | "." | "..")) {
            return Err(Failure::new(Exit::Invalid, format!("{odd:?} is not a name")));
        }
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http address has a path")
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        let keyed = method == Method::POST;
        let mut request = self.http.request(method, url);
        if keyed {
            // Should the connection break, the same request is sent again and is the same operation.
            request = request.header("idempotency-key", Uuid::new_v4().to_string());
        }
        Ok(match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        })
    }

    /// Sends a request; gives the answer when it is no refusal. Whoever reads a stream sets no limit of time.
    pub(crate) async fn send(&self, request: RequestBuilder, limit: Option<Duration>) -> Result<Response> {
        let request = match limit {
            Some(limit) => request.timeout(limit),
            None => request,
        };
        let again = request.try_clone();
        let mut result = request.send().await;
        if let (Err(error), Some(again)) = (&result, again)
            && !error.is_connect()
            && !error.is_timeout()
        {
            result = again.send().await;
        }
        let response = result.map_err(|error| self.lost(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| self.lost(&error))?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(Failure::refused(status, &problem)),
            Err(_) if (500..600).contains(&status) => Err(Failure::new(
                Exit::of_status(status),
                format!("{} answers with HTTP status {status}", self.base),
            )),
            Err(_) => Err(self.stranger(&format!("it answers with HTTP status {status}"))),
        }
    }

    /// Asks for a document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Answer<T>> {
        self.document(self.request(Method::GET, path)?).await
    }

    /// Sends a document, gets a document.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &(impl Serialize + Sync),
    ) -> Result<Answer<T>> {
        self.document(self.request(Method::POST, path)?.json(body)).await
    }

    /// Sends a request and reads the document of its answer.
    pub(crate) async fn document<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Answer<T>> {
        let response = self.send(request, Some(CALL)).await?;
        let bytes = response.bytes().await.map_err(|error| self.lost(&error))?;
        let json: Value =
            serde_json::from_slice(&bytes).map_err(|error| self.stranger(&error.to_string()))?;
        let value = T::deserialize(&json).map_err(|error| self.stranger(&error.to_string()))?;
        Ok(Answer { json, value })
    }

    /// Sends a request whose answer has no body.
    pub(crate) async fn done(&self, request: RequestBuilder) -> Result<()> {
        self.send(request, Some(CALL)).await.map(|_| ())
    }

    /// Follows the pages of a list until there are no more or enough. What is left out keeps its `next`.
    pub(crate) async fn pages<T: DeserializeOwned>(
        &self,
        path: &[&str],
        filter: &(impl Serialize + Sync),
        limit: u32,
    ) -> Result<Answer<Page<T>>> {
        let mut documents = Vec::new();
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let wanted = limit
                .saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX))
                .min(PAGE);
            let place = [("limit", Some(wanted.to_string())), ("after", next.clone())];
            let mut answer: Answer<Page<T>> = self
                .document(self.request(Method::GET, path)?.query(filter).query(&place))
                .await?;
            let count = answer.value.items.len();
            items.append(&mut answer.value.items);
            if let Some(Value::Array(page)) = answer.json.get_mut("items").map(Value::take) {
                documents.extend(page);
            }
            next = answer.value.next;
            if next.is_none() || count == 0 || items.len() >= limit as usize {
                break;
            }
        }
        let mut json = serde_json::json!({ "items": documents });
        if let Some(next) = &next {
            json["next"] = Value::String(next.clone());
            output::note(format_args!(
                "there are more than these {}; choose with filters or raise --limit",
                items.len()
            ));
        }
        Ok(Answer {
            json,
            value: Page { items, next },
        })
    }

    /// The way was lost. What was asked may have been done.
    pub(crate) fn lost(&self, error: &reqwest::Error) -> Failure {
        let server = &self.base;
        let why = cause(error);
        let message = if error.is_connect() && why.contains("certificate") {
            format!(
                "the certificate of {server} is not trusted ({why}); name its authority with --server-ca or CHAINPOOL_SERVER_CA"
            )
        } else if error.is_connect() {
            format!(
                "no Chainpool server answers at {server} ({why})\nstart one with `chainpool serve`, or name another with --server or CHAINPOOL_SERVER"
            )
        } else if error.is_timeout() {
            format!(
                "{server} took the request but did not answer in time; it may still do it: see `chainpool operation list`"
            )
        } else {
            format!(
                "the connection to {server} broke ({why}); what was asked may be done all the same: see `chainpool operation list`"
            )
        };
        Failure::new(Exit::Unreachable, message)
    }

    fn stranger(&self, why: &str) -> Failure {
        Failure::new(
            Exit::Unreachable,
            format!(
                "what answers at {} is no Chainpool server of this version: {why}",
                self.base
            ),
        )
    }
}

/// The last cause: the first ones only say that something was tried.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.source().is_none() {
        "the address or the TLS set-up is wrong".to_owned()
    } else {
        cause.to_string()
    }
}

fn parse_server(text: &str) -> Result<Url> {
    http_url(text).map_err(|why| Failure::new(Exit::Usage, why))
}

/// Whether what is sent stays on this machine. A server that listens everywhere writes down the unspecified address.
fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified(),
        None => false,
    }
}

fn read_token(path: &Path) -> Result<String> {
    let wrong = |error: &io::Error| {
        Failure::new(
            Exit::Usage,
            format!("cannot read the token from {}: {error}", path.display()),
        )
    };
    let mut file = fs::File::open(path).map_err(|error| wrong(&error))?;
    let metadata = file.metadata().map_err(|error| wrong(&error))?;
    if metadata.is_file() && metadata.mode() & 0o004 != 0 {
        output::note(format_args!(
            "warning: everybody on this machine can read the token in {0}: chmod 600 {0}",
            path.display()
        ));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| wrong(&error))?;
    match text.trim() {
        "" => Err(Failure::new(
            Exit::Usage,
            format!("{} holds no token", path.display()),
        )),
        token => Ok(token.to_owned()),
    }
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::new(Exit::Usage, "the token has characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}
