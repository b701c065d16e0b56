//! Startup: output and errors of `serve`, and the scripts and the image around it.

use crate::server::{FakeServer, Home, RunOutput, host, json_response, problem_response, split_args};
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

/// Starts a server, reads its first two lines of output and stops it.
async fn first_lines(home: &Home, line: &str) -> (Vec<String>, RunOutput) {
    let mut server = home.spawn(&[], &split_args(line));
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let mut printed = Vec::new();
    for _ in 0..2 {
        let next = tokio::time::timeout(Duration::from_mins(1), lines.next_line())
            .await
            .expect("the server hangs")
            .expect("it is UTF-8");
        printed.extend(next);
    }
    let pid = rustix::process::Pid::from_raw(server.id().expect("it runs").cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    (
        printed,
        RunOutput::of(server.wait_with_output().await.expect("it ends")),
    )
}

#[tokio::test]
async fn an_invalid_public_url_is_rejected_with_the_option_name() {
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
                &split_args("serve --listen 127.0.0.1:0"),
            )
            .await;
        assert_eq!(ran.code, Some(2), "{url}: {ran:?}");
        assert!(
            ran.errors.contains("--public-url") && !home.folder.path().join("chainpool.db").exists(),
            "{url}: {ran:?}"
        );
    }
    let ran = Home::new()
        .run(
            &[("CHAINPOOL_BEHIND_PROXY", "10.0.0.0/8,proxy")],
            &split_args("serve"),
        )
        .await;
    assert!(
        ran.code == Some(2) && ran.errors.contains("--behind-proxy") && ran.errors.contains("proxy"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn an_invalid_configuration_file_is_refused_with_its_line_before_anything_is_created() {
    let (home, elsewhere) = (Home::new(), Home::new());
    let named = elsewhere.folder.path().join("my.toml");
    let serve = format!("serve --listen 127.0.0.1:0 --config {}", named.display());
    let expect = async |command: &str, expected: &[&str]| {
        let ran = home.run(&[], &split_args(command)).await;
        assert_eq!(ran.code, Some(2), "{ran:?}");
        for text in expected {
            assert!(ran.errors.contains(text), "{text}: {ran:?}");
        }
        assert!(!home.folder.path().join("chainpool.db").exists(), "{ran:?}");
    };
    expect(&serve, &["my.toml", "correct --config"]).await;
    fs::write(&named, "[health.repair]\nbroken_confirm = \"0s\"\n").expect("written");
    expect(
        &serve,
        &["my.toml, line 2: health.repair.broken_confirm: must be 1ms at least"],
    )
    .await;
    let own = home.folder.path().join("chainpool.toml");
    fs::write(&own, "[health.repairs]\n").expect("written");
    let unknown = [
        "chainpool.toml, line 1: health.repairs: unknown field `repairs`",
        "--print-config",
    ];
    expect("serve --listen 127.0.0.1:0", &unknown).await;
    fs::write(&own, "[health.repair]\nbroken_confirm = \"2s\"\n").expect("written");
    let (printed, ran) = first_lines(&home, "serve --listen 127.0.0.1:0").await;
    assert!(printed[0].starts_with("Dashboard: "), "{ran:?}");
}

#[tokio::test]
async fn the_sample_configuration_file_is_printed_without_a_data_folder() {
    let home = Home::new();
    let ran = home.run(&[], &split_args("serve --print-config")).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("\n[health.repair]\n"), "{ran:?}");
    assert!(!home.folder.path().join("chainpool.db").exists(), "{ran:?}");
}

#[tokio::test]
async fn the_first_link_uses_the_public_url() {
    for (given, shown) in [
        ("http://127.0.0.1:8094/", "http://127.0.0.1:8094"),
        ("https://tools.example/pool/", "https://tools.example/pool"),
    ] {
        let (printed, ran) = first_lines(
            &Home::new(),
            &format!("serve --listen 127.0.0.1:0 --public-url {given}"),
        )
        .await;
        assert_eq!(printed[0], format!("Dashboard: {shown}"), "{ran:?}");
        let (_, link) = printed[1].split_once("): ").expect("a link");
        assert!(link.starts_with(&format!("{shown}/welcome/cpl_")), "{link}");
    }
}

#[tokio::test]
async fn a_base_path_works_with_proxies_that_keep_or_strip_it() {
    let home = Home::new();
    let mut server = home.spawn(
        &[],
        &split_args("serve --listen 127.0.0.1:0 --public-url http://tools.example/pool"),
    );
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    drop(lines.next_line().await.expect("it is UTF-8"));
    let second = lines.next_line().await.expect("it is UTF-8").expect("a link");
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
    // The local command line connects directly, but prints the public link.
    let link = home.run(&[], &split_args("account reset-link admin")).await;
    assert!(
        link.out.starts_with("http://tools.example/pool/welcome/cpl_"),
        "{link:?}"
    );
    server.kill().await.expect("it is ours");
}

#[tokio::test]
async fn a_server_with_few_file_descriptors_responds_despite_many_idle_connections() {
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
    let line = lines.next_line().await.expect("it is UTF-8").expect("it starts");
    let address = line.strip_prefix("Dashboard: http://").expect("an address");
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(address).await.expect("it listens"));
    }
    let answer = async {
        // Retries a connection that the server closed, as any client would.
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
        .expect("no response in time");
    drop(idle);
    server.kill().await.expect("it is ours");
}

