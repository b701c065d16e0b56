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

/// Answers one connection with these bytes.
fn serve(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the probe connects");
        // What is left unread at the end would reset the connection.
        let mut question = Vec::new();
        while !question.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the probe asks");
            question.extend_from_slice(&byte);
        }
        stream.write_all(answer.as_bytes()).expect("the probe listens");
    });
    address
}

#[test]
fn a_good_status_is_success_and_a_bad_one_is_not() {
    for (answer, good) in [
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 302 Found\r\n\r\n", true),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
        ("something else\r\n", false),
        ("", false),
    ] {
        let output = probe(&[&format!("http://{}/", serve(answer))]);
        assert_eq!(output.status.code(), Some(i32::from(!good)), "{answer:?}");
        assert_eq!(output.stderr.is_empty(), good, "{answer:?}");
    }
}

#[test]
fn an_open_port_is_success_and_a_closed_one_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = format!("tcp://{}", listener.local_addr().expect("it is bound"));
    assert_eq!(probe(&[&target]).status.code(), Some(0));
    // Bound and not listening: closed, and nobody else can take it meanwhile.
    let closed = TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
    let target = format!("tcp://{}", closed.local_addr().expect("it is bound"));
    assert_eq!(probe(&[&target]).status.code(), Some(1));
}

/// A port that accepts and says nothing, as a published port of a dead process does.
#[test]
fn silence_is_a_failure_within_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = format!("http://{}", listener.local_addr().expect("it is bound"));
    let start = Instant::now();
    assert_eq!(probe(&["--timeout", "1", &target]).status.code(), Some(1));
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_wrong_argument_is_a_failure_with_the_usage() {
    for arguments in [&[][..], &["--help"], &["--timeout", "0", "tcp://a:1"], &["a:1"]] {
        let output = probe(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
