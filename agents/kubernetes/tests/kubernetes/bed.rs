//! The cluster of the tests: `CHAINPOOL_TEST_KUBECONFIG`, else the test bed of this checkout.

use anyhow::{Context, Result, bail, ensure};
use bollard::{
    Docker, body_full,
    query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder},
};
use chainpool_agent::ImageRequest;
use futures::StreamExt;
use kube::{Client, Config, config::Kubeconfig};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The statically linked busybox, the only content of the test image.
const BUSYBOX: &str = "/bin/busybox";
/// Exit status of the script if the cluster is unavailable on this machine.
const SKIP: i32 = 3;

/// A cluster for tests.
pub(crate) struct Bed {
    /// A client with administrator permissions, independent of the agent.
    pub(crate) admin: Client,
    /// Its address.
    pub(crate) address: String,
    /// The agent's credentials: a service account with only the permissions of `rbac.yaml`.
    pub(crate) kubeconfig: String,
    /// An image with busybox.
    pub(crate) image: String,
    /// True if tests may stop its components.
    pub(crate) ours: bool,
    started: bool,
}

/// A cluster, or the reason why none is available.
pub(crate) enum Found {
    Bed(Box<Bed>),
    Skip(String),
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs the script of the test bed; `Ok(Err(reason))` if the cluster is unavailable.
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
        code => bail!(
            "kubernetes.sh {} exited with {code:?}: {err}",
            arguments.join(" ")
        ),
    }
}

/// Runs the script of the test bed; an unavailable cluster is an error.
pub(crate) fn run_script(arguments: &[&str]) -> Result<String> {
    script(arguments)?.map_err(anyhow::Error::msg)
}

impl Bed {
    /// Finds or starts the cluster, creates the agent's service account and loads the image.
    pub(crate) async fn open() -> Result<Found> {
        let ours = std::env::var_os("CHAINPOOL_TEST_KUBECONFIG").is_none();
        let started = ours && script(&["status"]).is_err();
        let path = match script(&["up"])? {
            Ok(path) => path,
            Err(reason) => return Ok(Found::Skip(reason)),
        };
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let kubeconfig = Kubeconfig::from_yaml(&text)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
        let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let authority = authority(&text)?;
        let rbac = root().join("agents/kubernetes/rbac.yaml");
        run_script(&["kubectl", "apply", "-f", &rbac.to_string_lossy()])?;
        let token = run_script(&[
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
            std::env::var("CHAINPOOL_TEST_KUBERNETES_IMAGE")
                .context("set it to an image with /bin/busybox")?
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

    /// Stops the cluster if it was started here.
    pub(crate) fn close(self) -> Result<()> {
        if self.started {
            run_script(&["down"])?;
        }
        Ok(())
    }
}

/// The certificate-authority-data of the kubeconfig.
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

/// Builds a busybox image on the local engine and loads it and the tools image into the cluster. Returns its
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
    let loaded = run_script(&["load", &image])
        .and_then(|_| run_script(&["load", TOOLS]).context("build it first: make docker-tools"));
    docker
        .remove_image(
            &image,
            Some(RemoveImageOptionsBuilder::default().force(true).build()),
            None,
        )
        .await?;
    loaded.map(|_| image)
}

/// The image that places files.
const TOOLS: &str = concat!("chainpool/tools:", env!("CARGO_PKG_VERSION"));

/// The same, as an agent takes it.
pub(crate) fn tools() -> ImageRequest {
    ImageRequest::of(&[TOOLS.to_owned()])
}
