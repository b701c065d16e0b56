//! What can be done without a running server: accounts, tokens, a backup. The same way as ever, to a server of this
//! process alone that listens on loopback, works on nothing, and ends with the verb.

use crate::{
    args::{Command, Global},
    client::Client,
    data::{self, Context},
    exit::{Exit, Failure, Result},
    output,
};
use chainpool_orchestrator::{Config, DATABASE, Orchestrator, StartError};
use chainpool_server::ServeConfig;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A server of this process alone. It holds the lock of the data folder.
pub(crate) struct Offline {
    orchestrator: Orchestrator,
    stop: CancellationToken,
    serving: JoinHandle<Result<()>>,
}

impl Offline {
    /// Begins, when the verb needs no running server and the data folder has none; also gives the way there.
    pub(crate) async fn start(global: &Global, command: &Command) -> Result<Option<(Self, Client)>> {
        let fits = matches!(
            command,
            Command::Account(_) | Command::Token(_) | Command::Backup(_)
        );
        if !fits || Client::is_directed(global) {
            return Ok(None);
        }
        let folder = data::folder(global.data.as_deref())?;
        // Whoever may not read the local administrator's file learns that from there.
        let Some(context) = Context::read(&folder)?.filter(|_| folder.join(DATABASE).exists()) else {
            return Ok(None);
        };
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Wrong,
                format!("cannot use the data folder {}: {error}", folder.display()),
            )
        };
        let orchestrator = match Orchestrator::start(Config {
            works: false,
            ..Config::new(folder.clone(), Vec::new())
        })
        .await
        {
            Ok(orchestrator) => orchestrator,
            Err(StartError::InUse(_)) => return Ok(None),
            Err(error) => return Err(wrong(&error)),
        };
        output::note(format_args!(
            "no server runs on {}; this is done on its database",
            folder.display()
        ));
        let (_, token, _) = orchestrator.local_admin().await.map_err(|error| wrong(&error))?;
        let stop = CancellationToken::new();
        let (bound, address) = oneshot::channel();
        let config = ServeConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let (served, told) = (orchestrator.clone(), stop.clone());
        let serving = tokio::spawn(async move {
            let serving = chainpool_server::serve(served, config, told, |at| {
                bound.send(at).ok();
            });
            serving
                .await
                .map_err(|error| Failure::new(Exit::Wrong, format!("cannot serve for this verb: {error}")))
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
                .unwrap_or_else(|| Failure::new(Exit::Wrong, "cannot serve for this verb"))),
        }
    }

    /// Ends, and lets the lock go.
    pub(crate) async fn end(self) -> Result<()> {
        self.stop.cancel();
        let served = self.serving.await;
        self.orchestrator.stop().await;
        served.map_err(|error| Failure::new(Exit::Wrong, error.to_string()))?
    }
}
