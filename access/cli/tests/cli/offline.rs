//! Accounts and backups without a running server, on an existing data folder.

use crate::server::{Home, RunOutput, split_args};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

/// Starts a real server on a home's data folder and returns its address.
pub(crate) async fn serve(home: &Home) -> (Child, String) {
    serve_with(home, |command| command).await
}

/// The same, with a changed command.
pub(crate) async fn serve_with(
    home: &Home,
    change: impl FnOnce(&mut Command) -> &mut Command,
) -> (Child, String) {
    let context = home.folder.path().join("admin.context");
    drop(std::fs::remove_file(&context)); // from a previous server
    let mut command = home.command(&[], &split_args("serve --listen 127.0.0.1:0"));
    let server = change(&mut command).spawn().expect("the binary runs");
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(line) = std::fs::read_to_string(&context)
            .unwrap_or_default()
            .lines()
            .find(|line| line.starts_with("server"))
        {
            return (
                server,
                line.split('"')
                    .nth(1)
                    .expect("the address is quoted")
                    .trim_start_matches("http://")
                    .to_owned(),
            );
        }
        assert!(Instant::now() < until, "the server did not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn stop(mut server: Child) {
    let pid = rustix::process::Pid::from_raw(server.id().expect("it runs").cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    assert!(server.wait().await.expect("it ends").success());
}

async fn status_of(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it answers");
    String::from_utf8_lossy(&answer)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn done(ran: &RunOutput) -> bool {
    ran.code == Some(0)
}

#[tokio::test]
async fn accounts_and_backups_need_no_running_server() {
    let home = Home::new();
    // Port 1, because another installation may listen on the default port of this machine.
    let early = home
        .run(&[], &split_args("account list --server http://127.0.0.1:1"))
        .await;
    assert_eq!(early.code, Some(6), "no server and no database: {early:?}");

    let (server, _) = serve(&home).await;
    let running = home.run(&[], &split_args("account create ann")).await;
    assert!(
        done(&running) && !running.errors.contains("no server runs"),
        "{running:?}"
    );
    stop(server).await;

    let link = home.run(&[], &split_args("account reset-link ann")).await;
    assert!(done(&link) && link.errors.contains("no server runs"), "{link:?}");
    let backup = home.run(&[], &split_args("backup copy.db")).await;
    assert!(done(&backup), "{backup:?}");
    assert!(
        std::fs::read(home.folder.path().join("copy.db"))
            .unwrap()
            .starts_with(b"SQLite format 3")
    );
    let pool = home.run(&[], &split_args("cluster list")).await;
    assert_eq!(pool.code, Some(6), "clusters require a server: {pool:?}");

    let (server, address) = serve(&home).await;
    let (_, path) = link.out.trim().split_once("/welcome/").expect("a link");
    let welcome = status_of(&address, &format!("/welcome/{path}")).await;
    assert!(
        welcome.contains("200"),
        "the link created offline works: {welcome}"
    );
    stop(server).await;
}

/// A data folder path must not be parsed as a URL.
#[tokio::test]
async fn a_data_folder_may_have_any_name() {
    let home = Home {
        folder: tempfile::Builder::new()
            .prefix("p%2Fq %20?mode=memory#ü")
            .tempdir()
            .expect("a folder"),
    };
    let (server, _) = serve(&home).await;
    let made = home.run(&[], &split_args("account create ann")).await;
    assert!(done(&made), "{made:?}");
    stop(server).await;
    assert!(home.folder.path().join("chainpool.db").is_file());
    let backup = home.run(&[], &split_args("backup a%2Fcopy?.db")).await;
    assert!(done(&backup), "{backup:?}");
    let late = home.run(&[], &split_args("account create late")).await;
    assert!(done(&late), "{late:?}");

    let restored = home.run(&[], &split_args("restore a%2Fcopy?.db --yes")).await;
    assert!(
        done(&restored) && restored.out.contains("chainpool.db.before-restore"),
        "{restored:?}"
    );
    let accounts = home.run(&[], &split_args("account list")).await;
    assert!(
        done(&accounts) && accounts.out.contains("ann") && !accounts.out.contains("late"),
        "{accounts:?}"
    );
}

#[tokio::test]
async fn a_restore_of_an_invalid_file_fails_immediately() {
    let home = Home::new();
    let (server, _) = serve(&home).await;
    stop(server).await;
    let fifo = home.folder.path().join("fifo");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .expect("a FIFO");
    for name in ["fifo", ".", "absent"] {
        let ran = tokio::time::timeout(Duration::from_mins(1), home.run(&[], &["restore", name, "--yes"]))
            .await
            .expect("the restore hangs");
        assert!(
            ran.code == Some(1) && ran.errors.contains("cannot be read"),
            "{name}: {ran:?}"
        );
    }
    std::fs::remove_file(home.folder.path().join("master.key")).expect("it is there");
    let ran = home.run(&[], &split_args("restore chainpool.db --yes")).await;
    assert!(
        ran.code == Some(1) && ran.errors.contains("master.key"),
        "{ran:?}"
    );
    assert!(
        !home.folder.path().join("master.key").exists(),
        "a restore creates no key"
    );
}

#[tokio::test]
async fn the_database_is_checked_after_startup() {
    let home = Home::new();
    let (server, _) = serve(&home).await;
    let until = Instant::now() + Duration::from_mins(2);
    loop {
        let status = home.run(&[], &split_args("status --json")).await;
        let database = &status.json()["database"];
        if database["message"] == "ok" && database["checked_at"].is_string() {
            break;
        }
        assert!(Instant::now() < until, "not checked: {database}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop(server).await;
}
