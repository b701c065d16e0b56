//! `chainpool serve`: the composition root, the only place that names a concrete agent.

use crate::backup::RestoreArgs;
use anyhow::{Result, bail};
use clap::{Args, ValueHint};
use std::{net::SocketAddr, path::PathBuf};

/// How the server runs.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The data folder [default: /var/lib/chainpool as root, else the XDG data folder]
    #[arg(long, env = "CHAINPOOL_DATA", hide_env_values = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    /// Where to listen; beyond loopback only with TLS or behind --public-url
    #[arg(long, env = "CHAINPOOL_LISTEN", hide_env_values = true, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    #[arg(help = "The address that users reach it at, such as https://pool.example.org, where a proxy does TLS")]
    #[arg(long, env = "CHAINPOOL_PUBLIC_URL", hide_env_values = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) public_url: Option<String>,
    /// The server's certificates, in PEM
    #[arg(long, env = "CHAINPOOL_TLS_CERT", hide_env_values = true, requires = "tls_key", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Their key, in PEM
    #[arg(long, env = "CHAINPOOL_TLS_KEY", hide_env_values = true, requires = "tls_cert", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tls_key: Option<PathBuf>,
    /// Registers the local Docker engine as a host and fills it, when there is no host yet
    #[arg(long)]
    pub(crate) init_local_host: bool,
    /// How many clusters that host may have
    #[arg(long, requires = "init_local_host", default_value_t = 3, value_name = "NUMBER")]
    pub(crate) capacity: u32,
    /// Requests that a token may make in a second; 0: without limit
    #[arg(long, env = "CHAINPOOL_RATE_LIMIT", hide_env_values = true, default_value_t = 100, value_name = "NUMBER")]
    pub(crate) rate_limit: u32,
    /// Writes the log as JSON, a line an event
    #[arg(long, env = "CHAINPOOL_LOG_JSON", hide_env_values = true)]
    pub(crate) log_json: bool,
}

/// Serves until it is told to stop.
pub(crate) async fn run(args: ServeArgs) -> Result<()> {
    bail!("this build has no server: {args:?}")
}

/// Puts a backup into the data folder of a server that is stopped.
pub(crate) async fn restore(args: RestoreArgs) -> Result<()> {
    bail!("this build has no server: {args:?}")
}
