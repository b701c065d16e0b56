//! `chainpool host …`: verbs. Settings are in `host_settings.rs`.

use crate::{
    args::{ListArgs, WaitArgs, YesArgs, enum_parser},
    client::Client,
    confirm,
    exit::Result,
    host_settings::{CreateArgs, UpdateArgs},
    output::{self, NONE, maybe, maybe_when, size, when, yes},
    serve, wait,
};
use chainpool_api::{
    Fill, Host, HostAdopt, HostFilter, HostForget, HostMachine, HostSettings, HostState, Platform,
};
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use uuid::Uuid;

/// Verbs of hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Probe and register a host; stores nothing if the probe fails
    Create(Box<CreateArgs>),
    /// List hosts
    List(FilterArgs),
    /// Show a host with all its settings
    Show {
        /// Host name or id
        host: String,
    },
    /// Change settings of a host; omitted settings are unchanged
    Update(Box<UpdateArgs>),
    /// Delete a host without clusters, or forget a lost host
    Delete(DeleteArgs),
    /// Claim the objects of unclaimed clusters and delete them
    Adopt(AdoptArgs),
    /// Create clusters up to the host's capacity, according to its fill policy
    Fillup(FillupArgs),
    /// Disable autofill and delete the free clusters; keeps leased clusters
    Clean(WipeArgs),
    /// Disable autofill and delete all objects of this instance; fails while clusters are leased
    Reset(WipeArgs),
}

/// Filters for `host list`.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Filter by state
    #[arg(long, value_parser = enum_parser!(HostState))]
    state: Option<HostState>,
    /// Filter by platform
    #[arg(long = "type", value_parser = serve::platform_parser())]
    platform: Option<Platform>,
    /// Filter by part of the name
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

/// Arguments of `host delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Host name or id
    host: String,
    /// Forget an unreachable host with all its clusters and leases; requires its name, here or at the prompt
    #[arg(long, num_args = 0..=1, value_name = "NAME")]
    #[expect(
        clippy::option_option,
        reason = "clap's encoding of: absent, given, given with a name"
    )]
    forget: Option<Option<String>>,
    #[command(flatten)]
    yes: YesArgs,
}

/// Arguments of `host adopt`.
#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// Host name or id
    host: String,
    /// Ids of unclaimed clusters, from `chainpool status`
    #[arg(required = true, value_name = "CLUSTER")]
    clusters: Vec<Uuid>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    yes: YesArgs,
}

/// Arguments of `host fillup`.
#[derive(Debug, Args)]
pub(crate) struct FillupArgs {
    /// Host name or id
    host: String,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Arguments of `host clean` and `host reset`.
#[derive(Debug, Args)]
pub(crate) struct WipeArgs {
    /// Host name or id
    host: String,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    yes: YesArgs,
}

/// Runs a verb.
pub(crate) async fn run(client: &Client, json: bool, verb: Verb) -> Result<()> {
    match verb {
        Verb::Create(args) => {
            let response = client.host_create(&args.build()?).await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(details(&response.value))
            }
        }
        Verb::List(FilterArgs {
            state,
            platform,
            search,
            list,
        }) => {
            let filter = HostFilter {
                state,
                platform,
                search,
                after: None,
                limit: None,
            };
            let response = client.host_list(&filter, list.limit).await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(table(&response.value.items))
            }
        }
        Verb::Show { host } => {
            let response = client.host_show(&host).await?;
            if json {
                output::json(&response.json)
            } else {
                output::line(details(&response.value))
            }
        }
        Verb::Update(args) => update(client, json, *args).await,
        Verb::Delete(args) => delete(client, args).await,
        Verb::Adopt(AdoptArgs {
            host,
            clusters,
            wait,
            yes,
        }) => {
            confirm::ask(
                &yes,
                &format!(
                    "This deletes {} unclaimed cluster(s) from host {host}.",
                    clusters.len()
                ),
            )
            .await?;
            let response = client.host_adopt(&host, &HostAdopt { clusters }).await?;
            wait::finish(client, json, response, &wait).await
        }
        Verb::Fillup(FillupArgs { host, wait }) => {
            let response = client.host_do(&host, "fillup").await?;
            wait::finish(client, json, response, &wait).await
        }
        Verb::Clean(args) => wipe(client, json, args, "clean", "deletes all free clusters of").await,
        Verb::Reset(args) => {
            wipe(
                client,
                json,
                args,
                "reset",
                "deletes all objects of this instance on",
            )
            .await
        }
    }
}

async fn wipe(client: &Client, json: bool, args: WipeArgs, verb: &str, what: &str) -> Result<()> {
    let WipeArgs { host, wait, yes } = args;
    confirm::ask(&yes, &format!("This {what} host {host}.")).await?;
    let response = client.host_do(&host, verb).await?;
    wait::finish(client, json, response, &wait).await
}

async fn update(client: &Client, json: bool, args: UpdateArgs) -> Result<()> {
    // The API takes logging as one value, so omitted options keep their current value here.
    let log = if args.changes_log() {
        Some(client.host_show(&args.host).await?.value.settings.log)
    } else {
        None
    };
    let host = args.host.clone();
    let response = client.host_update(&host, &args.build(log)?).await?;
    if json {
        output::json(&response.json)
    } else {
        output::line(details(&response.value))
    }
}

