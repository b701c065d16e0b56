//! `chainpool lease …`.

use crate::{
    args::{ListArgs, WaitArgs, enum_parser, pair, parameter},
    bundle,
    client::{ApiResponse, Client},
    duration,
    exit::{Exit, Failure, Result},
    operation_view,
    output::{self, maybe, maybe_when, when},
    wait,
};
use chainpool_api::{Apply, Lease, LeaseFilter, LeaseState, Renew};
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;
use uuid::Uuid;

/// Verbs of leases.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lease a free cluster; repeating the request returns the same lease
    Apply(ApplyArgs),
    /// List leases, newest first; users see their own
    List(FilterArgs),
    /// Renew a lease
    Renew {
        /// Lease id or cluster name
        lease: String,
        /// Lifetime from now, such as 24h or 7d; never: no expiry (operators only) [default: 24h]
        #[arg(long, value_name = "TIME", value_parser = duration::lease_seconds)]
        ttl: Option<u64>,
    },
    /// Release a lease; resets the cluster with new keys
    Release {
        /// Lease id or cluster name
        lease: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Print the connection details of a lease, or write them to files
    Bundle {
        /// Lease id or cluster name
        lease: String,
        /// Output folder, readable by you only
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
        /// Overwrite existing files
        #[arg(long, requires = "out")]
        force: bool,
    },
}

/// Arguments of `lease apply`. Omitted criteria match every cluster.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Holder of the lease; default: you. Other holders require a token with --lease-any
    #[arg(long)]
    holder: Option<String>,
    /// Filter by network type
    #[arg(long = "type", value_name = "TYPE")]
    network_type: Option<String>,
    /// Filter by preset
    #[arg(long)]
    preset: Option<String>,
    /// Filter by version line of the ledger software
    #[arg(long)]
    version: Option<String>,
    /// Filter by number of nodes
    #[arg(long, value_name = "NODES")]
    size: Option<u32>,
    /// Filter by consensus protocol
    #[arg(long)]
    consensus: Option<String>,
    /// Filter by host (name or id)
    #[arg(long)]
    host: Option<String>,
    /// Filter by label; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Filter by parameter, such as validators=7; repeatable
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, serde_json::Value)>,
    /// Lifetime from now, such as 24h or 7d; never: no expiry (operators only) [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = duration::lease_seconds)]
    ttl: Option<u64>,
    /// Lease another cluster even if you have one with the same filters
    #[arg(long)]
    allow_multiple: bool,
}

/// Filters for `lease list`.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Filter by state
    #[arg(long, value_parser = enum_parser!(LeaseState))]
    state: Option<LeaseState>,
    /// Filter by holder
    #[arg(long)]
    holder: Option<String>,
    /// Filter by cluster (name or id)
    #[arg(long)]
    cluster: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

/// Runs a verb.
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
            let response = client.lease_list(&filter, list.limit).await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(table(&response.value.items))
            }
        }
        Verb::Renew { lease, ttl } => {
            let id = find(client, &lease).await?;
            let response = client.lease_renew(id, &Renew { ttl_seconds: ttl }).await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(details(&response.value))
            }
        }
        Verb::Release { lease, wait } => release(client, json, &lease, &wait).await,
        Verb::Bundle { lease, out, force } => {
            let response = client.lease_bundle(find(client, &lease).await?).await?;
            match out {
                Some(folder) => bundle::write(&response, &folder, force),
                None if json => output::json(&response.json),
                None => output::line(bundle::text(&response.value)),
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
    let response = client.lease_apply(&apply).await?;
    if json {
        return output::json(&response.json);
    }
    // Print the lease first: it exists even if the request for the bundle fails.
    output::line(details(&response.value))?;
    let bundle = client.lease_bundle(response.value.id).await?.value;
    output::line(format_args!("\n{}", bundle::commands(&bundle)))
}

async fn release(client: &Client, json: bool, lease: &str, args: &WaitArgs) -> Result<()> {
    let response = client.lease_release(find(client, lease).await?).await?;
    let ApiResponse {
        json: document,
        value,
    } = response;
    if json {
        output::json(&document)?;
    } else {
        output::line(details(&value))?;
    }
    match value.operation_id {
        Some(operation) if args.wait => {
            let ended = wait::follow(client, operation, args.timeout).await?.value;
            wait::check_success(&ended)?;
            output::note(operation_view::ended(&ended));
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
            format!("no lease {lease:?} and no leased cluster of that name; see `chainpool lease list`"),
        )
    };
    found.first().map(|lease| lease.id).ok_or_else(none)
}

/// Leases, one per line.
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
            "ID", "CLUSTER", "TYPE", "HOST", "HOLDER", "STATE", "STARTED", "EXPIRES",
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
        ("started", when(*created_at)),
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
