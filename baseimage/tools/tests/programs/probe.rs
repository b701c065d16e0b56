//! `chainpool-probe` as a process against real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

fn probe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chainpool-probe"))
        .args(arguments)
        .output()
        .expect("chainpool-probe starts")
}

/// Serves one connection with this response.
fn serve(response: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the probe connects");
        // Unread input would reset the connection on close.
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the probe sends a request");
            request.extend_from_slice(&byte);
        }
        stream.write_all(response.as_bytes()).expect("the probe reads");
    });
    address
}

#[test]
fn only_a_good_status_is_success() {
    for (response, good) in [
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 302 Found\r\n\r\n", true),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
        ("something else\r\n", false),
        ("", false),
    ] {
        let output = probe(&[&format!("http://{}/", serve(response))]);
        assert_eq!(output.status.code(), Some(i32::from(!good)), "{response:?}");
        assert_eq!(output.stderr.is_empty(), good, "{response:?}");
    }
}

#[test]
fn only_an_open_port_is_success() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = format!("tcp://{}", listener.local_addr().expect("it is bound"));
    assert_eq!(probe(&[&target]).status.code(), Some(0));
    // Bound but not listening: closed, and no other process can use it.
    let closed = TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let target = format!("tcp://{}", closed.local_addr().expect("it is bound"));
    assert_eq!(probe(&[&target]).status.code(), Some(1));
}

/// An unresponsive open port, like the published port of a dead process.
#[test]
fn an_unresponsive_port_fails_within_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = format!("http://{}", listener.local_addr().expect("it is bound"));
    let start = Instant::now();
    assert_eq!(probe(&["--timeout", "1", &target]).status.code(), Some(1));
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn invalid_arguments_print_the_usage() {
    for arguments in [&[][..], &["--help"], &["--timeout", "0", "tcp://a:1"], &["a:1"]] {
        let output = probe(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
