//! `chainpool`: the server, and the verbs that ask one.

mod account;
mod args;
mod backup;
mod bundle;
mod calls;
mod client;
mod cluster;
mod cluster_view;
mod confirm;
mod data;
mod exit;
mod files;
mod host;
mod host_settings;
mod lease;
mod log;
mod network;
mod offline;
mod operation;
mod output;
mod progress;
mod serve;
mod span;
mod sse;
mod status;
mod token;
mod trust;
mod wait;

use args::{Cli, Command, Global};
use client::Client;
use exit::{Exit, Failure, Result};
use offline::Offline;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing else has installed one before the first line");
    let Cli { global, command } = args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(Err(Failure::new(Exit::Wrong, format!("cannot start: {error}")))),
    };
    let result = runtime.block_on(run(global, command));
    // A question that nobody answered may still wait on a thread; it must not hold the end up.
    runtime.shutdown_background();
    end(result)
}

async fn run(global: Global, command: Command) -> Result<()> {
    match command {
        Command::Serve(args) => serve::run(args).await.map_err(wrong),
        Command::Restore(args) => {
            let folder = data::folder(args.data.as_deref())?;
            confirm::ask(
                &args.yes,
                &format!(
                    "This replaces the database in {} by {}.",
                    folder.display(),
                    args.file.display()
                ),
            )
            .await?;
            serve::restore(args).await.map_err(wrong)
        }
        Command::Openapi => output::bytes(chainpool_server::openapi_json().as_bytes()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut args::page(), "chainpool", &mut script);
            output::bytes(&script)
        }
        verb => ask(global, verb).await,
    }
}

/// Asks the server. An interrupt ends the asking; what was accepted goes on.
async fn ask(global: Global, command: Command) -> Result<()> {
    let (offline, client) = match Offline::start(&global, &command).await? {
        Some((offline, client)) => (Some(offline), client),
        None => (None, Client::open(&global)?),
    };
    let json = global.json;
    // Heard from here on: a select would begin to listen only when it is first polled, and the verb may be first.
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| Failure::new(Exit::Wrong, format!("cannot listen for an interrupt: {error}")))?;
    let verb = async {
        match command {
            Command::Host(verb) => host::run(&client, json, verb).await,
            Command::Cluster(verb) => cluster::run(&client, json, verb).await,
            Command::Lease(verb) => lease::run(&client, json, verb).await,
            Command::Operation(verb) => operation::run(&client, json, verb).await,
            Command::NetworkType(verb) => network::run(&client, json, verb).await,
            Command::Account(verb) => account::run(&client, json, verb).await,
            Command::Token(verb) => token::run(&client, json, verb).await,
            Command::Status => status::run(&client, json).await,
            Command::Resume(args) => status::resume(&client, &args).await,
            Command::Backup(args) => backup::run(&client, &args).await,
            Command::Serve(_) | Command::Restore(_) | Command::Openapi | Command::Completions { .. } => {
                Ok(())
            }
        }
    };
    let result = tokio::select! {
        result = verb => result,
        _ = interrupt.recv() => Err(Failure::new(Exit::Interrupted, "interrupted; what was accepted goes on")),
    };
    match offline {
        Some(offline) => result.and(offline.end().await),
        None => result,
    }
}

fn wrong(error: anyhow::Error) -> Failure {
    error
        .downcast()
        .unwrap_or_else(|error| Failure::new(Exit::Wrong, format!("{error:#}")))
}

/// Says what is wrong, once, and ends with its number.
fn end(result: Result<()>) -> ExitCode {
    let Err(Failure { exit, message }) = result else {
        return ExitCode::SUCCESS;
    };
    if !message.is_empty() {
        output::note(format_args!("chainpool: {message}"));
    }
    ExitCode::from(exit.code())
}
