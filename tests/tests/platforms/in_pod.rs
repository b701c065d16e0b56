//! Chainpool as a pod of the cluster that it manages, with the rights of its service account and no more.

use anyhow::{Context, Result, ensure};
use chainpool_tests::{TOOLS, TestBed, within};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// What its owner applies: the rights, and the program as a stateful set.
const RIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../agents/kubernetes/rbac.yaml");
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../agents/kubernetes/chainpool.yaml");
/// Where the program of this build is in its pod.
const PATH: &str = "/program/chainpool";
/// Longer than a pod takes to come or go on a busy machine.
const SOON: Duration = Duration::from_mins(2);

/// The program in a pod registers the cluster around it, without address and kubeconfig, and lives a pool's life there; its pod is killed
/// meanwhile.
pub(crate) async fn life(place: &TestBed) -> Result<()> {
    let changed = changed()?.to_string();
    let applied = place
        .kubectl(&[
            "patch",
            "--local",
            "--filename",
            PROGRAM,
            "--patch",
            &changed,
            "--output",
            "json",
        ])
        .await?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), applied)?;
    place
        .kubectl(&[
            "apply",
            "--filename",
            RIGHTS,
            "--filename",
            &file.path().to_string_lossy(),
        ])
        .await?;
    let before = namespaces(place).await?;
    let lived = live(place, &before).await;
    // Without the server's own words nobody could tell why it failed.
    let log = match &lived {
        Ok(()) => String::new(),
        Err(_) => within_its(place, &["logs", "chainpool-0"])
            .await
            .unwrap_or_else(|error| format!("no log: {error:#}")),
    };
    within_its(place, &["delete", "statefulset", "chainpool"]).await?;
    within_its(
        place,
        &["delete", "persistentvolumeclaim", "--selector", "app=chainpool"],
    )
    .await?;
    lived.with_context(|| log)
}

async fn live(place: &TestBed, before: &str) -> Result<()> {
    served(place).await?;
    run(
        place,
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
    let hosts: Value = serde_json::from_str(&run(place, &["host", "list", "--json"]).await?)?;
    ensure!(
        hosts["items"][0]["type"] == "kubernetes" && hosts["items"][0]["state"] == "active",
        "{hosts}"
    );
    run(place, &["cluster", "create", "one", "--wait"]).await?;
    run(place, &["lease", "apply"]).await?;
    within_its(
        place,
        &["delete", "pod", "chainpool-0", "--grace-period=0", "--force"],
    )
    .await?;
    served(place).await?;
    run(place, &["cluster", "prove", "one", "--wait"]).await?;
    run(place, &["lease", "release", "one", "--wait"]).await?;
    run(place, &["cluster", "delete", "one", "--yes", "--wait"]).await?;
    run(place, &["host", "delete", "here", "--yes"]).await?;
    let left = namespaces(place).await?;
    let left: Vec<&str> = left
        .lines()
        .filter(|name| !before.lines().any(|known| known == *name))
        .collect();
    ensure!(left.is_empty(), "the census found namespaces: {left:?}");
    Ok(())
}

async fn namespaces(place: &TestBed) -> Result<String> {
    place.kubectl(&["get", "namespaces", "--output", "name"]).await
}

/// Waits until the server in the pod answers.
async fn served(place: &TestBed) -> Result<()> {
    within(SOON, "a server in the pod", async || {
        Ok(run(place, &["host", "list"])
            .await
            .map(drop)
            .map_err(|error| format!("{error:#}")))
    })
    .await
}

/// The program's command line, in the pod, as its local administrator.
async fn run(place: &TestBed, words: &[&str]) -> Result<String> {
    within_its(place, &[&["exec", "chainpool-0", "--", PATH][..], words].concat()).await
}

/// The administrator's hand in the program's namespace.
async fn within_its(place: &TestBed, words: &[&str]) -> Result<String> {
    place
        .kubectl(&[&["--namespace", "chainpool"][..], words].concat())
        .await
}

/// What differs from what its owner applies: the program of this build and the libraries of this machine, on which the cluster runs, in
/// the place of an image that has both, and its init and probe. So the image's own command and readiness are not what is tested here.
fn changed() -> Result<Value> {
    let built = Path::new(env!("CARGO_BIN_EXE_crash-child"))
        .parent()
        .context("a program is in a folder")?;
    ensure!(
        built.join("chainpool").exists(),
        "{} is missing: cargo build --bin chainpool",
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
