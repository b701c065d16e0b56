//! REST API client for tests.

use anyhow::{Context, Result, anyhow};
use chainpool_api::Problem;
use reqwest::{Client, Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// Client with one token.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    token: String,
}

/// Error response: status and problem body.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status} {problem:?}")]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Response body.
    pub problem: Problem,
}

impl Api {
    /// Creates a client for a server.
    pub fn new(base: &str, token: &str) -> Result<Self> {
        Ok(Self {
            // The client speaks plain HTTP. Loading the system's certificate authorities takes longer than
            // many tests.
            client: Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .pool_idle_timeout(Duration::from_secs(5))
                .build()?,
            base: format!("{base}/api/v1"),
            token: token.to_owned(),
        })
    }

    /// Returns a client for the same server with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// Sends a request and parses the response. An error response can be downcast to [`ApiError`].
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T> {
        let (_, text) = self.raw(method, path, body, &[]).await?;
        serde_json::from_str(if text.is_empty() { "null" } else { &text })
            .with_context(|| format!("cannot parse the response of {path}: {text}"))
    }

    /// Sends a request with headers; returns status and text.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, String)> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if status.is_success() {
            return Ok((status, text));
        }
        let problem: Problem = serde_json::from_str(&text)
            .map_err(|e| anyhow!("{path} returned {status} without a problem body ({e}): {text}"))?;
        Err(ApiError { status, problem }.into())
    }

    /// Sends a GET request.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::GET, path, None).await
    }

    /// Sends a POST request with a body.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Value) -> Result<T> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Sends a POST request without a body.
    pub async fn post_empty<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::POST, path, None).await
    }

    /// Sends a PATCH request.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: Value) -> Result<T> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// Sends a DELETE request.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::DELETE, path, None).await
    }

    /// Sends a request that must be refused; returns the error response.
    pub async fn refused(&self, method: Method, path: &str, body: Option<Value>) -> Result<ApiError> {
        match self.send::<Value>(method.clone(), path, body.clone()).await {
            Ok(answer) => Err(anyhow!("{method} {path} {body:?} was not refused: {answer}")),
            Err(error) => error.downcast::<ApiError>(),
        }
    }
}
