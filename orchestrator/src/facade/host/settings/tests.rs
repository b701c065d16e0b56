use super::*;

fn settings() -> HostSettings {
    of_new_host(&api::HostCreate {
        name: "h1".into(),
        address: "tcp://10.0.0.1:2376".into(),
        ..api::HostCreate::default()
    })
    .expect("defaults")
}

fn errors(change: impl FnOnce(&mut HostSettings)) -> Vec<String> {
    let mut settings = settings();
    change(&mut settings);
    setting_errors(&settings, 3, &BTreeSet::from(["cometbft".to_owned()]))
        .into_keys()
        .collect()
}

fn entry(share: u32) -> api::Fill {
    api::Fill {
        network_type: "cometbft".into(),
        preset: "single".into(),
        share,
        parameters: serde_json::Map::new(),
    }
}

#[test]
fn every_setting_is_bounded() {
    assert!(errors(|_| {}).is_empty(), "the defaults");
    assert!(errors(|s| s.fill = vec![entry(10_000); 64]).is_empty());
    assert_eq!(errors(|s| s.fill = vec![entry(1); 65]), ["fill"]);
    assert_eq!(errors(|s| s.fill = vec![]), ["fill"]);
    for share in [0, 10_001, u32::MAX] {
        assert_eq!(
            errors(|s| s.fill = vec![entry(1), entry(share)]),
            ["fill[1].share"]
        );
    }
    let images = |images: Vec<String>| {
        move |s: &mut HostSettings| s.images = BTreeMap::from([("cometbft".to_owned(), images)])
    };
    assert!(errors(images(vec!["a:1".to_owned(); 64])).is_empty());
    for bad in [
        vec!["a:1".to_owned(); 65],
        vec!["a".repeat(256)],
        vec!["a b".to_owned()],
        vec![],
    ] {
        assert_eq!(errors(images(bad)), ["images.cometbft"]);
    }
    assert_eq!(errors(|s| s.mirror = Some("m.example/\"a b".into())), ["mirror"]);
    assert_eq!(
        errors(|s| s.mirror = Some(format!("m.example/{}", "a".repeat(100_000)))),
        ["mirror"]
    );
    assert_eq!(
        errors(|s| s.storage_class = Some("a b".into())),
        ["storage_class"]
    );
    let server = |server: &str| api::HostLog {
        kind: api::LogType::Syslog,
        level: api::LogLevel::Info,
        server: Some(server.to_owned()),
    };
    assert_eq!(errors(|s| s.log = server("udp://a\nb:1")), ["log.server"]);
    assert_eq!(
        errors(|s| s.public_address = "$(id>pwn)".into()),
        ["public_address"]
    );
}

#[test]
fn a_message_shows_only_the_beginning_of_a_long_text() {
    let long = setting_errors(
        &HostSettings {
            mirror: Some("x ".repeat(50_000)),
            ..settings()
        },
        3,
        &BTreeSet::new(),
    );
    assert!(long["mirror"].len() < 300, "{}", long["mirror"].len());
}

/// The public address cannot change while there are clusters: an invalid one stored by a previous version
/// must not block other changes.
#[test]
fn invalid_stored_settings_are_accepted_until_changed() {
    let stored = HostSettings {
        public_address: "pool_1.example:443".into(),
        ..settings()
    };
    assert!(!is_changed(
        "public_address",
        &stored,
        &HostSettings {
            disk_floor: 5,
            ..stored.clone()
        }
    ));
    assert!(is_changed(
        "public_address",
        &stored,
        &HostSettings {
            public_address: "a;b".into(),
            ..stored.clone()
        }
    ));
    assert!(is_changed("disk_floor", &stored, &stored));
    assert!(is_changed(
        "fill[0].share",
        &stored,
        &HostSettings {
            fill: vec![entry(0)],
            ..stored.clone()
        }
    ));
}

#[test]
fn a_public_address_with_a_loopback_bind_is_refused() {
    let new = |public: Option<&str>, bind: &str| {
        let public_address = public.map(str::to_owned);
        let new = api::HostCreate {
            public_address,
            bind: Some(bind.to_owned()),
            name: "h1".into(),
            ..api::HostCreate::default()
        };
        of_new_host(&api::HostCreate {
            address: "tcp://10.0.0.1:2376".into(),
            ..new
        })
        .map(|settings| settings.public_address)
    };
    assert_eq!(new(None, "127.0.0.1").expect("loopback"), "127.0.0.1");
    assert_eq!(
        new(Some("127.0.0.1"), "127.0.0.1").expect("the same"),
        "127.0.0.1"
    );
    assert_eq!(
        new(None, "0.0.0.0").expect("derived from its address"),
        "10.0.0.1"
    );
    assert_eq!(
        new(Some("pool.example.org"), "0.0.0.0").expect("given"),
        "pool.example.org"
    );
    for (public, bind) in [
        ("pool.example.org", "127.0.0.1"),
        ("$(id>pwn)", "0.0.0.0"),
        ("", "0.0.0.0"),
    ] {
        let Err(Error::Invalid(problem)) = new(Some(public), bind) else {
            panic!("{public} was accepted")
        };
        assert!(problem.fields.contains_key("public_address"), "{problem:?}");
    }
}

#[test]
fn settings_that_the_platform_does_not_support_are_refused() {
    let platform: api::Platform = "docker".parse().expect("a platform");
    let check =
        |supported: &[&str], kubeconfig, class| check_platform(&platform, supported, kubeconfig, class);
    assert!(check(&[], true, None).is_err() && check(&[], false, Some("fast")).is_err());
    assert!(check(&[], false, Some("")).is_ok());
    assert!(check(&["storage_class"], true, Some("fast")).is_err());
    assert!(check(&["kubeconfig", "storage_class"], true, Some("fast")).is_ok());
}
