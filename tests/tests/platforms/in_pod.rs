//! Chainpool as a pod of the cluster that it manages, with only the rights of its service account.

use anyhow::{Context, Result, ensure};
use chainpool_tests::{TOOLS, TestBed, within};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// Manifests that an administrator applies: the RBAC rules and the stateful set.
const RBAC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../agents/kubernetes/rbac.yaml");
const STATEFUL_SET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../agents/kubernetes/chainpool.yaml");
/// Path of this build's program in the pod.
const PATH: &str = "/program/chainpool";
/// Longer than a pod takes to start or stop on a busy machine.
const SOON: Duration = Duration::from_mins(2);

/// The program registers the cluster it runs in, without address and kubeconfig, and runs through the
/// lifecycle of a pool. Its pod is killed in between.
pub(crate) async fn lifecycle(testbed: &TestBed) -> Result<()> {
    let patch = patch()?.to_string();
    let manifest = testbed
        .kubectl(&[
            "patch",
            "--local",
            "--filename",
            STATEFUL_SET,
            "--patch",
            &patch,
            "--output",
            "json",
        ])
        .await?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), manifest)?;
    testbed
        .kubectl(&[
            "apply",
            "--filename",
            RBAC,
            "--filename",
            &file.path().to_string_lossy(),
        ])
        .await?;
    let before = namespaces(testbed).await?;
    let outcome = use_pool(testbed, &before).await;
    // The server's log explains a failure.
    let log = match &outcome {
        Ok(()) => String::new(),
        Err(_) => kubectl(testbed, &["logs", "chainpool-0"])
            .await
            .unwrap_or_else(|error| format!("no log: {error:#}")),
    };
    kubectl(testbed, &["delete", "statefulset", "chainpool"]).await?;
    kubectl(
        testbed,
        &["delete", "persistentvolumeclaim", "--selector", "app=chainpool"],
    )
    .await?;
    outcome.with_context(|| log)
}

async fn use_pool(testbed: &TestBed, before: &str) -> Result<()> {
    wait_for_server(testbed).await?;
    run(
        testbed,
        &[
            "host",
            "create",
            "here",
            "--address",
            "in-cluster",
            "--capacity",
            "1",
            "--disk-floor",
            "0",
        ],
    )
    .await?;
    let hosts: Value = serde_json::from_str(&run(testbed, &["host", "list", "--json"]).await?)?;
    ensure!(
        hosts["items"][0]["type"] == "kubernetes" && hosts["items"][0]["state"] == "active",
        "{hosts}"
    );
    run(testbed, &["cluster", "create", "one", "--wait"]).await?;
    run(testbed, &["lease", "apply"]).await?;
    kubectl(
        testbed,
        &["delete", "pod", "chainpool-0", "--grace-period=0", "--force"],
    )
    .await?;
    wait_for_server(testbed).await?;
    run(testbed, &["cluster", "prove", "one", "--wait"]).await?;
    run(testbed, &["lease", "release", "one", "--wait"]).await?;
    run(testbed, &["cluster", "delete", "one", "--yes", "--wait"]).await?;
    run(testbed, &["host", "delete", "here", "--yes"]).await?;
    let left = namespaces(testbed).await?;
    let left: Vec<&str> = left
        .lines()
        .filter(|name| !before.lines().any(|known| known == *name))
        .collect();
    ensure!(left.is_empty(), "the leak check found namespaces: {left:?}");
    Ok(())
}

async fn namespaces(testbed: &TestBed) -> Result<String> {
    testbed.kubectl(&["get", "namespaces", "--output", "name"]).await
}

/// Waits until the server in the pod responds.
async fn wait_for_server(testbed: &TestBed) -> Result<()> {
    within(SOON, "a server in the pod", async || {
        Ok(run(testbed, &["host", "list"])
            .await
            .map(drop)
            .map_err(|error| format!("{error:#}")))
    })
    .await
}

/// Runs the command line in the pod, as the local administrator.
async fn run(testbed: &TestBed, arguments: &[&str]) -> Result<String> {
    kubectl(
        testbed,
        &[&["exec", "chainpool-0", "--", PATH][..], arguments].concat(),
    )
    .await
}

/// Runs kubectl in the program's namespace.
async fn kubectl(testbed: &TestBed, arguments: &[&str]) -> Result<String> {
    testbed
        .kubectl(&[&["--namespace", "chainpool"][..], arguments].concat())
        .await
}

/// Patch of the stateful set: this build's program and this machine's libraries replace the image, which also
/// contains an init and a probe. The image's own command and readiness probe are not tested here.
fn patch() -> Result<Value> {
    let built = Path::new(env!("CARGO_BIN_EXE_crash-child"))
        .parent()
        .context("the program has no folder")?;
    ensure!(
        built.join("chainpool").exists(),
        "{} is missing; run `cargo build --bin chainpool`",
        built.join("chainpool").display()
    );
    let mut mounts = vec![json!({"name": "program", "mountPath": "/program", "readOnly": true})];
    let mut volumes = vec![json!({"name": "program", "hostPath": {"path": built}})];
    for path in ["/lib", "/lib64"]
        .into_iter()
        .filter(|path| Path::new(path).exists())
    {
        let name = path.trim_start_matches('/');
        mounts.push(json!({"name": name, "mountPath": path, "readOnly": true}));
        volumes.push(json!({"name": name, "hostPath": {"path": std::fs::canonicalize(path)?}}));
    }
    let container = json!({
        "name": "chainpool", "image": TOOLS, "imagePullPolicy": "Never", "command": [PATH, "serve"], "readinessProbe": null, "volumeMounts": mounts,
    });
    Ok(json!({"spec": {"template": {"spec": {"containers": [container], "volumes": volumes}}}}))
}
