//! `chainpool cluster …`: the verbs. What they print is in `cluster_view.rs`.

use crate::{
    args::{ListArgs, WaitArgs, YesArgs, pair, parameter, word},
    calls::LogQuery,
    client::Client,
    cluster_view as view, confirm,
    exit::{Exit, Failure, Result},
    output, span, wait,
};
use chainpool_api::{
    ClusterAmend, ClusterCreate, ClusterFilter, ClusterState, ClusterUpdate, HealthState, Timestamp,
};
use clap::{Args, Subcommand};
use std::collections::BTreeMap;

/// What can be done with clusters.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes a cluster; places it where no host is named
    Create(CreateArgs),
    /// Lists the clusters
    List(FilterArgs),
    /// Shows a cluster with its nodes, its health and the evidence for it
    Show {
        /// Its name or id
        cluster: String,
        /// Shows the history of its health instead, the newest first
        #[arg(long)]
        history: bool,
    },
    /// Starts a stopped cluster, or one node
    Start(PowerArgs),
    /// Stops a cluster, or one node; its data stays
    Stop(PowerArgs),
    /// Restarts a cluster, or one node
    Restart(PowerArgs),
    /// Changes a cluster while it runs: more organisations, peers or channels, another chaincode, new certificates
    Amend(AmendArgs),
    /// Wipes a cluster and makes it again with the same name, size and ports, and with new keys
    Reset(WipeArgs),
    /// Removes a cluster for good
    Delete(WipeArgs),
    /// Prints a node's log
    Logs(LogArgs),
    /// Commits a transaction on one node and reads it back from another
    Prove(ProveArgs),
    /// Changes a cluster's settings
    Update(UpdateArgs),
}

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name; made up when absent
    name: Option<String>,
    /// Its host (name or id); placed when absent
    #[arg(long)]
    host: Option<String>,
    /// Its network type, as `chainpool network-type list` has them; cometbft when absent
    #[arg(long = "type", value_name = "TYPE")]
    network_type: Option<String>,
    /// The preset to begin with; default when absent
    #[arg(long)]
    preset: Option<String>,
    /// A parameter on top of the preset, such as validators=7; once for each
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, serde_json::Value)>,
    /// A label for filters; once for each
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Which clusters to list.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// On this host (name or id)
    #[arg(long)]
    host: Option<String>,
    /// In this state
    #[arg(long, value_parser = word!(ClusterState))]
    state: Option<ClusterState>,
    /// With this verdict
    #[arg(long, value_parser = word!(HealthState))]
    health: Option<HealthState>,
    /// Of this network type
    #[arg(long = "type", value_name = "TYPE")]
    network_type: Option<String>,
    /// Only those that can be applied for now, or only the others
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    offered: Option<bool>,
    /// Held by this holder
    #[arg(long)]
    holder: Option<String>,
    /// Whose name contains this
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

/// What to start, stop or restart.
#[derive(Debug, Args)]
pub(crate) struct PowerArgs {
    /// The cluster's name or id
    cluster: String,
    /// One node of it; otherwise the whole
    #[arg(long)]
    node: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// How to change a running cluster.
#[derive(Debug, Args)]
pub(crate) struct AmendArgs {
    /// The cluster's name or id
    cluster: String,
    #[command(flatten)]
    amendment: AmendmentArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// What shall be another.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, id = "amendment")]
pub(crate) struct AmendmentArgs {
    /// A parameter that shall be another, such as organisations=3; once for each
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, serde_json::Value)>,
    /// Issues all certificates anew, node after node
    #[arg(long)]
    renew_certificates: bool,
}

/// What to wipe.
#[derive(Debug, Args)]
pub(crate) struct WipeArgs {
    /// The cluster's name or id
    cluster: String,
    /// Also when somebody holds it; ends the lease
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    yes: YesArgs,
}

/// Which lines to print.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// The cluster's name or id
    cluster: String,
    /// The node's name
    node: String,
    /// Goes on as lines are written
    #[arg(long, short)]
    follow: bool,
    /// At most so many of the newest
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Only what was written in the last so much time
    #[arg(long, value_name = "TIME", value_parser = span::short_seconds)]
    since: Option<u32>,
}

/// What to prove.
#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    /// The cluster's name or id
    cluster: String,
    #[command(flatten)]
    wait: WaitArgs,
}

/// What to change.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, id = "change")]
pub(crate) struct ChangeArgs {
    /// For so long repair waits; 0 ends it
    #[arg(long, value_name = "TIME", value_parser = span::short_seconds)]
    maintenance: Option<u32>,
}

