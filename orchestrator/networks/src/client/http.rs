//! HTTP/1.1 over a connected stream.

use crate::client::call::{ACTION, ANSWER, CallError, unavailable, within};
use bytes::Bytes;
use chainpool_agent::NodeName;
use http::StatusCode;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
};

/// Largest accepted response; users determine a ledger's content.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A connection to one node. Dropping it closes the connection.
pub(crate) struct Http {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    driver: AbortHandle,
}

impl Drop for Http {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http {
    /// Starts HTTP on a stream to a node.
    pub(crate) async fn start<S>(stream: S, node: &NodeName) -> Result<Self, CallError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unavailable(&e))?;
        // A connection error also fails the pending request, which reports it.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self {
            sender,
            host: node.to_string(),
            driver,
        })
    }

    /// Sends a GET request for a path with its query, such as `/status`.
    pub(crate) async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes), CallError> {
        // Fabric's participation API answers 406 to clients that do not accept JSON; others ignore the header.
        let request = http::Request::get(path).header(http::header::ACCEPT, "application/json, text/plain");
        within(ANSWER, self.send(request, Bytes::new())).await
    }

    /// Sends a POST request.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let request = http::Request::post(path).header(http::header::CONTENT_TYPE, kind);
        within(ACTION, self.send(request, body)).await
    }

    async fn send(
        &mut self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), CallError> {
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
        let body = body.map_err(|e| CallError::Unavailable(format!("the response was cut off: {e}")))?;
        Ok((status, body.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// A connection, and the node's end of its stream.
    async fn connection() -> (Http, DuplexStream) {
        let (ours, node) = duplex(64 * 1024);
        let name = NodeName::parse("node0").expect("a name");
        (Http::start(ours, &name).await.expect("a connection"), node)
    }

    async fn request(node: &mut DuplexStream) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(node.read_u8().await.expect("a request"));
        }
        String::from_utf8(bytes).expect("text")
    }

    #[tokio::test]
    async fn a_request_names_the_node_and_gets_status_and_body() {
        let (mut http, mut node) = connection().await;
        let answer = tokio::spawn(async move { http.get("/status?a=b").await });
        let sent = request(&mut node).await;
        assert!(sent.starts_with("GET /status?a=b HTTP/1.1\r\n"), "{sent}");
        assert!(sent.to_lowercase().contains("\r\nhost: node0\r\n"), "{sent}");
        node.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
            .await
            .expect("written");
        let answer = answer.await.expect("it ends");
        assert_eq!(answer, Ok((StatusCode::NOT_FOUND, Bytes::from_static(b"no"))));
    }

    #[tokio::test]
    async fn a_closed_connection_is_an_error_that_may_pass() {
        let (mut http, node) = connection().await;
        drop(node);
        assert!(matches!(
            http.get("/status").await,
            Err(CallError::Unavailable(_))
        ));
    }

    #[tokio::test]
    async fn a_response_beyond_the_size_limit_is_cut_off() {
        let (mut http, mut node) = connection().await;
        let answer = tokio::spawn(async move { http.get("/status").await });
        request(&mut node).await;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            MAX_ANSWER_BYTES + 1
        );
        node.write_all(head.as_bytes()).await.expect("written");
        // The connection may close before everything is written.
        let _closed = node.write_all(&vec![b'x'; MAX_ANSWER_BYTES + 1]).await;
        let why = answer.await.expect("it ends").expect_err("too large");
        assert!(why.to_string().starts_with("the response was cut off"), "{why}");
        assert!(why.is_transient());
    }

    #[tokio::test]
    async fn an_invalid_path_is_refused() {
        let (mut http, _node) = connection().await;
        assert!(matches!(http.get("/a b").await, Err(CallError::Refused(_))));
    }
}