async fn delete(client: &Client, args: DeleteArgs) -> Result<()> {
    let DeleteArgs { host, forget, yes } = args;
    let forget = match forget {
        None => {
            confirm::ask(&yes, &format!("This deletes host {host}.")).await?;
            None
        }
        Some(Some(name)) => Some(name),
        Some(None) => {
            let what = format!(
                "This forgets host {host} with all its clusters and ends their leases. This cannot be undone."
            );
            Some(confirm::ask_name(&what, "its name: --forget NAME").await?)
        }
    };
    client.host_delete(&host, &HostForget { forget }).await?;
    output::note(format_args!("host {host} deleted"));
    Ok(())
}

/// Hosts, one per line.
fn table(hosts: &[Host]) -> String {
    let rows = hosts.iter().map(|host| {
        vec![
            host.name.clone(),
            host.platform.to_string(),
            host.state.to_string(),
            host.settings.capacity.to_string(),
            host.clusters.to_string(),
            host.offered.to_string(),
            host.leased.to_string(),
            yes(host.settings.schedulable),
            yes(host.settings.autofill),
            host.address.clone(),
            if host.reason.is_empty() {
                NONE.to_owned()
            } else {
                host.reason.clone()
            },
        ]
    });
    let head = [
        "NAME",
        "TYPE",
        "STATE",
        "CAPACITY",
        "CLUSTERS",
        "FREE",
        "LEASED",
        "SCHEDULABLE",
        "AUTOFILL",
        "ADDRESS",
        "REASON",
    ];
    output::table(&head, rows.collect())
}

#[expect(clippy::too_many_lines, reason = "one row per field")]
fn details(host: &Host) -> String {
    let state = if host.reason.is_empty() {
        host.state.to_string()
    } else {
        format!("{}: {}", host.state, host.reason)
    };
    let HostSettings {
        schedulable,
        autofill,
        capacity,
        memory_factor,
        disk_floor,
        fill,
        public_address,
        bind,
        ports: (first, last),
        subnets,
        log,
        mirror,
        images,
        insecure,
        storage_class,
    } = &host.settings;
    let mut text = output::fields(&[
        ("name", host.name.clone()),
        ("id", host.id.to_string()),
        ("type", host.platform.to_string()),
        (
            "address",
            format!("{}{}", host.address, if *insecure { " (insecure)" } else { "" }),
        ),
        ("engine", host.engine_id.clone()),
        ("state", format!("{state} (since {})", when(host.since))),
        (
            "clusters",
            format!(
                "{} of {capacity}: {} free, {} leased",
                host.clusters, host.offered, host.leased
            ),
        ),
        ("schedulable", yes(*schedulable)),
        ("autofill", yes(*autofill)),
        (
            "maintenance",
            host.maintenance_until
                .map_or_else(|| "no".to_owned(), |until| format!("until {}", when(until))),
        ),
        ("memory factor", memory_factor.to_string()),
        ("disk floor", format!("{disk_floor} %")),
        ("public address", public_address.clone()),
        ("bind", bind.to_string()),
        ("ports", format!("{first}-{last}")),
        ("subnets", subnets.to_string()),
        (
            "log",
            format!(
                "{} {} {}",
                log.kind,
                log.level,
                log.server.as_deref().unwrap_or_default()
            ),
        ),
        ("mirror", maybe(mirror.as_ref())),
        ("storage class", maybe(storage_class.as_ref())),
        ("operation", maybe(host.operation_id.as_ref())),
        ("registered", when(host.created_at)),
    ]);
    for (role, images) in images {
        let _infallible = write!(text, "\nimage {role}: {}", output::clean(&images.join(", ")));
    }
    if let Some(info) = &host.info {
        let disk = info
            .disk_free_bytes
            .map_or_else(|| "not checked".to_owned(), |free| format!("{} free", size(free)));
        let skew = info
            .skew_ms
            .map_or_else(|| "not checked".to_owned(), |skew| format!("{skew} ms"));
        let _infallible = write!(
            text,
            "\n\n{}",
            output::fields(&[
                (
                    "platform",
                    format!(
                        "{} (API {}), {}, {}",
                        info.version, info.api_version, info.architecture, info.storage_driver
                    )
                ),
                (
                    "machine",
                    format!(
                        "{} CPUs, {} memory, disk {disk}, clock skew {skew}",
                        info.cpus,
                        size(info.memory_bytes)
                    )
                ),
                ("checked", maybe_when(Some(info.checked_at))),
            ])
        );
    }
    let machines = host.info.iter().flat_map(|info| &info.machines).map(|machine| {
        let HostMachine {
            id: _,
            name,
            address,
            cpus,
            memory_bytes,
            closed,
        } = machine;
        vec![
            name.clone(),
            address.clone(),
            cpus.to_string(),
            size(*memory_bytes),
            maybe(closed.as_ref()),
        ]
    });
    let machines: Vec<_> = machines.collect();
    if !machines.is_empty() {
        let _infallible = write!(
            text,
            "\n\n{}",
            output::table(
                &["MACHINE", "ADDRESS", "CPUS", "MEMORY", "UNSCHEDULABLE"],
                machines
            )
        );
    }
    let fill = fill.iter().enumerate().map(|(place, fill)| {
        let Fill {
            network_type,
            preset,
            share,
            parameters,
        } = fill;
        let parameters = if parameters.is_empty() {
            NONE.to_owned()
        } else {
            serde_json::Value::Object(parameters.clone()).to_string()
        };
        vec![
            network_type.clone(),
            preset.clone(),
            share.to_string(),
            parameters,
            maybe(host.fill_paused.get(&place.to_string())),
        ]
    });
    let _infallible = write!(
        text,
        "\n\n{}",
        output::table(
            &["FILL", "PRESET", "SHARE", "PARAMETERS", "PAUSED"],
            fill.collect()
        )
    );
    text
}
