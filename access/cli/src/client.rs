//! Connection to the server: address, token and transport errors. The calls are in `api_client.rs`.

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
    iter::successors,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};
use url::{Host, Url};
use uuid::Uuid;

const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
const CONNECT: Duration = Duration::from_secs(5);
/// Call timeout: the probe of a host can take 30 s on the server.
const CALL: Duration = Duration::from_secs(90);
/// The server's maximum page size.
const PAGE: u32 = 500;

/// A response: the raw document and the parsed value.
#[derive(Debug, Clone)]
pub(crate) struct ApiResponse<T> {
    /// Raw document, including fields of a newer server that this client does not know.
    pub(crate) json: Value,
    /// Parsed value.
    pub(crate) value: T,
}

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    public: Url,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Determines server and token from options, environment and the local administrator's file, in this
    /// order.
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
        // The local administrator's token is sent to the local server only.
        let local =
            context.filter(|context| parse_server(&context.server).is_ok_and(|server| server == base));
        let trust = match (&global.server_ca, &local) {
            _ if base.scheme() == "http" => Trust::NoTls,
            (Some(path), _) => Trust::CaFile(path),
            (
                None,
                Some(Context {
                    certificate: Some(pem),
                    ..
                }),
            ) => Trust::Pinned(pem),
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

    /// `true` if the caller chose a server or token explicitly.
    pub(crate) fn has_explicit_target(global: &Global) -> bool {
        global.server.is_some()
            || global.token_file.is_some()
            || std::env::var_os("CHAINPOOL_TOKEN").is_some_and(|token| !token.is_empty())
    }

    /// A client of a server in this process that replaces the local one.
    pub(crate) fn local(address: SocketAddr, of: &Context, token: &str) -> Result<Self> {
        let public = parse_server(of.public_url.as_deref().unwrap_or(&of.server))?;
        Self::new(
            parse_server(&format!("http://{address}"))?,
            Some(public),
            Some(token),
            &Trust::NoTls,
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
                "warning: sending the token to {base} unencrypted; use https"
            ));
        }
        let http = trust.configure(http)?.build().map_err(|error| {
            let advice = "install the system's ca-certificates, or set a CA with --server-ca";
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

    /// The server's address as given.
    pub(crate) fn server(&self) -> &Url {
        &self.base
    }

    /// The public address, which differs from the local one behind a proxy.
    pub(crate) fn public(&self) -> &Url {
        &self.public
    }

    /// A request to a path below `/api/v1`. Path segments are percent-encoded.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder> {
        if let Some(odd) = path.iter().find(|part| matches!(**part, "" | "." | "..")) {
            return Err(Failure::new(
                Exit::Invalid,
                format!("{odd:?} is not a valid name or id"),
            ));
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
            // Makes the retry after a broken connection safe.
            request = request.header("idempotency-key", Uuid::new_v4().to_string());
        }
        Ok(match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        })
    }

    /// Sends a request and returns a successful response. Streams have no time limit.
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
            Ok(problem) => Err(Failure::from_problem(status, &problem)),
            Err(_) if (500..600).contains(&status) => Err(Failure::new(
                Exit::of_status(status),
                format!("{} responds with HTTP status {status}", self.base),
            )),
            Err(_) => Err(self.not_chainpool(&format!("HTTP status {status}"))),
        }
    }

    /// Gets a document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<ApiResponse<T>> {
        self.document(self.request(Method::GET, path)?).await
    }

    /// Posts a document and returns the response document.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &(impl Serialize + Sync),
    ) -> Result<ApiResponse<T>> {
        self.document(self.request(Method::POST, path)?.json(body)).await
    }

    /// Sends a request and parses the response document.
    pub(crate) async fn document<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<ApiResponse<T>> {
        let response = self.send(request, Some(CALL)).await?;
        let bytes = response.bytes().await.map_err(|error| self.lost(&error))?;
        let json: Value =
            serde_json::from_slice(&bytes).map_err(|error| self.not_chainpool(&error.to_string()))?;
        let value = T::deserialize(&json).map_err(|error| self.not_chainpool(&error.to_string()))?;
        Ok(ApiResponse { json, value })
    }

    /// Sends a request with an empty response.
    pub(crate) async fn done(&self, request: RequestBuilder) -> Result<()> {
        self.send(request, Some(CALL)).await.map(|_| ())
    }

    /// Reads pages of a list up to `limit` items. `next` remains if there are more.
    pub(crate) async fn pages<T: DeserializeOwned>(
        &self,
        path: &[&str],
        filter: &(impl Serialize + Sync),
        limit: u32,
    ) -> Result<ApiResponse<Page<T>>> {
        let mut documents = Vec::new();
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let wanted = limit
                .saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX))
                .min(PAGE);
            let page = [("limit", Some(wanted.to_string())), ("after", next.clone())];
            let mut response: ApiResponse<Page<T>> = self
                .document(self.request(Method::GET, path)?.query(filter).query(&page))
                .await?;
            let count = response.value.items.len();
            items.append(&mut response.value.items);
            if let Some(Value::Array(page)) = response.json.get_mut("items").map(Value::take) {
                documents.extend(page);
            }
            next = response.value.next;
            if next.is_none() || count == 0 || items.len() >= limit as usize {
                break;
            }
        }
        let mut json = serde_json::json!({ "items": documents });
        if let Some(next) = &next {
            json["next"] = Value::String(next.clone());
            output::note(format_args!(
                "there are more than these {}; use filters or raise --limit",
                items.len()
            ));
        }
        Ok(ApiResponse {
            json,
            value: Page { items, next },
        })
    }

    /// Failure for a transport error. The server may have executed the request.
    pub(crate) fn lost(&self, error: &reqwest::Error) -> Failure {
        let server = &self.base;
        let why = cause(error);
        let message = if error.is_connect() && why.contains("certificate") {
            format!(
                "the certificate of {server} is not trusted ({why}); set its CA with --server-ca or CHAINPOOL_SERVER_CA"
            )
        } else if error.is_connect() {
            format!(
                "no Chainpool server at {server} ({why})\nstart one with `chainpool serve`, or set another with --server or CHAINPOOL_SERVER"
            )
        } else if error.is_timeout() {
            format!(
                "{server} did not respond in time and may still execute the request; check `chainpool operation list`"
            )
        } else {
            format!(
                "connection to {server} lost ({why}); the server may still execute the request; check `chainpool operation list`"
            )
        };
        Failure::new(Exit::Unreachable, message)
    }

    /// Failure for a response that is not from a Chainpool server.
    fn not_chainpool(&self, why: &str) -> Failure {
        Failure::new(
            Exit::Unreachable,
            format!(
                "no Chainpool server of a compatible version at {}: {why}",
                self.base
            ),
        )
    }
}

/// The root cause; the outer errors only name the attempt.
fn cause(error: &reqwest::Error) -> String {
    successors(error.source(), |&cause| cause.source())
        .last()
        .map_or_else(
            || "invalid address or TLS configuration".to_owned(),
            ToString::to_string,
        )
}

fn parse_server(text: &str) -> Result<Url> {
    http_url(text).map_err(|why| Failure::new(Exit::Usage, why))
}

/// `true` if requests stay on this machine. A server that listens on all addresses records the unspecified
/// one.
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
            "warning: all users of this machine can read the token in {0}; run chmod 600 {0}",
            path.display()
        ));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| wrong(&error))?;
    match text.trim() {
        "" => Err(Failure::new(
            Exit::Usage,
            format!("{} contains no token", path.display()),
        )),
        token => Ok(token.to_owned()),
    }
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::new(Exit::Usage, "the token contains invalid characters"))?;
    value.set_sensitive(true);
    Ok(value)
}
