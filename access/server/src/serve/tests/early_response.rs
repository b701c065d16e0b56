//! Responses before the body of a request has arrived.

use super::*;

/// An app that responds without reading the body.
fn rejecting() -> Router {
    let reject = axum::routing::post(async || http::StatusCode::PAYLOAD_TOO_LARGE);
    Router::new()
        .route("/", reject)
        .layer(axum::middleware::from_fn(crate::request::handle))
}

/// Sends the head of a request with a body of this length, and reads the head of the response.
async fn rejected_early(address: SocketAddr, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        response.push(stream.read_u8().await.unwrap());
    }
    let response = String::from_utf8(response).unwrap();
    assert!(
        response.starts_with("HTTP/1.1 413") && response.contains("connection: close"),
        "{response}"
    );
    stream
}

#[tokio::test]
async fn a_client_can_send_the_rest_of_its_body_after_an_early_response() {
    let shutdown = CancellationToken::new();
    let (address, serving) = start(rejecting(), config("127.0.0.1:0"), shutdown.clone()).await;
    let length = 4 * 1024 * 1024;
    let mut stream = rejected_early(address, length).await;
    stream.write_all(&vec![b'x'; length]).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "{rest:?}");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_never_ends_does_not_keep_its_connection() {
    let shutdown = CancellationToken::new();
    let (address, serving) = start(rejecting(), config("127.0.0.1:0"), shutdown.clone()).await;
    closed(rejected_early(address, 4 * 1024 * 1024).await).await;
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
