//! Chainpool that kills itself at one commit of its journal: `crash-child FOLDER SCENARIO POINT
//! before|after`.
//!
//! POINT counts the commits from the moment the change is requested. If the change ends first, the program
//! prints the number of commits and exits with status 0.

use anyhow::{Context, Result, bail};
use chainpool_api as api;
use chainpool_orchestrator::{Caller, CommitHook, Config, Orchestrator};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

static ARMED: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .context("usage: crash-child FOLDER SCENARIO POINT before|after")
    };
    let (folder, scenario, point, when) = (
        PathBuf::from(next()?),
        next()?,
        next()?.parse::<usize>()?,
        next()?,
    );
    // No other code has installed a provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    let after = when == "after";
    let hook: CommitHook = Arc::new(move |name, committed| {
        if !ARMED.load(Ordering::SeqCst) {
            return;
        }
        let reached = if committed {
            COUNT.load(Ordering::SeqCst)
        } else {
            COUNT.fetch_add(1, Ordering::SeqCst) + 1
        };
        if reached == point && committed == after {
            eprintln!("killed {when} {name}");
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .expect("a process may kill itself");
        }
    });
    let orchestrator = Orchestrator::start(Config {
        hook: Some(hook),
        ..Config::new(folder, chainpool_tests::platforms())
    })
    .await?;
    let caller = Caller {
        account_id: uuid::Uuid::nil(),
        account: "admin".into(),
        role: api::Role::Admin,
        lease_any: true,
        credential: None,
        request_id: None,
        key: None,
    };
    let operation = change(&orchestrator, &caller, &scenario).await?;
    loop {
        let now = orchestrator.operation_show(&caller, operation).await?;
        if now.state.is_over() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    ARMED.store(false, Ordering::SeqCst);
    println!("{}", COUNT.load(Ordering::SeqCst));
    orchestrator.stop().await;
    Ok(())
}

async fn change(orchestrator: &Orchestrator, caller: &Caller, scenario: &str) -> Result<uuid::Uuid> {
    let arm = || ARMED.store(true, Ordering::SeqCst);
    Ok(match scenario {
        "create" => {
            arm();
            let new = api::ClusterCreate {
                name: Some("one".into()),
                ..api::ClusterCreate::default()
            };
            orchestrator
                .cluster_create(
                    caller,
                    api::ClusterCreate {
                        preset: Some("single".into()),
                        ..new
                    },
                )
                .await?
                .id
        }
        "fabric" => {
            arm();
            let chaincodes = serde_json::json!([chainpool_tests::CHAINCODE]);
            let new = api::ClusterCreate {
                network_type: Some("fabric".into()),
                preset: Some("tiny".into()),
                ..api::ClusterCreate::default()
            };
            let parameters = [("chaincodes".to_owned(), chaincodes)].into_iter().collect();
            orchestrator
                .cluster_create(caller, api::ClusterCreate { parameters, ..new })
                .await?
                .id
        }
        "amend" => {
            arm();
            let parameters = [("organisations".to_owned(), serde_json::json!(2))]
                .into_iter()
                .collect();
            orchestrator
                .cluster_amend(
                    caller,
                    "one",
                    api::ClusterAmend {
                        parameters,
                        renew_certificates: false,
                    },
                )
                .await?
                .id
        }
        "reset" => {
            arm();
            orchestrator.cluster_reset(caller, "one", false).await?.id
        }
        "release" => {
            let leases = orchestrator
                .lease_list(
                    caller,
                    &api::LeaseFilter {
                        state: Some(api::LeaseState::Active),
                        ..api::LeaseFilter::default()
                    },
                )
                .await?;
            let lease = leases.items.first().context("there is a lease")?.id;
            arm();
            orchestrator
                .lease_release(caller, lease)
                .await?
                .operation_id
                .context("a release starts a reset")?
        }
        "fillup" => {
            arm();
            orchestrator.host_fillup(caller, "h1").await?.id
        }
        "delete" => {
            arm();
            orchestrator.cluster_delete(caller, "one", false).await?.id
        }
        other => bail!("unknown scenario {other:?}"),
    })
}
