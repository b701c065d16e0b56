//! The first minute: what the server says and refuses at its start, and what the scripts and the image around it do.

use crate::server::{Fake, Home, Ran, answer_json, host, refusal, words};
use std::{
    fs,
    os::unix::{
        fs::PermissionsExt,
        net::UnixListener,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .and_then(Path::parent)
        .expect("access/cli is two folders deep")
}

/// Starts a server, gives its first lines and its answer to a request for the path of the second, and ends it.
async fn first_lines(home: &Home, line: &str) -> (Vec<String>, Ran) {
    let mut server = home.spawn(&[], &words(line));
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let mut said = Vec::new();
    for _ in 0..2 {
        let next = tokio::time::timeout(Duration::from_mins(1), lines.next_line())
            .await
            .expect("it hangs")
            .expect("it is UTF-8");
        said.extend(next);
    }
    let pid = rustix::process::Pid::from_raw(server.id().expect("it runs").cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    (said, Ran::of(server.wait_with_output().await.expect("it ends")))
}

#[tokio::test]
async fn a_public_url_that_is_none_is_refused_by_the_name_of_its_option() {
    for url in [
        "",
        "nonsense",
        "ftp://pool.example.org",
        "https://a b",
        "https://u:s3cret@a",
        "https://a?b",
        "https://a#b",
        "https://a/api",
    ] {
        let home = Home::new();
        let ran = home
            .run(
                &[("CHAINPOOL_PUBLIC_URL", url)],
                &words("serve --listen 127.0.0.1:0"),
            )
            .await;
        assert_eq!(ran.code, Some(2), "{url}: {ran:?}");
        assert!(
            ran.errors.contains("--public-url") && !home.folder.path().join("chainpool.db").exists(),
            "{url}: {ran:?}"
        );
    }
    let ran = Home::new()
        .run(&[("CHAINPOOL_BEHIND_PROXY", "10.0.0.0/8,proxy")], &words("serve"))
        .await;
    assert!(
        ran.code == Some(2) && ran.errors.contains("--behind-proxy") && ran.errors.contains("proxy"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn the_first_link_is_one_that_opens() {
    for (given, shown) in [
        ("http://127.0.0.1:8094/", "http://127.0.0.1:8094"),
        ("https://tools.example/pool/", "https://tools.example/pool"),
    ] {
        let (said, ran) = first_lines(
            &Home::new(),
            &format!("serve --listen 127.0.0.1:0 --public-url {given}"),
        )
        .await;
        assert_eq!(said[0], format!("Dashboard: {shown}"), "{ran:?}");
        let (_, link) = said[1].split_once("): ").expect("it tells a link");
        assert!(link.starts_with(&format!("{shown}/welcome/cpl_")), "{link}");
    }
}

#[tokio::test]
async fn everything_below_a_path_is_there_behind_a_proxy_that_keeps_it() {
    let home = Home::new();
    let mut server = home.spawn(
        &[],
        &words("serve --listen 127.0.0.1:0 --public-url http://tools.example/pool"),
    );
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    drop(lines.next_line().await.expect("it is UTF-8"));
    let second = lines
        .next_line()
        .await
        .expect("it is UTF-8")
        .expect("it tells a link");
    let path = second
        .split_once("tools.example")
        .expect("the link is below it")
        .1;
    let context =
        fs::read_to_string(home.folder.path().join("admin.context")).expect("it is written before the lines");
    let address = context
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("it has an address");
    for path in [path, path.trim_start_matches("/pool")] {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("Set a password for admin"),
            "{path}: {answer}"
        );
        assert!(answer.contains("action=\"/pool/welcome\""), "{path}: {answer}");
    }
    // The command line of this machine goes the short way, and gives the long one to people.
    let link = home.run(&[], &words("account reset-link admin")).await;
    assert!(
        link.out.starts_with("http://tools.example/pool/welcome/cpl_"),
        "{link:?}"
    );
    server.kill().await.expect("it is ours");
}

#[tokio::test]
async fn a_server_with_few_files_answers_beside_three_hundred_silent_connections() {
    let home = Home::new();
    let mut server = tokio::process::Command::new("sh")
        .args([
            "-c",
            "ulimit -n 256; exec \"$0\" serve --data . --listen 127.0.0.1:0",
            env!("CARGO_BIN_EXE_chainpool"),
        ])
        .current_dir(home.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a shell");
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let said = lines.next_line().await.expect("it is UTF-8").expect("it begins");
    let address = said
        .strip_prefix("Dashboard: http://")
        .expect("it tells its address");
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address).await.expect("it listens"));
    }
    let answer = async {
        // One that is closed unheard, as any client would, tries again.
        loop {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            let mut answer = Vec::new();
            let sent = stream
                .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await;
            if sent.is_ok()
                && stream.read_to_end(&mut answer).await.is_ok()
                && answer.starts_with(b"HTTP/1.1 200")
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), answer)
        .await
        .expect("nobody gets in");
    drop(silent);
    server.kill().await.expect("it is ours");
}

#[tokio::test]
async fn beyond_loopback_a_proxy_must_be_named() {
    let home = Home::new();
    let ran = home
        .run(
            &[],
            &words("serve --listen 0.0.0.0:0 --public-url https://pool.example.org"),
        )
        .await;
    assert!(
        ran.code == Some(1) && ran.errors.contains("--behind-proxy"),
        "{ran:?}"
    );
    let (said, ran) = first_lines(
        &home,
        "serve --listen 0.0.0.0:0 --public-url https://pool.example.org --behind-proxy 10.0.0.0/8",
    )
    .await;
    assert_eq!(said[0], "Dashboard: https://pool.example.org", "{ran:?}");
}

#[tokio::test]
async fn a_data_folder_that_is_open_to_others_is_closed_and_that_is_said() {
    let home = Home::new();
    fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let (_, ran) = first_lines(&home, "serve --listen 127.0.0.1:0").await;
    assert!(!ran.errors.contains("open to others"), "{ran:?}");
    let mode = |name: &str| {
        fs::metadata(home.folder.path().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    let files = ["", "master.key", "admin.context", "chainpool.db", "lock"];
    for name in files {
        assert!(matches!(mode(name), 0o600 | 0o700), "{name} is made closed");
        fs::set_permissions(home.folder.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (_, ran) = first_lines(&home, "serve --listen 127.0.0.1:0").await;
    assert!(files.iter().all(|name| matches!(mode(name), 0o600 | 0o700)));
    assert!(
        ran.errors.contains("master.key was open to others (mode 755)"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_token_file_that_all_can_read_is_warned_of() {
    let server = Fake::start(|_| answer_json(200, &host())).await;
    let home = Home::new();
    let file = home.folder.path().join("token");
    fs::write(&file, "t0ken\n").unwrap();
    let line = format!("host show h1 --server {} --token-file token", server.url());
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let ran = home.run(&[], &words(&line)).await;
        assert_eq!(
            (ran.code, ran.errors.contains("can read the token")),
            (Some(0), warned),
            "{mode:o}: {ran:?}"
        );
    }
}

#[tokio::test]
async fn a_message_of_a_server_does_not_steer_the_terminal() {
    let server = Fake::start(|_| refusal(409, "word", "no \u{1b}]0;owned\u{7}\u{9b}2J host")).await;
    let ran = server.run("host show h1").await;
    assert!(
        !ran.errors.contains(['\u{1b}', '\u{7}', '\u{9b}']) && ran.errors.contains("\\u{1b}]0;owned"),
        "{ran:?}"
    );
}

#[test]
fn the_image_tells_the_command_line_where_its_data_are() {
    let text = fs::read_to_string(root().join("baseimage/chainpool/Dockerfile")).unwrap();
    let of = |word: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(word))
            .map(str::trim)
    };
    assert_eq!(of("ENV CHAINPOOL_DATA="), of("VOLUME"));
    assert!(of("CMD").is_some_and(|line| line.contains(of("VOLUME").unwrap())));
}

/// Runs a script of ours as nobody, who owns nothing and is in no group, where an engine's socket is closed to it.
#[test]
fn an_engine_that_this_user_may_not_use_is_not_called_missing() {
    if !rustix::process::geteuid().is_root() {
        // Only root can become somebody else; everybody else may have a socket that is open.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let scripts = folder.path().join("scripts");
    fs::create_dir(&scripts).unwrap();
    for entry in fs::read_dir(root().join("scripts")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, scripts.join(path.file_name().unwrap())).unwrap();
    }
    fs::copy(
        root().join("rust-toolchain.toml"),
        folder.path().join("rust-toolchain.toml"),
    )
    .unwrap();
    let socket = folder.path().join("docker.sock");
    let _engine = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o660)).unwrap();
    std::os::unix::fs::chown(&socket, None, Some(1)).unwrap();
    for line in [["setup.sh", "run"], ["engine.sh", "start"]] {
        let ran = Command::new("bash")
            .arg(scripts.join(line[0]))
            .arg(line[1])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", folder.path())
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .current_dir("/")
            .uid(65_534)
            .gid(65_534)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(
            (ran.status.code(), ran.status.signal()),
            (Some(2), None),
            "{line:?}: {errors}"
        );
        assert!(
            errors.contains(&format!("at {}, but the user", socket.display())) && errors.contains("usermod"),
            "{line:?}: {errors}"
        );
        assert!(!errors.contains("docker.io"), "{line:?}: {errors}");
    }
}
