//! Every verb sends the right REST requests and prints the responses.

use crate::server::{
    FakeServer, ID, OPERATION, RecordedRequest, bundle, cluster, host, json_response, lease, operation,
    status,
};
use axum::{body::Body, http::Method, response::Response};
use serde_json::{Value, json};

/// Every verb, with its expected requests.
const VERBS: &[(&str, &[&str])] = &[
    (
        "host create h1 --address unix:///x --capacity 7",
        &["POST /api/v1/hosts {…}"],
    ),
    (
        "host list --state active --type docker --search h",
        &["GET /api/v1/hosts?state=active&type=docker&search=h&limit=500"],
    ),
    ("host show h1", &["GET /api/v1/hosts/h1"]),
    ("host show a/b?c", &["GET /api/v1/hosts/a%2Fb%3Fc"]),
    (
        "host update h1 --maintenance 10m",
        &["PATCH /api/v1/hosts/h1 {…}"],
    ),
    (
        "host update h1 --log-level debug",
        &["GET /api/v1/hosts/h1", "PATCH /api/v1/hosts/h1 {…}"],
    ),
    ("host delete h1 --yes", &["DELETE /api/v1/hosts/h1"]),
    (
        "host delete h1 --forget h1",
        &["DELETE /api/v1/hosts/h1?forget=h1"],
    ),
    ("host fillup h1", &["POST /api/v1/hosts/h1/fillup"]),
    ("host clean h1 -y", &["POST /api/v1/hosts/h1/clean"]),
    ("host reset h1 --yes", &["POST /api/v1/hosts/h1/reset"]),
    (
        "host adopt h1 01990000-0000-7000-8000-000000000001 --yes",
        &["POST /api/v1/hosts/h1/adopt {…}"],
    ),
    (
        "cluster create alpha --type cometbft --set validators=7 --label a=b",
        &["POST /api/v1/clusters {…}"],
    ),
    (
        "cluster list --offered --holder ann",
        &["GET /api/v1/clusters?offered=true&holder=ann&limit=500"],
    ),
    ("cluster show alpha", &["GET /api/v1/clusters/alpha"]),
    (
        "cluster show alpha --history",
        &["GET /api/v1/clusters/alpha/health"],
    ),
    ("cluster start alpha", &["POST /api/v1/clusters/alpha/start"]),
    (
        "cluster stop alpha --node node0",
        &["POST /api/v1/clusters/alpha/stop?node=node0"],
    ),
    (
        "cluster restart alpha --node node0",
        &["POST /api/v1/clusters/alpha/restart?node=node0"],
    ),
    (
        "cluster reset alpha --yes",
        &["POST /api/v1/clusters/alpha/reset?force=false"],
    ),
    (
        "cluster delete alpha --yes --force",
        &["DELETE /api/v1/clusters/alpha?force=true"],
    ),
    ("cluster prove alpha", &["POST /api/v1/clusters/alpha/prove"]),
    (
        "cluster update alpha --maintenance 0",
        &["PATCH /api/v1/clusters/alpha {…}"],
    ),
    (
        "cluster logs alpha node0 --tail 100",
        &["GET /api/v1/clusters/alpha/nodes/node0/logs?tail=100&follow=false"],
    ),
    (
        "lease apply --size 4 --ttl never",
        &[
            "POST /api/v1/leases {…}",
            "GET /api/v1/leases/01990000-0000-7000-8000-000000000001/bundle",
        ],
    ),
    (
        "lease list --state active --limit 2",
        &["GET /api/v1/leases?state=active&limit=2"],
    ),
    (
        "lease renew alpha --ttl 7d",
        &[
            "GET /api/v1/leases?state=active&cluster=alpha&limit=1",
            "POST /api/v1/leases/01990000-0000-7000-8000-000000000001/renew {…}",
        ],
    ),
    (
        "lease release 01990000-0000-7000-8000-000000000001",
        &[
            "GET /api/v1/leases/01990000-0000-7000-8000-000000000001",
            "DELETE /api/v1/leases/01990000-0000-7000-8000-000000000001",
        ],
    ),
    (
        "lease bundle alpha",
        &[
            "GET /api/v1/leases?state=active&cluster=alpha&limit=1",
            "GET /api/v1/leases/01990000-0000-7000-8000-000000000001/bundle",
        ],
    ),
    (
        "operation list --kind cluster_create",
        &["GET /api/v1/operations?kind=cluster_create&limit=500"],
    ),
    (
        "operation show 01990000-0000-7000-8000-000000000002",
        &["GET /api/v1/operations/01990000-0000-7000-8000-000000000002"],
    ),
    (
        "operation wait 01990000-0000-7000-8000-000000000002",
        &["GET /api/v1/operations/01990000-0000-7000-8000-000000000002/events"],
    ),
    ("status", &["GET /api/v1/status"]),
    ("resume --yes", &["POST /api/v1/resume"]),
    ("backup copy.db", &["POST /api/v1/backup"]),
    ("account list", &["GET /api/v1/accounts"]),
    (
        "account create ann --role operator",
        &[
            "POST /api/v1/accounts {…}",
            "POST /api/v1/accounts/ann/reset-link",
        ],
    ),
    ("account delete ann --yes", &["DELETE /api/v1/accounts/ann"]),
    (
        "account reset-link ann",
        &["POST /api/v1/accounts/ann/reset-link"],
    ),
    ("token create ci --ttl 30d", &["POST /api/v1/tokens {…}"]),
    ("token list", &["GET /api/v1/tokens"]),
    (
        "token delete 01990000-0000-7000-8000-000000000001 --yes",
        &["DELETE /api/v1/tokens/01990000-0000-7000-8000-000000000001"],
    ),
    ("network-type list", &["GET /api/v1/network-types"]),
    ("network-type show cometbft", &["GET /api/v1/network-types"]),
];

