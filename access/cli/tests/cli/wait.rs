//! Waiting for operations: progress, server restarts, and every kind of end.

use crate::server::{
    FakeServer, Home, OPERATION, RecordedRequest, RunOutput, json_response, lease, operation,
};
use axum::{body::Body, response::Response};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};

fn events(operations: &[Value]) -> String {
    let events: Vec<String> = operations
        .iter()
        .map(|operation| {
            format!(
                "event: operation
data: {operation}

: still here

"
            )
        })
        .collect();
    events.concat()
}

/// A stream that sends a text and then hangs.
fn hanging(text: String) -> Response {
    let first = stream::once(async move { Ok::<_, Infallible>(text) });
    Response::new(Body::from_stream(first.chain(stream::pending())))
}

fn is_stream(seen: &RecordedRequest) -> bool {
    seen.path.ends_with("/events")
}

#[tokio::test]
async fn progress_goes_to_standard_error_and_the_result_to_standard_output() {
    let server = FakeServer::start(|seen| {
        if !is_stream(seen) {
            return json_response(202, &operation("queued", &[]));
        }
        let mut end = operation("succeeded", &[("network", "done"), ("node node0", "done")]);
        end["result"] = json!({ "height": 3 });
        Response::new(Body::from(events(&[
            operation("queued", &[]),
            operation("running", &[("network", "started"), ("node node0", "pending")]),
            operation("running", &[("network", "done"), ("node node0", "started")]),
            end,
        ])))
    })
    .await;
    let ran = server.run("cluster create alpha --wait").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.out, "cluster_create alpha on h1: succeeded\n  height: 3\n");
    let shown: Vec<&str> = ran.errors.lines().collect();
    assert_eq!(
        shown,
        [
            "cluster_create alpha on h1: queued",
            "cluster_create alpha on h1: running",
            "  [1/2] network: started",
            "  [1/2] network: done",
            "  [2/2] node node0: started",
            "  [2/2] node node0: done",
        ]
    );
    let document = server.run("cluster create alpha --wait --json").await.json();
    assert_eq!(
        (&document["state"], &document["result"]["height"]),
        (&json!("succeeded"), &json!(3))
    );
}

#[tokio::test]
async fn a_failed_operation_exits_with_one_and_the_reason() {
    for state in ["failed", "superseded"] {
        let server = FakeServer::start(move |_| {
            let mut end = operation(state, &[("image", "failed")]);
            end["error"] = json!("the image is missing: build it with make images");
            Response::new(Body::from(events(&[end])))
        })
        .await;
        let ran = server.run(&format!("operation wait {OPERATION}")).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            ran.errors.contains(state) && ran.errors.contains("make images") && ran.out.is_empty(),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn a_release_waits_for_the_reset() {
    let server = FakeServer::start(|seen| {
        if is_stream(seen) {
            Response::new(Body::from(events(&[operation("succeeded", &[])])))
        } else {
            json_response(200, &lease("released"))
        }
    })
    .await;
    let ran = server.run(&format!("lease release {OPERATION} --wait")).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        server.requests().iter().any(is_stream) && ran.out.contains("released"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_stream_that_ends_early_is_reopened() {
    let turns = AtomicUsize::new(0);
    let server = FakeServer::start(move |_| {
        let state = if turns.fetch_add(1, Ordering::SeqCst) == 0 {
            "running"
        } else {
            "succeeded"
        };
        Response::new(Body::from(events(&[operation(state, &[])])))
    })
    .await;
    let ran = server.run(&format!("operation wait {OPERATION}")).await;
    assert_eq!((ran.code, server.requests().len()), (Some(0), 2), "{ran:?}");
}

#[tokio::test]
async fn a_wait_survives_a_server_restart() {
    let first =
        FakeServer::start(|_| hanging(events(&[operation("running", &[("network", "started")])]))).await;
    let (address, url) = (first.address, first.url());
    let home = Home::new();
    let mut child = home.spawn(
        &[("CHAINPOOL_SERVER", &url), ("CHAINPOOL_TOKEN", "t0ken")],
        &["operation", "wait", OPERATION],
    );
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut until = async |part: &str| {
        while let Some(line) = timeout(Duration::from_secs(20), errors.next_line())
            .await
            .unwrap()
            .unwrap()
        {
            if line.contains(part) {
                return;
            }
        }
        panic!("it ended before it printed {part:?}");
    };
    until("network: started").await;
    first.kill().await;
    until("server unreachable; reconnecting").await;
    let _second = FakeServer::start_at(address, |_| {
        Response::new(Body::from(events(&[operation("succeeded", &[])])))
    })
    .await;
    let ran = RunOutput::of(
        timeout(Duration::from_secs(20), child.wait_with_output())
            .await
            .unwrap()
            .unwrap(),
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("succeeded"), "{ran:?}");
}

#[tokio::test]
async fn a_wait_that_times_out_prints_how_to_resume() {
    let server = FakeServer::start(|_| hanging(events(&[operation("running", &[])]))).await;
    let ran = server
        .run(&format!("operation wait {OPERATION} --timeout 1s"))
        .await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.errors
            .contains(&format!("chainpool operation wait {OPERATION}")),
        "{ran:?}"
    );
}

#[tokio::test]
async fn an_interrupt_exits_with_130_and_prints_how_to_resume() {
    let server = FakeServer::start(|_| hanging(events(&[operation("running", &[])]))).await;
    let home = Home::new();
    let mut child = home.spawn(
        &[("CHAINPOOL_SERVER", &server.url())],
        &["operation", "wait", OPERATION],
    );
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        timeout(Duration::from_secs(20), errors.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .contains("running")
    );
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(
        errors
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .contains(&format!("chainpool operation wait {OPERATION}"))
    );
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
}

#[tokio::test]
async fn an_unknown_operation_exits_with_three() {
    let server = FakeServer::start(|_| {
        crate::server::problem_response(404, "operation_not_found", "no such operation")
    })
    .await;
    assert_eq!(
        server.run(&format!("operation wait {OPERATION}")).await.code,
        Some(3)
    );
    assert_eq!(server.requests().len(), 1);
}
