//! Holder of a Fabric network: the bundle's files in a folder, and the bundle's Go client.

use anyhow::{Context, Result, ensure};
use chainpool_api::{Bundle, Lease};
use chainpool_tests::{Bed, within_ok};
use serde_json::json;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{process::Command, sync::OnceCell};

/// Deadline for a peer to find another orderer and catch up.
const SOON: Duration = Duration::from_secs(30);

/// Compiled client, shared because all bundles have the same sources.
static CLIENT: OnceCell<PathBuf> = OnceCell::const_new();

/// Folder with a lease's bundle and the client compiled from it.
pub(crate) struct Holder {
    pub(crate) lease: Lease,
    pub(crate) bundle: Bundle,
    pub(crate) folder: TempDir,
    client: PathBuf,
}

impl Holder {
    pub(crate) async fn apply(bed: &Bed) -> Result<Self> {
        let lease: Lease = bed.api.post("/leases", json!({"type": "fabric"})).await?;
        Self::with(bed, lease).await
    }

    /// Fetches the current bundle of a lease.
    pub(crate) async fn with(bed: &Bed, lease: Lease) -> Result<Self> {
        let bundle: Bundle = bed.api.get(&format!("/leases/{}/bundle", lease.id)).await?;
        let folder = TempDir::new()?;
        for (name, text) in &bundle.files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
            fs::write(path, text)?;
        }
        let client = CLIENT
            .get_or_try_init(async || compile(&bundle).await)
            .await?
            .clone();
        Ok(Self {
            lease,
            bundle,
            folder,
            client,
        })
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("gateway/go")
    }

    /// Runs the bundle's client as its README describes; returns its output.
    pub(crate) async fn transact(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new(&self.client)
            .args(arguments)
            .current_dir(self.home()))
        .await
    }

    /// Runs the bundle's client with an enrolled identity.
    pub(crate) async fn transact_as(&self, identity: &str, arguments: &[&str]) -> Result<String> {
        let mut client = Command::new(&self.client);
        run(client
            .args(arguments)
            .env("IDENTITY", identity)
            .current_dir(self.home()))
        .await
    }

    /// Registers and enrols an identity as the bundle's README describes; returns its certificate's subject.
    pub(crate) async fn enrol(&self, organisation: &str, name: &str, kind: &str) -> Result<String> {
        let folder = self.folder.path();
        run(Command::new("bash")
            .args(["enrol.sh", organisation, name, kind])
            .current_dir(folder))
        .await?;
        let certificate = folder
            .join(organisation)
            .join(name)
            .join("msp/signcerts/cert.pem");
        run(Command::new("openssl")
            .args(["x509", "-noout", "-subject", "-in"])
            .arg(certificate))
        .await
    }

    pub(crate) async fn put(&self, organisation: &str, value: &str) -> Result<()> {
        self.transact(&[organisation, "submit", "put", "name", value])
            .await
            .map(drop)
    }

    /// Waits until an organisation's peer has this value.
    pub(crate) async fn must_have(&self, organisation: &str, value: &str) -> Result<()> {
        within_ok(SOON, &format!("{value:?} at {organisation}"), async || {
            let output = self.transact(&[organisation, "evaluate", "get", "name"]).await?;
            ensure!(output.trim().ends_with(value), "{organisation} has {output:?}");
            Ok(())
        })
        .await
    }
}

/// Compiles the bundle's client, unless an earlier test compiled the same sources.
async fn compile(bundle: &Bundle) -> Result<PathBuf> {
    let sources: Vec<_> = bundle
        .files
        .iter()
        .filter_map(|(name, text)| Some((name.strip_prefix("gateway/go/")?, text)))
        .collect();
    ensure!(!sources.is_empty(), "the bundle has no Go client");
    let mut hash = DefaultHasher::new();
    sources.hash(&mut hash);
    let program =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fabric-client-{:016x}", hash.finish()));
    if program.exists() {
        return Ok(program);
    }
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    for (name, text) in sources {
        fs::write(folder.path().join(name), text)?;
    }
    run(Command::new("go")
        .args(["mod", "tidy"])
        .current_dir(folder.path()))
    .await?;
    run(Command::new("go")
        .args(["build", "-o", "client", "."])
        .current_dir(folder.path()))
    .await?;
    fs::rename(folder.path().join("client"), &program)?;
    Ok(program)
}

/// Runs a program; returns its output.
pub(crate) async fn run(command: &mut Command) -> Result<String> {
    let output = command
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .output()
        .await?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(
        output.status.success(),
        "{command:?} failed with {}: {stdout}{stderr}",
        output.status
    );
    Ok(stdout.into_owned())
}