#[tokio::test]
async fn listening_beyond_loopback_requires_a_configured_proxy() {
    let home = Home::new();
    let ran = home
        .run(
            &[],
            &split_args("serve --listen 0.0.0.0:0 --public-url https://pool.example.org"),
        )
        .await;
    assert!(
        ran.code == Some(1) && ran.errors.contains("--behind-proxy"),
        "{ran:?}"
    );
    let (printed, ran) = first_lines(
        &home,
        "serve --listen 0.0.0.0:0 --public-url https://pool.example.org --behind-proxy 10.0.0.0/8",
    )
    .await;
    assert_eq!(printed[0], "Dashboard: https://pool.example.org", "{ran:?}");
}

#[tokio::test]
async fn permissions_of_an_open_data_folder_are_restricted_with_a_warning() {
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
        assert!(matches!(mode(name), 0o600 | 0o700), "{name} is created private");
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
async fn a_world_readable_token_file_causes_a_warning() {
    let server = FakeServer::start(|_| json_response(200, &host())).await;
    let home = Home::new();
    let file = home.folder.path().join("token");
    fs::write(&file, "t0ken\n").unwrap();
    let line = format!("host show h1 --server {} --token-file token", server.url());
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let ran = home.run(&[], &split_args(&line)).await;
        assert_eq!(
            (ran.code, ran.errors.contains("can read the token")),
            (Some(0), warned),
            "{mode:o}: {ran:?}"
        );
    }
}

#[tokio::test]
async fn control_characters_of_a_server_message_are_escaped() {
    let server =
        FakeServer::start(|_| problem_response(409, "word", "no \u{1b}]0;owned\u{7}\u{9b}2J host")).await;
    let ran = server.run("host show h1").await;
    assert!(
        !ran.errors.contains(['\u{1b}', '\u{7}', '\u{9b}']) && ran.errors.contains("\\u{1b}]0;owned"),
        "{ran:?}"
    );
}

#[test]
fn the_image_sets_the_data_folder_of_the_command_line() {
    let text = fs::read_to_string(root().join("baseimage/chainpool/Dockerfile")).unwrap();
    let of = |word: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(word))
            .map(str::trim)
    };
    assert_eq!(of("ENV CHAINPOOL_DATA="), of("VOLUME"));
    assert!(of("CMD").is_some_and(|line| line.contains(of("VOLUME").unwrap())));
}

/// Runs our scripts as the user `nobody` in no group, without access to the engine's socket.
#[test]
fn an_engine_without_permission_is_not_reported_as_missing() {
    if !rustix::process::geteuid().is_root() {
        // Only root can switch the user.
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
            errors.contains(&format!(
                "may not access the Docker engine at {}",
                socket.display()
            )) && errors.contains("usermod"),
            "{line:?}: {errors}"
        );
        assert!(!errors.contains("docker.io"), "{line:?}: {errors}");
    }
}
