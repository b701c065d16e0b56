//! `chainpool cluster …`: verbs. Their output is in `cluster_view.rs`.

use crate::{
    api_client::LogQuery,
    args::{ListArgs, WaitArgs, YesArgs, enum_parser, pair, parameter},
    client::Client,
    cluster_view as view, confirm, duration,
    exit::{Exit, Failure, Result},
    output, wait,
};
use chainpool_api::{
    ClusterAmend, ClusterCreate, ClusterFilter, ClusterState, ClusterUpdate, HealthState, Timestamp,
};
use clap::{Args, Subcommand};
use std::collections::BTreeMap;

/// Verbs of clusters.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a cluster; placement chooses the host by default
    Create(CreateArgs),
    /// List clusters
    List(FilterArgs),
    /// Show a cluster with its nodes, health and evidence
    Show {
        /// Cluster name or id
        cluster: String,
        /// Show its health history instead, newest first
        #[arg(long)]
        history: bool,
    },
    /// Start a stopped cluster or one of its nodes
    Start(PowerArgs),
    /// Stop a cluster or one of its nodes, and keep the data
    Stop(PowerArgs),
    /// Restart a cluster or one of its nodes
    Restart(PowerArgs),
    /// Change a running cluster: more organisations, peers or channels, another chaincode, new certificates
    Amend(AmendArgs),
    /// Wipe a cluster and recreate it with the same name, size and ports, and new keys
    Reset(WipeArgs),
    /// Delete a cluster permanently
    Delete(WipeArgs),
    /// Print the log of a node
    Logs(LogArgs),
    /// Commit a transaction on one node and read it back from another
    Prove(ProveArgs),
    /// Change settings of a cluster
    Update(UpdateArgs),
}

fn type_help() -> String {
    format!(
        "Network type, from `chainpool network-type list` [default: {}]",
        chainpool_orchestrator::default_network_type()
    )
}

/// Arguments of `cluster create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Cluster name; default: generated
    name: Option<String>,
    /// Host (name or id); default: chosen by placement
    #[arg(long)]
    host: Option<String>,
    #[arg(long = "type", value_name = "TYPE", help = type_help())]
    network_type: Option<String>,
    /// Preset of the network type [default: default]
    #[arg(long)]
    preset: Option<String>,
    /// Parameter that overrides the preset, such as validators=7; repeatable
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, serde_json::Value)>,
    /// Label for filters; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Filters for `cluster list`.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Filter by host (name or id)
    #[arg(long)]
    host: Option<String>,
    /// Filter by state
    #[arg(long, value_parser = enum_parser!(ClusterState))]
    state: Option<ClusterState>,
    /// Filter by health
    #[arg(long, value_parser = enum_parser!(HealthState))]
    health: Option<HealthState>,
    /// Filter by network type
    #[arg(long = "type", value_name = "TYPE")]
    network_type: Option<String>,
    /// Filter by availability for lease
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    offered: Option<bool>,
    /// Filter by holder
    #[arg(long)]
    holder: Option<String>,
    /// Filter by part of the name
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

/// Arguments of `cluster start`, `stop` and `restart`.
#[derive(Debug, Args)]
pub(crate) struct PowerArgs {
    /// Cluster name or id
    cluster: String,
    /// Node name; default: all nodes
    #[arg(long)]
    node: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Arguments of `cluster amend`.
#[derive(Debug, Args)]
pub(crate) struct AmendArgs {
    /// Cluster name or id
    cluster: String,
    #[command(flatten)]
    amendment: AmendmentArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Changes to a running cluster.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, id = "amendment")]
pub(crate) struct AmendmentArgs {
    /// New value of a parameter, such as organisations=3; repeatable
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, serde_json::Value)>,
    /// Reissue all certificates, node by node
    #[arg(long)]
    renew_certificates: bool,
}

/// Arguments of `cluster reset` and `cluster delete`.
#[derive(Debug, Args)]
pub(crate) struct WipeArgs {
    /// Cluster name or id
    cluster: String,
    /// Proceed even if the cluster is leased; ends the lease
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    yes: YesArgs,
}

