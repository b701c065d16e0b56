//! `chainpool serve`: the composition root, the only place that selects concrete agents.

use crate::{
    backup::RestoreArgs,
    config_file::ConfigFile,
    data::{self, CONTEXT, Context},
    files, log, output,
};
use anyhow::{Context as _, Result};
use chainpool_agent::{ImageRequest, Platform};
use chainpool_agent_docker::{DockerPlatform, SwarmPlatform};
use chainpool_agent_kubernetes::KubernetesPlatform;
use chainpool_api as api;
use chainpool_orchestrator::{Caller, Config, DEFAULT_LEASES_PER_ACCOUNT, Orchestrator};
use chainpool_server::{Limits, ProxyNetwork, PublicUrl, ServeConfig};
use clap::{
    Args, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser},
};
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Data folder [default: /var/lib/chainpool as root, else the XDG data folder]
    #[arg(long, env = "CHAINPOOL_DATA", hide_env_values = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    /// Configuration file [default: chainpool.toml in the data folder, if it exists]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Print a configuration file with every setting and its default, then exit
    #[arg(long, conflicts_with = "config")]
    pub(crate) print_config: bool,
    /// Listen address; beyond loopback only with TLS or --behind-proxy
    #[arg(
        long,
        env = "CHAINPOOL_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS:PORT"
    )]
    pub(crate) listen: SocketAddr,
    #[arg(help = "Public URL, such as https://tools.example.org/pool, if a proxy terminates TLS")]
    #[arg(long, env = "CHAINPOOL_PUBLIC_URL", hide_env_values = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) public_url: Option<PublicUrl>,
    /// Address or network of a trusted reverse proxy, for X-Forwarded-For; repeatable
    #[arg(
        long,
        env = "CHAINPOOL_BEHIND_PROXY",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    pub(crate) behind_proxy: Vec<ProxyNetwork>,
    /// Certificate chain of the server, in PEM
    #[arg(long, env = "CHAINPOOL_TLS_CERT", hide_env_values = true, requires = "tls_key", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM
    #[arg(long, env = "CHAINPOOL_TLS_KEY", hide_env_values = true, requires = "tls_cert", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tls_key: Option<PathBuf>,
    /// Register the local Docker engine as a host and fill it, if there is no host yet
    #[arg(long)]
    pub(crate) init_local_host: bool,
    /// Maximum number of clusters on the local host
    #[arg(
        long,
        requires = "init_local_host",
        default_value_t = 3,
        value_name = "NUMBER"
    )]
    pub(crate) capacity: u32,
    /// Maximum requests per second for each token; 0: no limit
    #[arg(
        long,
        env = "CHAINPOOL_RATE_LIMIT",
        hide_env_values = true,
        default_value_t = 100,
        value_name = "NUMBER"
    )]
    pub(crate) rate_limit: u32,
    /// Maximum active leases for each account of role user; 0: no limit
    #[arg(long, env = "CHAINPOOL_LEASES_PER_ACCOUNT", hide_env_values = true, default_value_t = DEFAULT_LEASES_PER_ACCOUNT, value_name = "NUMBER")]
    pub(crate) leases_per_account: u32,
    /// Write the log as JSON, one line per event
    #[arg(long, env = "CHAINPOOL_LOG_JSON", hide_env_values = true)]
    pub(crate) log_json: bool,
}

/// The image whose programs place files on the machines of a platform, built from this source.
const TOOLS: &str = concat!("chainpool/tools:", env!("CARGO_PKG_VERSION"));

/// The platforms of this version. A new one is one crate and one line here.
fn platforms() -> Vec<Arc<dyn Platform>> {
    let tools = ImageRequest {
        candidates: vec![TOOLS.to_owned()],
        advice: Some(format!("build {TOOLS} with `make docker-tools`")),
    };
    vec![
        Arc::new(DockerPlatform),
        Arc::new(SwarmPlatform { tools: tools.clone() }),
        Arc::new(KubernetesPlatform { tools }),
    ]
}

/// A value parser for the platforms of this version, which lists them in help and completions.
pub(crate) fn platform_parser() -> impl TypedValueParser<Value = api::Platform> {
    let kinds = platforms().into_iter().map(|platform| platform.kind().as_str());
    PossibleValuesParser::new(kinds).try_map(|kind| kind.parse::<api::Platform>())
}

