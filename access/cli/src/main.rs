//! `chainpool`: the server and its command-line client.

mod account;
mod api_client;
mod args;
mod backup;
mod bundle;
mod client;
mod cluster;
mod cluster_view;
mod command;
mod config_file;
mod confirm;
mod data;
mod duration;
mod exit;
mod files;
mod host;
mod host_settings;
mod lease;
mod log;
mod network;
mod offline;
mod operation;
mod operation_view;
mod output;
mod progress;
mod serve;
mod sse;
mod status;
mod token;
mod trust;
mod wait;

use args::Global;
use client::Client;
use command::{Cli, Command};
use exit::{Exit, Failure, Result};
use offline::Offline;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("no other provider is installed before main");
    let Cli { global, command } = command::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit_code(Err(Failure::new(Exit::Error, format!("cannot start: {error}")))),
    };
    let result = runtime.block_on(run(global, command));
    // An unanswered prompt may still block a thread; it must not delay the exit.
    runtime.shutdown_background();
    exit_code(result)
}

async fn run(global: Global, command: Command) -> Result<()> {
    match command {
        Command::Serve(args) => serve::run(args).await.map_err(failure),
        Command::Restore(args) => {
            let folder = data::folder(args.data.as_deref())?;
            confirm::ask(
                &args.yes,
                &format!(
                    "This replaces the database in {} with {}.",
                    folder.display(),
                    args.file.display()
                ),
            )
            .await?;
            serve::restore(args).await.map_err(failure)
        }
        Command::Openapi => output::bytes(chainpool_server::openapi_json().as_bytes()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command::command_line(), "chainpool", &mut script);
            output::bytes(&script)
        }
        verb => run_client(global, verb).await,
    }
}

/// Runs a client verb. An interrupt ends it; accepted operations continue on the server.
async fn run_client(global: Global, command: Command) -> Result<()> {
    let (offline, client) = match Offline::start(&global, &command).await? {
        Some((offline, client)) => (Some(offline), client),
        None => (None, Client::open(&global)?),
    };
    let json = global.json;
    // Registered here: select polls in random order and may otherwise start the verb before the signal
    // handler.
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| Failure::new(Exit::Error, format!("cannot handle interrupts: {error}")))?;
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
        _ = interrupt.recv() => Err(Failure::new(
            Exit::Interrupted,
            "interrupted; accepted operations continue on the server",
        )),
    };
    match offline {
        Some(offline) => result.and(offline.end().await),
        None => result,
    }
}

fn failure(error: anyhow::Error) -> Failure {
    error
        .downcast()
        .unwrap_or_else(|error| Failure::new(Exit::Error, format!("{error:#}")))
}

/// Prints the error, if any, and returns the exit code.
fn exit_code(result: Result<()>) -> ExitCode {
    let Err(Failure { exit, message }) = result else {
        return ExitCode::SUCCESS;
    };
    if !message.is_empty() {
        output::note(format_args!("chainpool: {message}"));
    }
    ExitCode::from(exit.code())
}
