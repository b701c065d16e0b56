//! The cluster that the tests run on: the one that `CHAINPOOL_TEST_KUBECONFIG` names, else the test bed of this checkout.

use anyhow::{Context, Result, bail, ensure};
use bollard::{
    Docker, body_full,
    query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder},
};
use futures::StreamExt;
use kube::{Client, Config, config::Kubeconfig};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A statically linked set of small programs, all that the test image holds.
const BUSYBOX: &str = "/bin/busybox";
/// What the script ends with when the cluster cannot be had on this machine.
const SKIP: i32 = 3;

/// A cluster for tests.
pub(crate) struct Bed {
    /// Its administrator, past the agent.
    pub(crate) admin: Client,
    /// Where it is.
    pub(crate) address: String,
    /// Who the agent is there: a service account that has the rights of `rbac.yaml` and no more.
    pub(crate) kubeconfig: String,
    /// An image with busybox.
    pub(crate) image: String,
    /// Whether components of it can be stopped.
    pub(crate) ours: bool,
    started: bool,
}

/// A cluster, or why there is none here.
pub(crate) enum Found {
    Bed(Box<Bed>),
    Skip(String),
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs the bed's script; `Err(Some(why))` when the cluster cannot be had.
pub(crate) fn script(arguments: &[&str]) -> Result<Result<String, String>> {
    let output = Command::new(root().join("tests/testbeds/kubernetes.sh"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    );
    match output.status.code() {
        Some(0) => Ok(Ok(out)),
        Some(SKIP) => Ok(Err(err)),
        code => bail!("kubernetes.sh {} ended with {code:?}: {err}", arguments.join(" ")),
    }
}

/// The same, for what must go through.
pub(crate) fn done(arguments: &[&str]) -> Result<String> {
    script(arguments)?.map_err(anyhow::Error::msg)
}

impl Bed {
    /// Finds or starts the cluster, and gives the agent its account and the image.
    pub(crate) async fn open() -> Result<Found> {
        let ours = std::env::var_os("CHAINPOOL_TEST_KUBECONFIG").is_none();
        let started = ours && script(&["status"]).is_err();
        let path = match script(&["up"])? {
            Ok(path) => path,
            Err(why) => return Ok(Found::Skip(why)),
        };
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let kubeconfig = Kubeconfig::from_yaml(&text)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
        let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let authority = authority(&text)?;
        let rbac = root().join("agents/kubernetes/rbac.yaml");
        done(&["kubectl", "apply", "-f", &rbac.to_string_lossy()])?;
        let token = done(&[
            "kubectl",
            "-n",
            "chainpool",
            "create",
            "token",
            "chainpool",
            "--duration",
            "2h",
        ])?;
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{ "name": "c", "cluster": { "server": "https://192.0.2.1:1", "certificate-authority-data": authority } }],
            "users": [{ "name": "u", "user": { "token": token } }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        });
        let image = if ours {
            load().await?
        } else {
            std::env::var("CHAINPOOL_TEST_KUBERNETES_IMAGE").context("it names an image with /bin/busybox")?
        };
        let admin = Client::try_from(config)?;
        Ok(Found::Bed(Box::new(Self {
            admin,
            address,
            kubeconfig: kubeconfig.to_string(),
            image,
            ours,
            started,
        })))
    }

    /// Takes the cluster down, if it was started here.
    pub(crate) fn close(self) -> Result<()> {
        if self.started {
            done(&["down"])?;
        }
        Ok(())
    }
}

/// The authority's certificate, as the kubeconfig has it.
fn authority(text: &str) -> Result<String> {
    let cluster = Kubeconfig::from_yaml(text)?
        .clusters
        .into_iter()
        .next()
        .and_then(|c| c.cluster)
        .context("a cluster")?;
    cluster
        .certificate_authority_data
        .context("the kubeconfig embeds its authority")
}

/// Makes an image of busybox on the local engine, copies it and the one that places files into the cluster, and says its
/// name.
async fn load() -> Result<String> {
    let program =
        std::fs::read(BUSYBOX).context("/bin/busybox is missing: apt-get install -y busybox-static")?;
    ensure!(
        !program
            .windows(10)
            .any(|w| w == b"/ld-linux-" || w == b"/ld-musl-x"),
        "/bin/busybox is not static: apt-get install -y busybox-static"
    );
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode) in [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        tar.append_data(&mut header, path, std::io::empty())?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    tar.append_data(&mut header, "bin/busybox", &program[..])?;
    let address =
        std::env::var("CHAINPOOL_TEST_DOCKER").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let docker = Docker::connect_with_host(&address)?
        .negotiate_version()
        .await
        .context("start dockerd, as `make test` does")?;
    let name = format!("chainpool-test/{}", uuid::Uuid::now_v7().simple());
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(&name)
        .tag("1")
        .build();
    let mut progress = docker.create_image(Some(options), Some(body_full(tar.into_inner()?.into())), None);
    while progress.next().await.transpose()?.is_some() {}
    let image = format!("{name}:1");
    let tools = concat!("chainpool/tools:", env!("CARGO_PKG_VERSION"));
    let loaded = done(&["load", &image])
        .and_then(|_| done(&["load", tools]).context("make it first: make docker-tools"));
    docker
        .remove_image(
            &image,
            Some(RemoveImageOptionsBuilder::default().force(true).build()),
            None,
        )
        .await?;
    loaded.map(|_| image)
}