/// A server on which everything succeeds.
fn success(seen: &RecordedRequest) -> Response {
    let account = json!({ "id": ID, "name": "ann", "role": "user", "has_password": false, "created_at": "2026-01-01T00:00:00.000Z" });
    let token = json!({ "id": ID, "name": "ci", "account": "ann", "lease_any": false, "created_at": "2026-01-01T00:00:00.000Z" });
    let kind = json!({ "name": "cometbft", "about": "a", "version": "0.38", "consensus": "bft", "parameters": [], "presets": [], "images": {} });
    let parts: Vec<&str> = seen.path.trim_start_matches("/api/v1/").split('/').collect();
    let page = |item: Value| json_response(200, &json!({ "items": [item] }));
    let accepted = || json_response(202, &operation("queued", &[]));
    match (seen.method.clone(), parts.as_slice()) {
        (Method::DELETE, ["hosts" | "accounts" | "tokens", _]) | (_, ["resume"]) => Response::builder()
            .status(204)
            .body(Body::empty())
            .expect("a response"),
        (Method::GET, ["hosts"]) => page(host()),
        (_, ["hosts"] | ["hosts", _]) => json_response(200, &host()),
        (Method::GET, ["clusters"]) => page(cluster()),
        (Method::GET | Method::PATCH, ["clusters", _]) => json_response(200, &cluster()),
        (_, ["clusters", _, "health"]) => {
            page(json!({ "state": "healthy", "reason": "r", "at": "2026-01-01T00:00:00.000Z" }))
        }
        (_, ["clusters", _, "nodes", _, "logs"]) => Response::new(Body::from("line 1\nline 2\n")),
        (_, ["hosts" | "clusters", ..]) => accepted(),
        (Method::GET, ["leases"]) => page(lease("active")),
        (_, ["leases", _, "bundle"]) => json_response(200, &bundle()),
        (Method::DELETE, ["leases", _]) => json_response(200, &lease("released")),
        (_, ["leases", ..]) => json_response(200, &lease("active")),
        (_, ["operations"]) => page(operation("running", &[])),
        (_, ["operations", _, "events"]) => Response::new(Body::from(format!(
            "event: operation\ndata: {}\n\n",
            operation("succeeded", &[])
        ))),
        (_, ["operations", _]) => json_response(200, &operation("running", &[("network", "done")])),
        (_, ["accounts", _, "reset-link"]) => json_response(201, &json!({ "link": "s3cret" })),
        (Method::GET, ["accounts"]) => page(account),
        (_, ["accounts"]) => json_response(201, &account),
        (Method::GET, ["tokens"]) => page(token),
        (_, ["tokens"]) => json_response(201, &json!({ "token": token, "secret": "cp_abc" })),
        (_, ["network-types"]) => page(kind),
        (_, ["status"]) => json_response(200, &status(true)),
        (_, ["backup"]) => Response::new(Body::from("SQLite")),
        other => panic!("{other:?}"),
    }
}

