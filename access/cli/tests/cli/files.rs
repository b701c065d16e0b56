//! Files written by the client: backups and bundles; and closed pipes.

use crate::server::{FakeServer, Home, bundle, json_response, lease, split_args};
use axum::{body::Body, response::Response};
use futures::stream;
use std::{fs, io, os::unix::fs::PermissionsExt, process::Stdio};
use tokio::io::AsyncReadExt;

fn names(home: &Home) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(home.folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_is_private_and_overwrites_only_with_force() {
    let server = FakeServer::start(|_| Response::new(Body::from(vec![7_u8; 3_000_000]))).await;
    let home = Home::new();
    let url = server.url();
    let environment = [("CHAINPOOL_SERVER", url.as_str())];
    let ran = home.run(&environment, &["backup", "copy.db"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let file = home.folder.path().join("copy.db");
    assert_eq!(fs::read(&file).unwrap(), vec![7_u8; 3_000_000]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&file, "mine").unwrap();
    let again = home.run(&environment, &["backup", "copy.db"]).await;
    assert_eq!((again.code, server.requests().len()), (Some(4), 1), "{again:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(
        home.run(&environment, &["backup", "copy.db", "--force"])
            .await
            .code,
        Some(0)
    );
    assert_eq!(
        (fs::read(&file).unwrap().len(), names(&home)),
        (3_000_000, vec!["copy.db".to_owned()])
    );
}

#[tokio::test]
async fn an_interrupted_backup_leaves_no_file() {
    let server = FakeServer::start(|_| {
        let pieces = [Ok("SQLite"), Err(io::Error::other("disk error"))];
        Response::new(Body::from_stream(stream::iter(pieces)))
    })
    .await;
    let home = Home::new();
    let ran = home
        .run(&[("CHAINPOOL_SERVER", &server.url())], &["backup", "copy.db"])
        .await;
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(names(&home).is_empty(), "{:?}", names(&home));
}

#[tokio::test]
async fn a_bundle_is_written_to_files() {
    let server = FakeServer::start(|seen| {
        if seen.path.ends_with("/bundle") {
            json_response(200, &bundle())
        } else {
            json_response(200, &serde_json::json!({ "items": [lease("active")] }))
        }
    })
    .await;
    let home = Home::new();
    let ran = home
        .run(
            &[("CHAINPOOL_SERVER", &server.url())],
            &split_args("lease bundle alpha --out b"),
        )
        .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.out, "b/bundle.json\nb/genesis.json\n");
    let document: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(home.folder.path().join("b/bundle.json")).unwrap()).unwrap();
    assert_eq!(document, bundle());
}

#[tokio::test]
async fn a_closed_pipe_is_not_an_error() {
    let server = FakeServer::start(|_| {
        Response::new(Body::from_stream(stream::repeat_with(|| {
            Ok::<_, io::Error>("a line\n".repeat(1000))
        })))
    })
    .await;
    let home = Home::new();
    let mut child = home
        .command(
            &[("CHAINPOOL_SERVER", &server.url())],
            &split_args("cluster logs alpha node0 -f"),
        )
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 100]).await.unwrap();
    drop(out);
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!(
        (ended.status.code(), ended.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}