/// Arguments of `cluster logs`.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Cluster name or id
    cluster: String,
    /// Node name
    node: String,
    /// Print new lines as they are written
    #[arg(long, short)]
    follow: bool,
    /// Number of most recent lines to print; default: all
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Only log lines newer than this, for example 10m
    #[arg(long, value_name = "TIME", value_parser = duration::short_seconds)]
    since: Option<u32>,
}

/// Arguments of `cluster prove`.
#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    /// Cluster name or id
    cluster: String,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Settings of a cluster.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, id = "change")]
pub(crate) struct ChangeArgs {
    /// Suspend automatic repair for this long; 0 resumes it
    #[arg(long, value_name = "TIME", value_parser = duration::short_seconds)]
    maintenance: Option<u32>,
}

/// Arguments of `cluster update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Cluster name or id
    cluster: String,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Runs a verb.
#[expect(clippy::too_many_lines, reason = "one arm per verb")]
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    match verb {
        Verb::Create(args) => create(client, json, args).await,
        Verb::List(args) => list(client, json, args).await,
        Verb::Show {
            cluster,
            history: false,
        } => {
            let response = client.cluster_show(&cluster).await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(view::details(&response.value))
            }
        }
        Verb::Show {
            cluster,
            history: true,
        } => {
            let response = client.cluster_health(&cluster).await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(view::history(&response.value.items))
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
            let response = client.cluster_amend(&cluster, &amend).await?;
            wait::finish(client, json, response, &wait).await
        }
        Verb::Reset(WipeArgs {
            cluster,
            force,
            wait,
            yes,
        }) => {
            confirm::ask(
                &yes,
                &format!("This wipes cluster {cluster}{}.", lease_warning(force)),
            )
            .await?;
            let response = client.cluster_reset(&cluster, force).await?;
            wait::finish(client, json, response, &wait).await
        }
        Verb::Delete(WipeArgs {
            cluster,
            force,
            wait,
            yes,
        }) => {
            confirm::ask(
                &yes,
                &format!(
                    "This deletes cluster {cluster} and its data{}.",
                    lease_warning(force)
                ),
            )
            .await?;
            let response = client.cluster_delete(&cluster, force).await?;
            wait::finish(client, json, response, &wait).await
        }
        Verb::Logs(args) => logs(client, json, args).await,
        Verb::Prove(ProveArgs { cluster, wait }) => {
            let response = client.cluster_prove(&cluster).await?;
            wait::finish(client, json, response, &wait).await
        }
        Verb::Update(UpdateArgs {
            cluster,
            change: ChangeArgs { maintenance },
        }) => {
            let response = client
                .cluster_update(
                    &cluster,
                    &ClusterUpdate {
                        maintenance_seconds: maintenance,
                    },
                )
                .await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(view::details(&response.value))
            }
        }
    }
}

fn lease_warning(force: bool) -> &'static str {
    if force { " and ends its lease" } else { "" }
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
    let response = client.cluster_create(&new).await?;
    wait::finish(client, json, response, &wait).await
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
    let response = client.cluster_list(&filter, list.limit).await?;
    if json {
        output::json(&response.json)
    } else {
        output::line(view::table(&response.value.items))
    }
}

async fn power(client: &Client, json: bool, args: PowerArgs, verb: &str) -> Result<()> {
    let PowerArgs { cluster, node, wait } = args;
    let response = client.cluster_power(&cluster, verb, node.as_deref()).await?;
    wait::finish(client, json, response, &wait).await
}

/// Streams log lines. Logs are unstructured text and have no JSON form.
async fn logs(client: &Client, json: bool, args: LogArgs) -> Result<()> {
    if json {
        return Err(Failure::new(Exit::Usage, "node logs are plain text; omit --json"));
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
            "end of the log of {node}: the node or the server stopped"
        ));
    }
    Ok(())
}
