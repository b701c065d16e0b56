//! `chainpool lease …`.

use crate::{
    args::{ListArgs, WaitArgs, pair, parameter, word},
    bundle,
    client::{Answer, Client},
    exit::{Exit, Failure, Result},
    output::{self, maybe, maybe_when, when},
    span, wait,
};
use chainpool_api::{Apply, Lease, LeaseFilter, LeaseState, Renew};
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;
use uuid::Uuid;

/// What can be done with leases.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Takes a free cluster; asking again gives the same one
    Apply(ApplyArgs),
    /// Lists leases, the newest first; a user sees its own
    List(FilterArgs),
    /// Counts a lease's time anew from now
    Renew {
        /// The lease's id, or the cluster's name
        lease: String,
        /// Until it expires, such as 24h or 7d; never: without end, for operators [default: 24h]
        #[arg(long, value_name = "TIME", value_parser = span::lease_seconds)]
        ttl: Option<u64>,
    },
    /// Gives a cluster back; it is wiped and made again with new keys
    Release {
        /// The lease's id, or the cluster's name
        lease: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Prints what is needed to connect, or writes it as files
    Bundle {
        /// The lease's id, or the cluster's name
        lease: String,
        /// Writes the files to this folder, readable by you alone
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
        /// Overwrites files that are there
        #[arg(long, requires = "out")]
        force: bool,
    },
}

/// What to take. What is not given matches everything.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Who shall hold it; you when absent. Another needs a token that may apply for others
    #[arg(long)]
    holder: Option<String>,
    /// Of this network type
    #[arg(long = "type", value_name = "TYPE")]
    network_type: Option<String>,
    /// Made from this preset
    #[arg(long)]
    preset: Option<String>,
    /// Of this version line
    #[arg(long)]
    version: Option<String>,
    /// With this many nodes
    #[arg(long, value_name = "NODES")]
    size: Option<u32>,
    /// Whose nodes agree in this way
    #[arg(long)]
    consensus: Option<String>,
    /// On this host (name or id)
    #[arg(long)]
    host: Option<String>,
    /// With this label; once for each
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Made with this parameter, such as validators=7; once for each
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, serde_json::Value)>,
    /// Until it expires, such as 24h or 7d; never: without end, for operators [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = span::lease_seconds)]
    ttl: Option<u64>,
    /// Takes another one although you have one by the same filter
    #[arg(long)]
    allow_multiple: bool,
}

/// Which leases to list.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// In this state
    #[arg(long, value_parser = word!(LeaseState))]
    state: Option<LeaseState>,
    /// Of this holder
    #[arg(long)]
    holder: Option<String>,
    /// Of this cluster (name or id)
    #[arg(long)]
    cluster: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

/// Does a verb.
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    match verb {
        Verb::Apply(args) => apply(client, json, args).await,
        Verb::List(FilterArgs {
            state,
            holder,
            cluster,
            list,
        }) => {
            let filter = LeaseFilter {
                state,
                holder,
                cluster,
                after: None,
                limit: None,
            };
            let answer = client.lease_list(&filter, list.limit).await?;
            if json {
                output::json(&answer.json)
            } else {
                output::line(table(&answer.value.items))
            }
        }
        Verb::Renew { lease, ttl } => {
            let id = find(client, &lease).await?;
            let answer = client.lease_renew(id, &Renew { ttl_seconds: ttl }).await?;
            if json {
                output::json(&answer.json)
            } else {
                output::line(details(&answer.value))
            }
        }
        Verb::Release { lease, wait } => release(client, json, &lease, &wait).await,
        Verb::Bundle { lease, out, force } => {
            let answer = client.lease_bundle(find(client, &lease).await?).await?;
            match out {
                Some(folder) => bundle::write(&answer, &folder, force),
                None if json => output::json(&answer.json),
                None => output::line(bundle::text(&answer.value)),
            }
        }
    }
}