/// Which cluster to change.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Its name or id
    cluster: String,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Does a verb.
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    match verb {
        Verb::Create(args) => create(client, json, args).await,
        Verb::List(args) => list(client, json, args).await,
        Verb::Show {
            cluster,
            history: false,
        } => {
            let answer = client.cluster_show(&cluster).await?;
            if json {
                output::json(&answer.json)
            } else {
                output::line(view::details(&answer.value))
            }
        }
        Verb::Show {
            cluster,
            history: true,
        } => {
            let answer = client.cluster_health(&cluster).await?;
            if json {
                output::json(&answer.json)
            } else {
                output::line(view::history(&answer.value.items))
            }
        }
        Verb::Start(args) => power(client, json, args, "start").await,
        Verb::Stop(args) => power(client, json, args, "stop").await,
        Verb::Restart(args) => power(client, json, args, "restart").await,
        Verb::Amend(AmendArgs {
            cluster,
            amendment:
                AmendmentArgs {
                    parameters,
                    renew_certificates,
                },
            wait,
        }) => {
            let amend = ClusterAmend {
                parameters: parameters.into_iter().collect(),
                renew_certificates,
            };
            let answer = client.cluster_amend(&cluster, &amend).await?;
            wait::finish(client, json, answer, &wait).await
        }
        Verb::Reset(WipeArgs {
            cluster,
            force,
            wait,
            yes,
        }) => {
            confirm::ask(
                &yes,
                &format!("This wipes cluster {cluster}{}.", lease_too(force)),
            )
            .await?;
            let answer = client.cluster_reset(&cluster, force).await?;
            wait::finish(client, json, answer, &wait).await
        }
        Verb::Delete(WipeArgs {
            cluster,
            force,
            wait,
            yes,
        }) => {
            confirm::ask(
                &yes,
                &format!("This removes cluster {cluster} and its data{}.", lease_too(force)),
            )
            .await?;
            let answer = client.cluster_delete(&cluster, force).await?;
            wait::finish(client, json, answer, &wait).await
        }
        Verb::Logs(args) => logs(client, json, args).await,
        Verb::Prove(ProveArgs { cluster, wait }) => {
            let answer = client.cluster_prove(&cluster).await?;
            wait::finish(client, json, answer, &wait).await
        }
        Verb::Update(UpdateArgs {
            cluster,
            change: ChangeArgs { maintenance },
        }) => {
            let answer = client
                .cluster_update(
                    &cluster,
                    &ClusterUpdate {
                        maintenance_seconds: maintenance,
                    },
                )
                .await?;
            if json {
                output::json(&answer.json)
            } else {
                output::line(view::details(&answer.value))
            }
        }
    }
}

fn lease_too(force: bool) -> &'static str {
    if force {
        ", and ends the lease of whoever holds it"
    } else {
        ""
    }
}

async fn create(client: &Client, json: bool, args: CreateArgs) -> Result<()> {
    let CreateArgs {
        name,
        host,
        network_type,
        preset,
        parameters,
        labels,
        wait,
    } = args;
    let labels: BTreeMap<String, String> = labels.into_iter().collect();
    let new = ClusterCreate {
        name,
        host,
        network_type,
        preset,
        parameters: parameters.into_iter().collect(),
        labels,
    };
    let answer = client.cluster_create(&new).await?;
    wait::finish(client, json, answer, &wait).await
}

async fn list(client: &Client, json: bool, args: FilterArgs) -> Result<()> {
    let FilterArgs {
        host,
        state,
        health,
        network_type,
        offered,
        holder,
        search,
        list,
    } = args;
    let filter = ClusterFilter {
        host,
        state,
        health,
        network_type,
        offered,
        holder,
        search,
        after: None,
        limit: None,
    };
    let answer = client.cluster_list(&filter, list.limit).await?;
    if json {
        output::json(&answer.json)
    } else {
        output::line(view::table(&answer.value.items))
    }
}

async fn power(client: &Client, json: bool, args: PowerArgs, verb: &str) -> Result<()> {
    let PowerArgs { cluster, node, wait } = args;
    let answer = client.cluster_power(&cluster, verb, node.as_deref()).await?;
    wait::finish(client, json, answer, &wait).await
}

/// Prints lines as they come. A log is text as its node wrote it, so there is no JSON for it.
async fn logs(client: &Client, json: bool, args: LogArgs) -> Result<()> {
    if json {
        return Err(Failure::new(
            Exit::Usage,
            "a log is text as the node wrote it; leave --json out",
        ));
    }
    let LogArgs {
        cluster,
        node,
        follow,
        tail,
        since,
    } = args;
    let since = since.map(|seconds| Timestamp::now().plus_seconds(-i64::from(seconds)).0 / 1000);
    let mut stream = client
        .cluster_logs(&cluster, &node, &LogQuery { tail, since, follow })
        .await?;
    let mut text = output::LogText::default();
    while let Some(piece) = stream.chunk().await.map_err(|error| client.lost(&error))? {
        output::log(&mut text, &piece)?;
    }
    text.end()?;
    if follow {
        output::note(format_args!(
            "the log of {node} ends here: it does not run any more, or the server stopped"
        ));
    }
    Ok(())
}
