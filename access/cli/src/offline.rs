//! Verbs without a running server: accounts, tokens, backup. They use a temporary server in this process that
//! listens on loopback, runs no operations and ends with the verb.

use crate::{
    args::Global,
    client::Client,
    command::Command,
    data::{self, Context},
    exit::{Exit, Failure, Result},
    output,
};
use chainpool_orchestrator::{Config, DATABASE, Orchestrator, StartError};
use chainpool_server::ServeConfig;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A temporary server in this process. It holds the lock of the data folder.
pub(crate) struct Offline {
    orchestrator: Orchestrator,
    stop: CancellationToken,
    serving: JoinHandle<Result<()>>,
}

impl Offline {
    /// Starts a server and its client if the verb needs no running server and the data folder has none.
    pub(crate) async fn start(global: &Global, command: &Command) -> Result<Option<(Self, Client)>> {
        let supported = matches!(
            command,
            Command::Account(_) | Command::Token(_) | Command::Backup(_)
        );
        if !supported || Client::has_explicit_target(global) {
            return Ok(None);
        }
        let folder = data::folder(global.data.as_deref())?;
        // Fails here if the user cannot read the local administrator's file.
        let Some(context) = Context::read(&folder)?.filter(|_| folder.join(DATABASE).exists()) else {
            return Ok(None);
        };
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Error,
                format!("cannot use the data folder {}: {error}", folder.display()),
            )
        };
        let orchestrator = match Orchestrator::start(Config {
            run_operations: false,
            ..Config::new(folder.clone(), Vec::new())
        })
        .await
        {
            Ok(orchestrator) => orchestrator,
            Err(StartError::InUse(_)) => return Ok(None),
            Err(error) => return Err(wrong(&error)),
        };
        output::note(format_args!(
            "no server runs on {}; working on its database directly",
            folder.display()
        ));
        let (_, token, _) = orchestrator.local_admin().await.map_err(|error| wrong(&error))?;
        let stop = CancellationToken::new();
        let (bound, address) = oneshot::channel();
        let config = ServeConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let (served, stopped) = (orchestrator.clone(), stop.clone());
        let serving = tokio::spawn(async move {
            let serving = chainpool_server::serve(served, config, stopped, |at| {
                bound.send(at).ok();
            });
            serving.await.map_err(|error| {
                Failure::new(Exit::Error, format!("cannot start a temporary server: {error}"))
            })
        });
        let this = Self {
            orchestrator,
            stop,
            serving,
        };
        match address.await {
            Ok(address) => Ok(Some((this, Client::local(address, &context, &token)?))),
            Err(_) => Err(this
                .end()
                .await
                .err()
                .unwrap_or_else(|| Failure::new(Exit::Error, "cannot start a temporary server"))),
        }
    }

    /// Stops the server and releases the lock.
    pub(crate) async fn end(self) -> Result<()> {
        self.stop.cancel();
        let served = self.serving.await;
        self.orchestrator.stop().await;
        served.map_err(|error| Failure::new(Exit::Error, error.to_string()))?
    }
}