/// Serves until a stop signal.
pub(crate) async fn run(args: ServeArgs) -> Result<()> {
    if args.print_config {
        return Ok(output::bytes(ConfigFile::default().to_toml().as_bytes())?);
    }
    let folder = data::folder(args.data.as_deref())?;
    let ConfigFile { health } = ConfigFile::load(args.config.as_deref(), &folder)?;
    log::init(args.log_json);
    let limits = Limits::for_files(files::raise_limit());
    files::restrict_permissions(&folder, |text| tracing::warn!("{text}"))?;
    let platforms = platforms();
    let config = Config {
        leases_per_account: args.leases_per_account,
        health,
        ..Config::new(folder.clone(), platforms)
    };
    let orchestrator = Orchestrator::start(config)
        .await
        .with_context(|| format!("cannot use the data folder {}", folder.display()))?;
    let stop = CancellationToken::new();
    let mut server = tokio::spawn(serve(args, limits, folder, orchestrator.clone(), stop.clone()));
    let watchdog = tokio::spawn(chainpool_watchdog::run(orchestrator.clone(), stop.clone()));
    let early = tokio::select! {
        ended = &mut server => Some(ended),
        signal = stop_signal() => { signal?; None }
    };
    stop.cancel();
    let outcome = match early {
        Some(ended) => ended,
        None => server.await,
    };
    watchdog.await??;
    orchestrator.stop().await;
    outcome?
}

/// Restores a backup into the data folder of a stopped server.
pub(crate) async fn restore(args: RestoreArgs) -> Result<()> {
    let folder = data::folder(args.data.as_deref())?;
    files::restrict_permissions(&folder, output::note)?;
    let restored = chainpool_orchestrator::restore(&folder, &args.file)
        .await
        .with_context(|| format!("cannot restore {}", args.file.display()))?;
    if let Some(kept) = restored.kept {
        println!(
            "The previous database is kept as {}. Delete it when no longer needed.",
            kept.display()
        );
    }
    println!(
        "Restored. The server starts paused and deletes or fills nothing. Inspect `chainpool status`, then run `chainpool resume`."
    );
    Ok(())
}

async fn serve(
    args: ServeArgs,
    limits: Limits,
    folder: PathBuf,
    orchestrator: Orchestrator,
    stop: CancellationToken,
) -> Result<()> {
    let config = ServeConfig {
        listen: args.listen,
        tls: args.tls_cert.clone().zip(args.tls_key.clone()),
        public_url: args.public_url.clone(),
        behind_proxy: args.behind_proxy.clone(),
        rate_limit_per_second: args.rate_limit,
        limits,
    };
    let (admin, token, link) = orchestrator.local_admin().await?;
    let (bound, address) = tokio::sync::oneshot::channel();
    let serving = chainpool_server::serve(orchestrator.clone(), config, stop, |at| {
        // The receiver is gone if startup failed.
        bound.send(at).ok();
    });
    let welcome = async {
        // The error of `serving` has the reason.
        let Ok(address) = address.await else { return Ok(()) };
        welcome(&args, &folder, address, token, link)?;
        if args.init_local_host {
            local_host(&orchestrator, &admin, args.capacity).await
        } else {
            Ok(())
        }
    };
    let serving = async { serving.await.context("cannot serve") };
    // A failure to register the local host ends the server with an error.
    tokio::try_join!(serving, welcome).map(drop)
}

/// Writes the local administrator's context file and prints the dashboard's address.
fn welcome(
    args: &ServeArgs,
    folder: &Path,
    address: SocketAddr,
    token: String,
    link: Option<String>,
) -> Result<()> {
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    let server = format!("{scheme}://{address}");
    let certificate = args.tls_cert.as_deref().map(fs::read_to_string).transpose()?;
    let public_url = args.public_url.as_ref().map(ToString::to_string);
    let context = Context {
        server: server.clone(),
        token,
        public_url: public_url.clone(),
        certificate,
    };
    write_private(folder, CONTEXT, &toml::to_string(&context)?)?;
    let shown = public_url.unwrap_or(server);
    println!("Dashboard: {shown}");
    if let Some(link) = link {
        println!("Set the administrator's password (once, within an hour): {shown}/welcome/{link}");
    }
    Ok(())
}

/// Atomically writes a file in this folder that only its owner can read.
fn write_private(folder: &Path, name: &str, text: &str) -> Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(name)
        .suffix(".tmp")
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name))?;
    Ok(())
}

/// Registers this machine's engine if there is no host yet; autofill creates the clusters.
async fn local_host(orchestrator: &Orchestrator, admin: &Caller, capacity: u32) -> Result<()> {
    let known = orchestrator.host_list(admin, &api::HostFilter::default()).await?;
    if let Some(host) = known.items.first() {
        println!("Host {} is already registered; nothing changed.", host.name);
        return Ok(());
    }
    let address = std::env::var("DOCKER_HOST")
        .ok()
        .filter(|a| !a.is_empty())
        .unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let new = api::HostCreate {
        name: "local".to_owned(),
        address,
        autofill: Some(true),
        capacity: Some(capacity),
        bind: Some("127.0.0.1".to_owned()),
        ..api::HostCreate::default()
    };
    let host = orchestrator
        .host_create(admin, new)
        .await
        .context("cannot register the local engine as a host")?;
    println!(
        "Host {} ({}) is registered and is being filled with {} clusters: chainpool cluster list",
        host.name, host.address, host.settings.capacity
    );
    Ok(())
}

async fn stop_signal() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