fn shape(seen: &RecordedRequest) -> String {
    let line = seen.line();
    line.split_once(" {")
        .map_or(line.clone(), |(head, _)| format!("{head} {{…}}"))
}

#[tokio::test]
async fn every_verb_sends_its_requests() {
    for (line, requests) in VERBS {
        let server = FakeServer::start(success).await;
        let ran = server.run(line).await;
        let seen = server.requests();
        assert_eq!(
            seen.iter().map(shape).collect::<Vec<_>>(),
            *requests,
            "{line}: {ran:?}"
        );
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        assert!(
            seen.iter()
                .all(|seen| seen.authorization.as_deref() == Some("Bearer t0ken")),
            "{line}"
        );
        assert!(
            seen.iter()
                .all(|seen| seen.key.is_some() == (seen.method == Method::POST)),
            "{line}: posts carry a key"
        );
        assert!(
            !format!("{ran:?}").contains("t0ken"),
            "{line}: the token is printed"
        );
    }
}

#[tokio::test]
async fn json_output_is_one_document() {
    for (line, _) in VERBS
        .iter()
        .filter(|(line, _)| !line.starts_with("cluster logs") && !line.starts_with("account create"))
    {
        let server = FakeServer::start(success).await;
        let ran = server.run(&format!("{line} --json")).await;
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        if !ran.out.is_empty() {
            ran.json();
        }
    }
    let server = FakeServer::start(success).await;
    assert_eq!(
        server.run("host show h1 --json").await.json(),
        host(),
        "unknown fields are kept"
    );
    assert_eq!(server.run("cluster logs alpha node0 --json").await.code, Some(2));
}

#[tokio::test]
async fn request_bodies_contain_the_options() {
    let body = async |line: &str| {
        let server = FakeServer::start(success).await;
        let ran = server.run(line).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let with_body = server
            .requests()
            .into_iter()
            .find(|seen| !seen.body.is_empty())
            .expect("a body");
        let mut body: Value = serde_json::from_slice(&with_body.body).expect("JSON");
        body.as_object_mut()
            .expect("an object")
            .retain(|_, value| !value.is_null());
        body
    };
    assert_eq!(
        body("cluster create alpha --preset big --set validators=7 --set interval=1s --label a=b --host h1")
            .await,
        json!({ "name": "alpha", "host": "h1", "preset": "big", "parameters": { "validators": 7, "interval": "1s" }, "labels": { "a": "b" } })
    );
    assert_eq!(
        body("lease apply --holder bob --type cometbft --size 4 --label a=b --ttl 24h --allow-multiple")
            .await,
        json!({ "holder": "bob", "type": "cometbft", "size": 4, "labels": { "a": "b" }, "ttl_seconds": 86400, "allow_multiple": true })
    );
    assert_eq!(body("lease apply --ttl never").await["ttl_seconds"], 0);
    assert_eq!(
        body("host update h1 --log-level debug").await,
        json!({ "log": { "type": "local", "level": "debug" } })
    );
    assert_eq!(
        body("host adopt h1 01990000-0000-7000-8000-000000000001 -y").await,
        json!({ "clusters": [ID] })
    );
    assert_eq!(
        body("token create ci --lease-any --account bob --ttl 30d").await,
        json!({ "name": "ci", "lease_any": true, "account": "bob", "ttl_seconds": 2_592_000 })
    );
    assert_eq!(
        body("cluster update alpha --maintenance 0").await,
        json!({ "maintenance_seconds": 0 })
    );
}

#[tokio::test]
async fn text_output_contains_the_important_facts() {
    let server = FakeServer::start(success).await;
    let apply = server.run("lease apply").await.out;
    for part in [ID, "alpha", "curl write", "curl read", "this machine only"] {
        assert!(apply.contains(part), "{part}: {apply}");
    }
    assert_eq!(
        server.run("account reset-link ann").await.out,
        format!("{}/welcome/s3cret\n", server.url())
    );
    assert_eq!(
        server.run("cluster logs alpha node0").await.out,
        "line 1\nline 2\n"
    );
    assert_eq!(server.run("token create ci").await.out, "cp_abc\n");
    let accepted = server.run("cluster create").await.out;
    assert!(
        accepted.contains(&format!("chainpool operation wait {OPERATION}")),
        "{accepted}"
    );
    let list = server.run("host list").await.out;
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.starts_with("NAME  TYPE    STATE"), "{list}");
}

