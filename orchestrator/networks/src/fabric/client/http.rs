//! HTTP/1.1 to the control ports of nodes.

use crate::fabric::client::{
    access::Access,
    call::{ACTION, ANSWER, CallError, MAX_ANSWER_BYTES, unavailable, within},
    secure::{Secure, secure},
};
use bytes::Bytes;
use chainpool_agent::NodeName;
use chainpool_api::Timestamp;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

/// An HTTP/1.1 connection to a control port of a node. Dropping it closes the connection.
pub(crate) struct Http {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    driver: AbortHandle,
    /// Expiry of the node's TLS certificate.
    pub(crate) certificate_expiry: Option<Timestamp>,
}

impl Drop for Http {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http {
    /// Connects to a node.
    pub(crate) async fn connect(access: &Access, node: &NodeName, port: &str) -> Result<Self, CallError> {
        let Secure {
            stream,
            certificate_expiry,
        } = secure(access, node, port).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unavailable(&e))?;
        // A connection error also fails the pending request, which reports it.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self {
            sender,
            host: node.to_string(),
            driver,
            certificate_expiry,
        })
    }

    /// Sends a GET request.
    pub(crate) async fn get(&mut self, path: &str) -> Result<(http::StatusCode, Bytes), CallError> {
        // The participation API answers 406 to clients that do not accept JSON; metrics ignore the header.
        let request = http::Request::get(path).header(http::header::ACCEPT, "application/json, text/plain");
        within(ANSWER, self.send(request, Bytes::new())).await
    }

    /// Sends a POST request.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<(http::StatusCode, Bytes), CallError> {
        let request = http::Request::post(path).header(http::header::CONTENT_TYPE, kind);
        within(ACTION, self.send(request, body)).await
    }

    async fn send(
        &mut self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<(http::StatusCode, Bytes), CallError> {
        let request = request
            .header(http::header::HOST, &self.host)
            .body(Full::new(body));
        let request = request.map_err(|e| CallError::Refused(e.to_string()))?;
        self.sender.ready().await.map_err(|e| unavailable(&e))?;
        let response = self
            .sender
            .send_request(request)
            .await
            .map_err(|e| unavailable(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        Ok((
            status,
            body.map_err(|e| CallError::Unavailable(format!("the response was cut off: {e}")))?
                .to_bytes(),
        ))
    }
}
