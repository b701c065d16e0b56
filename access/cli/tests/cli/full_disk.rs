//! A server on a full disk, on its own small file system.

use crate::{
    offline::{serve, serve_with, stop},
    server::{Home, RunOutput, split_args},
};
use chainpool_store::testing::small_disk;
use std::{fs::File, io::Write, path::Path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Writes to a file until the disk is full.
fn fill(file: &Path) {
    let mut file = File::create(file).expect("a file");
    for size in [65_536, 4_096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

/// Requests an account by REST and returns the whole response.
async fn ask(home: &Home, address: &str, name: &str) -> String {
    let context = std::fs::read_to_string(home.folder.path().join("admin.context")).expect("a context file");
    let token = context
        .lines()
        .find_map(|line| line.strip_prefix("token = "))
        .expect("a token")
        .trim_matches('"')
        .to_owned();
    let body = format!("{{\"name\":\"{name}\",\"role\":\"user\"}}");
    let head = format!(
        "POST /api/v1/accounts HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it answers");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn create(home: &Home, name: &str) -> RunOutput {
    home.run(&[], &["account", "create", name]).await
}

async fn accounts(home: &Home) -> Vec<String> {
    let listed = home.run(&[], &split_args("account list --json")).await;
    let items = listed.json()["items"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| panic!("{listed:?}"));
    items
        .iter()
        .map(|item| item["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn a_full_disk_is_reported_loses_no_confirmed_write_and_needs_no_restart() {
    let Some(disk) = small_disk(
        "full_disk::a_full_disk_is_reported_loses_no_confirmed_write_and_needs_no_restart",
        16,
    ) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let home = Home {
            folder: tempfile::tempdir_in(&disk).expect("a folder"),
        };
        let filler = disk.join("filler");
        // As with `make run` in the background, the log is on the same disk.
        let log = File::create(disk.join("log")).expect("a file");
        let (server, address) = serve_with(&home, |command| command.stderr(log)).await;
        let mut confirmed = vec!["admin".to_owned()];
        fill(&filler);
        let mut rejected = 0;
        for number in 0..20 {
            let name = format!("x{number}");
            let ran = create(&home, &name).await;
            match ran.code {
                Some(0) => confirmed.push(name),
                _ => {
                    assert!(
                        ran.code == Some(1)
                            && ran.errors.contains("disk is full")
                            && ran.errors.contains("free space"),
                        "{ran:?}"
                    );
                    rejected += 1;
                }
            }
        }
        assert!(rejected > 10, "{rejected}");
        let answer = ask(&home, &address, "by-rest").await;
        assert!(
            answer.starts_with("HTTP/1.1 507 ") && answer.contains("\"storage_full\""),
            "{answer}"
        );
        let status = home.run(&[], &split_args("status")).await;
        assert!(
            status.code == Some(1) && status.out.contains("database: the server's disk is full"),
            "{status:?}"
        );

        std::fs::remove_file(&filler).expect("it exists");
        let space = create(&home, "y").await;
        assert_eq!(space.code, Some(0), "there is free space again: {space:?}");
        confirmed.push("y".to_owned());
        let status = home.run(&[], &split_args("status")).await;
        assert!(!status.out.contains("disk is full"), "{status:?}");
        let known = accounts(&home).await;
        assert!(
            confirmed.iter().all(|name| known.contains(name)),
            "confirmed: {confirmed:?}, listed: {known:?}"
        );
        stop(server).await;
        let (server, _) = serve(&home).await;
        assert_eq!(accounts(&home).await, known, "a restart lost a confirmed account");
        stop(server).await;
    });
}
