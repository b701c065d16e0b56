use super::*;
use chainpool_agent::{
    ClusterKey, File, ImageRef, InstanceId, LABEL_JOB, Limits, LogConfig, NodeSpec, Protocol, SpecHash,
    Volume,
};

fn node() -> NodeSpec {
    let file = |path: &str, once| File {
        path: path.into(),
        content: chainpool_agent::Secret::new(b"content".to_vec()),
        mode: 0o600,
        owner: (1000, 1001),
        secret: true,
        once,
    };
    let port = |name: &str, inside, audience, published| Port {
        name: name.into(),
        inside,
        protocol: Protocol::Tcp,
        audience,
        published,
    };
    NodeSpec {
        name: NodeName::parse("v0").expect("a node name"),
        images: vec!["a/node:1".into()],
        command: vec!["/usr/bin/node".into(), "--home=$HOME".into()],
        user: Some("1000:1001".into()),
        env: BTreeMap::from([
            ("OPEN".to_owned(), Variable::Plain("plain".into())),
            (
                "HIDDEN".to_owned(),
                Variable::Secret(chainpool_agent::Secret::new("hidden".into())),
            ),
        ]),
        files: vec![
            file("/data/config/app", false),
            file("/data/state", true),
            file("/etc/node/outside", false),
        ],
        volumes: vec![Volume {
            name: "data".into(),
            path: "/data".into(),
            shared: false,
        }],
        ports: vec![
            port("rpc", 26_657, Audience::User, Some(30_001)),
            port("p2p", 26_656, Audience::Peers, None),
            port("admin", 443, Audience::Control, Some(30_002)),
        ],
        limits: Limits {
            memory_bytes: 256 << 20,
            processes: 512,
            cpu_millis: None,
        },
        readiness: None,
        result: false,
        read_only_root: false,
        machine: None,
        log: LogConfig::default(),
        stop_signal: "SIGTERM".into(),
        stop_timeout: 10,
        hash: SpecHash("0123456789abcdef0123456789abcdef".into()),
    }
}

fn ids() -> (InstanceId, ClusterKey) {
    let id = |n: u128| chainpool_agent::ClusterId(uuid::Uuid::from_u128(n));
    (
        InstanceId(uuid::Uuid::from_u128(1)),
        ClusterKey {
            cluster: id(0xabcd),
            generation: 2,
        },
    )
}

fn with_builder<T>(node: &NodeSpec, build: impl FnOnce(&NodeBuilder<'_>) -> T) -> T {
    let (instance, key) = ids();
    let image = ImageRef {
        name: "a/node:1".into(),
        pinned: "docker.io/a/node@sha256:0".into(),
    };
    let tools = ImageRef {
        name: "chainpool/tools:1".into(),
        pinned: "chainpool/tools:1".into(),
    };
    build(&NodeBuilder {
        instance,
        key: &key,
        node,
        image: &image,
        tools: Some(&tools),
        storage_class: Some("fast"),
        login: Some("login"),
    })
}

fn objects(node: &NodeSpec, replicas: i32) -> Result<NodeObjects> {
    with_builder(node, |builder| builder.objects(replicas))
}

#[test]
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method itself has a single lifetime"
)]
fn a_job_runs_a_node_pod_once_without_ports() {
    let of_node = objects(&node(), 1)
        .expect("objects")
        .set
        .spec
        .template
        .spec
        .expect("a pod");
    let JobObjects { secrets, claims, job } =
        with_builder(&node(), |builder| builder.job_objects()).expect("objects");
    assert_eq!((secrets.len(), claims.len()), (3, 1));
    let JobSpec {
        backoff_limit,
        template,
        ..
    } = job.spec.clone().expect("a spec");
    assert_eq!(backoff_limit, Some(0));
    for labels in [
        job.metadata.labels,
        template.metadata.and_then(|meta| meta.labels),
    ] {
        let labels = labels.expect("labels");
        assert!(
            labels.contains_key(LABEL_JOB) && labels["chainpool.hash"] == node().hash.0,
            "{labels:?}"
        );
    }
    let mut pod = template.spec.expect("a pod");
    assert_eq!(pod.restart_policy.take().as_deref(), Some("Never"));
    let container = &mut pod.containers[0];
    assert_eq!(
        (
            container.ports.take(),
            container.termination_message_policy.take().is_some()
        ),
        (None, true)
    );
    container.ports.clone_from(&of_node.containers[0].ports);
    assert_eq!(pod, of_node, "there are no other differences");
}

#[test]
fn a_node_is_an_unprivileged_stateful_set_of_one_pod() {
    let NodeObjects {
        peer_service,
        published_service,
        policy,
        secrets,
        claims,
        set,
    } = objects(&node(), 1).expect("objects");
    insta::assert_json_snapshot!("peer_service", peer_service);
    insta::assert_json_snapshot!("published_service", published_service);
    insta::assert_json_snapshot!("policy", policy);
    insta::assert_json_snapshot!("claims", claims);
    insta::assert_json_snapshot!("set", set);
    // The content changes with the tar crate; compare only the names that the pod references.
    let text = serde_json::to_string(&set).expect("json");
    assert!(
        secrets.len() == 3
            && secrets
                .iter()
                .all(|s| s.metadata.name.as_ref().is_some_and(|name| text.contains(name)))
    );
    assert!(!text.contains("hidden"));
}

#[test]
fn only_user_ports_are_published() {
    let mut node = node();
    node.ports.remove(0);
    let objects = objects(&node, 0).expect("objects");
    assert!(objects.published_service.is_none() && objects.policy.is_none());
}

#[test]
fn root_and_syslog_are_refused() {
    let with = |change: fn(&mut NodeSpec)| {
        let mut node = node();
        change(&mut node);
        objects(&node, 1).err()
    };
    assert!(matches!(
        with(|n| n.user = Some("postgres".into())),
        Some(Error::Refused(_))
    ));
    assert!(matches!(
        with(|n| n.files[0].mode = 0o4755),
        Some(Error::Refused(_))
    ));
    assert!(matches!(
        with(|n| n.read_only_root = true),
        Some(Error::Refused(_))
    ));
    assert!(matches!(
        with(|n| n.log.kind = LogType::Syslog),
        Some(Error::Unsupported(_))
    ));
    assert!(with(|n| n.user = None).is_none());
    assert!(matches!(
        with(|n| {
            n.user = Some("0:0".into());
            n.files[0].owner = (5, 5);
        }),
        Some(Error::Refused(_))
    ));
}
