//! `chainpool operation …`: operations.

use crate::{
    args::{ListArgs, enum_parser},
    client::Client,
    duration,
    exit::Result,
    operation_view, output, wait,
};
use chainpool_api::{OperationFilter, OperationKind, OperationState};
use clap::{Args, Subcommand};
use uuid::Uuid;

/// Verbs of operations.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List operations, newest first
    List(FilterArgs),
    /// Show an operation with its steps
    Show {
        /// Operation id
        operation: Uuid,
    },
    /// Wait for an operation to end and show its steps; exit with status 1 if it failed
    Wait {
        /// Operation id
        operation: Uuid,
        /// Maximum time to wait; the operation continues afterwards
        #[arg(long, value_name = "TIME", value_parser = duration::seconds)]
        timeout: Option<u64>,
    },
}

/// Filters for `operation list`.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Filter by host (name or id)
    #[arg(long)]
    host: Option<String>,
    /// Filter by cluster (name or id)
    #[arg(long)]
    cluster: Option<String>,
    /// Filter by parent operation
    #[arg(long, value_name = "OPERATION")]
    parent: Option<Uuid>,
    /// Filter by state
    #[arg(long, value_parser = enum_parser!(OperationState))]
    state: Option<OperationState>,
    /// Filter by kind
    #[arg(long, value_parser = enum_parser!(OperationKind))]
    kind: Option<OperationKind>,
    #[command(flatten)]
    list: ListArgs,
}

/// Runs a verb.
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    match verb {
        Verb::List(args) => {
            let FilterArgs {
                host,
                cluster,
                parent,
                state,
                kind,
                list,
            } = args;
            let filter = OperationFilter {
                host,
                cluster,
                parent,
                state,
                kind,
                after: None,
                limit: None,
            };
            let response = client.operation_list(&filter, list.limit).await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(operation_view::table(&response.value.items))
            }
        }
        Verb::Show { operation } => {
            let response = client.operation_show(operation).await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(operation_view::details(&response.value))
            }
        }
        Verb::Wait { operation, timeout } => {
            let response = wait::follow(client, operation, timeout).await?;
            if json {
                output::json(&response.json)?;
            } else if response.value.state == OperationState::Succeeded {
                output::line(operation_view::ended(&response.value))?;
            }
            wait::check_success(&response.value)
        }
    }
}
