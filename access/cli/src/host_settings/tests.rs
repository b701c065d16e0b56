use super::*;
use crate::{
    command::{Cli, Command},
    host::Verb,
};
use clap::Parser;
use serde_json::json;

fn create(options: &[&str]) -> HostCreate {
    let line = [
        "chainpool",
        "host",
        "create",
        "h1",
        "--address",
        "unix:///run/docker.sock",
    ]
    .into_iter()
    .chain(options.iter().copied());
    match Cli::try_parse_from(line).unwrap().command {
        Command::Host(Verb::Create(args)) => args.build().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn update(options: &[&str], log: Option<HostLog>) -> serde_json::Value {
    let line = ["chainpool", "host", "update", "h1"]
        .into_iter()
        .chain(options.iter().copied());
    let change = match Cli::try_parse_from(line).unwrap().command {
        Command::Host(Verb::Update(args)) => args.build(log).unwrap(),
        other => panic!("{other:?}"),
    };
    let mut value = serde_json::to_value(change).unwrap();
    value.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    value
}

#[test]
fn omitted_options_are_left_to_the_server() {
    let value = serde_json::to_value(create(&[])).unwrap();
    let given: Vec<_> = value
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(given, ["address", "name"]);
    assert_eq!(update(&[], None), json!({}));
}

#[test]
fn every_field_has_an_option() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        fs::write(folder.path().join(name), format!("{name}\n")).unwrap();
        folder.path().join(name).display().to_string()
    };
    let (ca, cert, key, password, kubeconfig) = (
        file("ca"),
        file("cert"),
        file("key"),
        file("password"),
        file("kubeconfig"),
    );
    let shared = [
        "--tls-ca",
        &ca,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--kubeconfig",
        &kubeconfig,
        "--storage-class",
        "fast",
        "--insecure",
        "--schedulable=false",
        "--autofill",
        "--capacity",
        "7",
        "--fill",
        "type=cometbft,share=2",
        "--fill",
        "type=fabric,preset=raft",
        "--memory-factor",
        "1.5",
        "--disk-floor",
        "5",
        "--public-address",
        "10.0.0.1",
        "--bind",
        "0.0.0.0",
        "--ports",
        "21000-21999",
        "--subnets",
        "10.9.0.0/16",
        "--log-type",
        "syslog",
        "--log-level",
        "debug",
        "--log-server",
        "udp://10.0.0.9:514",
        "--mirror",
        "mirror.example",
        "--image",
        "cometbft=a:1",
        "--image",
        "cometbft=b:2",
        "--registry-address",
        "registry.example:5000",
        "--registry-user",
        "u",
        "--registry-password-file",
        &password,
    ];
    let new = create(&[&shared[..], &["--type", "docker"]].concat());
    let value = serde_json::to_value(new).unwrap();
    assert!(
        value.as_object().unwrap().values().all(|value| !value.is_null()),
        "{value}"
    );
    assert_eq!(
        value["registry"],
        json!({ "address": "registry.example:5000", "user": "u", "password": "password" })
    );
    assert_eq!(value["images"], json!({ "cometbft": ["a:1", "b:2"] }));
    let own = [
        "--name",
        "h2",
        "--address",
        "tcp://10.0.0.1:2376",
        "--maintenance",
        "10m",
        "--paused=false",
    ];
    let value = update(&[&shared[..], &own].concat(), None);
    assert_eq!(
        value.as_object().unwrap().len(),
        serde_json::to_value(HostUpdate::default())
            .unwrap()
            .as_object()
            .unwrap()
            .len()
    );
    assert_eq!(value["maintenance_seconds"], 600);
    assert_eq!(
        value["fill"][1],
        json!({ "type": "fabric", "preset": "raft", "share": 1 })
    );
}

#[test]
fn a_logging_option_keeps_the_other_logging_settings() {
    let now = HostLog {
        kind: LogType::Syslog,
        level: LogLevel::Error,
        server: Some("udp://a:514".into()),
    };
    assert_eq!(
        update(&["--log-level", "debug"], Some(now.clone()))["log"],
        json!({ "type": "syslog", "level": "debug", "server": "udp://a:514" })
    );
    assert_eq!(
        update(&["--log-type", "local"], Some(now))["log"],
        json!({ "type": "local", "level": "error" })
    );
}

#[test]
fn invalid_values_are_rejected_with_a_hint() {
    for (option, value, hint) in [
        ("--fill", "cometbft", "type=cometbft"),
        ("--fill", "preset=default", "type"),
        ("--fill", "type=a,type=b", "twice"),
        ("--fill", "type=a,size=3", "--fill-json"),
        ("--fill-json", "{}", "["),
        ("--ports", "30000", "20000-29999"),
        ("--ports", "3-2", "FIRST-LAST"),
        ("--log-type", "journald", "local"),
    ] {
        let line = [
            "chainpool",
            "host",
            "create",
            "h1",
            "--address",
            "unix:///x",
            option,
            value,
        ];
        let error = Cli::try_parse_from(line).unwrap_err();
        assert!(
            error.to_string().contains(hint) && error.exit_code() == 2,
            "{option} {value}: {error}"
        );
    }
    assert!(
        Cli::try_parse_from([
            "chainpool",
            "host",
            "create",
            "h1",
            "--address",
            "unix:///x",
            "--tls-ca",
            "x"
        ])
        .is_err()
    );
}
