//! The REST API as a program uses it.

use anyhow::{Context, Result, anyhow};
use chainpool_api::Problem;
use reqwest::{Client, Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// A client with one token.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    token: String,
}

/// A refusal: its status and its problem body.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status} {problem:?}")]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub problem: Problem,
}

impl Api {
    /// A client for a server.
    pub fn new(base: &str, token: &str) -> Result<Self> {
        Ok(Self {
            // It speaks plain HTTP: reading the system's authorities takes longer than many a test.
            client: Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .pool_idle_timeout(Duration::from_secs(5))
                .build()?,
            base: format!("{base}/api/v1"),
            token: token.to_owned(),
        })
    }

    /// The same server with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// Sends a request and reads the answer; a refusal is an error that can be downcast to [`Refused`].
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T> {
        let (_, text) = self.raw(method, path, body, &[]).await?;
        serde_json::from_str(if text.is_empty() { "null" } else { &text })
            .with_context(|| format!("the answer of {path}: {text}"))
    }

    /// Sends a request with headers; answers status and text.
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
            .map_err(|e| anyhow!("{path} answered {status} without a problem body ({e}): {text}"))?;
        Err(Refused { status, problem }.into())
    }

    /// Reads.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::GET, path, None).await
    }

    /// Makes or asks for something.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Value) -> Result<T> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Asks for something that takes no body.
    pub async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::POST, path, None).await
    }

    /// Changes something.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: Value) -> Result<T> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// Removes something.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::DELETE, path, None).await
    }

    /// Expects a refusal.
    pub async fn refused(&self, method: Method, path: &str, body: Option<Value>) -> Result<Refused> {
        match self.send::<Value>(method.clone(), path, body.clone()).await {
            Ok(answer) => Err(anyhow!("{method} {path} {body:?} was not refused: {answer}")),
            Err(error) => error.downcast::<Refused>(),
        }
    }
}