async fn apply(client: &Client, json: bool, args: ApplyArgs) -> Result<()> {
    let ApplyArgs {
        holder,
        network_type,
        preset,
        version,
        size,
        consensus,
        host,
        labels,
        parameters,
        ttl,
        allow_multiple,
    } = args;
    let (labels, parameters) = (labels.into_iter().collect(), parameters.into_iter().collect());
    let apply = Apply {
        holder,
        network_type,
        preset,
        version,
        size,
        consensus,
        host,
        labels,
        parameters,
        ttl_seconds: ttl,
        allow_multiple,
    };
    let answer = client.lease_apply(&apply).await?;
    if json {
        return output::json(&answer.json);
    }
    // The lease is said first: it is taken, whatever becomes of the bundle.
    output::line(details(&answer.value))?;
    let bundle = client.lease_bundle(answer.value.id).await?.value;
    output::line(format_args!("\n{}", bundle::commands(&bundle)))
}

async fn release(client: &Client, json: bool, lease: &str, args: &WaitArgs) -> Result<()> {
    let answer = client.lease_release(find(client, lease).await?).await?;
    let Answer {
        json: document,
        value,
    } = answer;
    if json {
        output::json(&document)?;
    } else {
        output::line(details(&value))?;
    }
    match value.operation_id {
        Some(operation) if args.wait => {
            let ended = wait::follow(client, operation, args.timeout).await?.value;
            wait::verdict(&ended)?;
            output::note(crate::operation::ended(&ended));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Finds a lease by its own id, or the active one of a cluster.
async fn find(client: &Client, lease: &str) -> Result<Uuid> {
    if let Ok(id) = lease.parse() {
        match client.lease_show(id).await {
            Ok(_) => return Ok(id),
            // It may be a cluster's id.
            Err(failure) if failure.exit == Exit::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    let filter = LeaseFilter {
        state: Some(LeaseState::Active),
        cluster: Some(lease.to_owned()),
        ..LeaseFilter::default()
    };
    let found = client.lease_list(&filter, 1).await?.value.items;
    let none = || {
        Failure::new(
            Exit::NotFound,
            format!(
                "there is no lease {lease:?}, and nobody holds a cluster of that name; see `chainpool lease list`"
            ),
        )
    };
    found.first().map(|lease| lease.id).ok_or_else(none)
}

/// Leases, a line each.
fn table(leases: &[Lease]) -> String {
    let rows = leases.iter().map(|lease| {
        let Lease {
            id,
            cluster_id: _,
            cluster,
            host,
            network_type,
            holder,
            state,
            created_at,
            expires_at,
            ended_at: _,
            operation_id: _,
        } = lease;
        let expires = if *state == LeaseState::Active {
            expires_at.map_or_else(|| "never".to_owned(), when)
        } else {
            output::NONE.to_owned()
        };
        vec![
            id.to_string(),
            cluster.clone(),
            network_type.clone(),
            host.clone(),
            holder.clone(),
            state.to_string(),
            when(*created_at),
            expires,
        ]
    });
    output::table(
        &[
            "ID", "CLUSTER", "TYPE", "HOST", "HOLDER", "STATE", "BEGUN", "EXPIRES",
        ],
        rows.collect(),
    )
}

fn details(lease: &Lease) -> String {
    let Lease {
        id,
        cluster_id: _,
        cluster,
        host,
        network_type,
        holder,
        state,
        created_at,
        expires_at,
        ended_at,
        operation_id,
    } = lease;
    let mut rows = vec![
        ("lease", id.to_string()),
        ("cluster", format!("{cluster} ({network_type} on {host})")),
        ("holder", holder.clone()),
        ("state", state.to_string()),
        ("begun", when(*created_at)),
    ];
    match state {
        LeaseState::Active => rows.push(("expires", expires_at.map_or_else(|| "never".to_owned(), when))),
        _ => rows.extend([
            ("ended", maybe_when(*ended_at)),
            ("operation", maybe(operation_id.as_ref())),
        ]),
    }
    output::fields(&rows)
}