#[tokio::test]
async fn lists_read_all_pages_up_to_the_limit() {
    let server = FakeServer::start(|seen| {
        let query = seen.query.clone().unwrap_or_default();
        let number = |name: &str| {
            query
                .split('&')
                .find_map(|part| part.strip_prefix(&format!("{name}=")))
                .map_or(0, |text| text.parse::<usize>().expect("a number"))
        };
        let (after, limit) = (number("after"), number("limit"));
        let end = (after + limit).min(1200);
        let items: Vec<Value> = (after..end).map(|_| lease("active")).collect();
        json_response(
            200,
            &if end < 1200 {
                json!({ "items": items, "next": end.to_string() })
            } else {
                json!({ "items": items })
            },
        )
    })
    .await;
    let whole = server.run("lease list --json --limit 5000").await;
    assert_eq!(whole.json()["items"].as_array().map(Vec::len), Some(1200));
    assert!(
        whole.json().get("next").is_none() && whole.errors.is_empty(),
        "{}",
        whole.errors
    );
    let part = server.run("lease list --json --limit 700").await;
    assert_eq!(part.json()["items"].as_array().map(Vec::len), Some(700));
    assert_eq!(part.json()["next"], "700");
    assert!(part.errors.contains("--limit"), "{}", part.errors);
    let lines: Vec<String> = server.requests().iter().map(RecordedRequest::line).collect();
    assert_eq!(
        lines[..3],
        [
            "GET /api/v1/leases?limit=500",
            "GET /api/v1/leases?limit=500&after=500",
            "GET /api/v1/leases?limit=500&after=1000"
        ]
    );
    assert_eq!(lines[4], "GET /api/v1/leases?limit=200&after=500");
}

#[tokio::test]
async fn destructive_verbs_require_a_confirmation() {
    let server = FakeServer::start(success).await;
    for line in [
        "host delete h1",
        "host delete h1 --forget",
        "host clean h1",
        "host reset h1",
        "host adopt h1 01990000-0000-7000-8000-000000000001",
        "cluster reset alpha",
        "cluster delete alpha",
        "account delete ann",
        "token delete 01990000-0000-7000-8000-000000000001",
        "resume",
        "restore copy.db",
    ] {
        let ran = server.run(line).await;
        assert_eq!(ran.code, Some(2), "{line}: {ran:?}");
        assert!(ran.errors.contains("add "), "{line}: {ran:?}");
    }
    assert!(server.requests().is_empty(), "{:?}", server.requests());
}

#[tokio::test]
async fn status_exits_with_one_if_there_are_problems() {
    let server = FakeServer::start(|_| json_response(200, &status(false))).await;
    let ran = server.run("status").await;
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.out.contains("host h1 does not answer") && ran.errors.is_empty(),
        "{ran:?}"
    );
    assert_eq!(server.run("status --json").await.json()["ok"], false);
}

#[tokio::test]
async fn offline_verbs_send_no_requests() {
    let server = FakeServer::start(success).await;
    for line in [
        "completions bash",
        "completions zsh",
        "completions fish",
        "openapi",
        "--version",
        "help",
        "host --help",
    ] {
        let ran = server.run(line).await;
        assert!(ran.code == Some(0) && !ran.out.is_empty(), "{line}: {ran:?}");
    }
    assert!(server.run("completions bash").await.out.contains("network-type"));
    assert!(server.requests().is_empty());
}

/// The OpenAPI document of the real server contains every request of the verbs.
#[tokio::test]
async fn every_request_matches_the_openapi_document() {
    let api: Value = serde_json::from_str(&chainpool_server::openapi_json()).unwrap();
    let paths = api["paths"].as_object().unwrap();
    let fits = |template: &str, path: &str| {
        let (template, path): (Vec<&str>, Vec<&str>) =
            (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template
                .iter()
                .zip(path)
                .all(|(want, part)| want.starts_with('{') || *want == part)
    };
    for request in VERBS.iter().flat_map(|(_, requests)| requests.iter()) {
        let (method, rest) = request.split_once(' ').unwrap();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.trim_end_matches(" {…}");
        let method = method.to_lowercase();
        let route = paths
            .iter()
            .find(|(template, item)| fits(template, path) && item.get(&method).is_some());
        let (_, item) = route.unwrap_or_else(|| panic!("{request}: no such route"));
        let known: Vec<&str> = item[&method]["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        for name in query
            .split(['&', ' '])
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, _)| name)
        {
            assert!(known.contains(&name), "{request}: the route accepts {known:?}");
        }
    }
}
