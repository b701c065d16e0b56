//! Choice of a host for a requested cluster.

use crate::{
    Error, Result,
    placement::{
        choose::{self, Candidate},
        room::{no_room, offers},
    },
    text::counted,
};
use chainpool_store::{HostRow, Tx};

/// Returns the named host, or the one with the most capacity left; refuses with the reasons if none fits.
pub(crate) async fn choose_host(tx: &Tx, host: Option<&str>, memory: u64) -> Result<HostRow> {
    let hosts = match host {
        Some(name) => vec![tx.host_named(name).await?.ok_or_else(|| {
            Error::field(
                "host",
                format!("host {name:?} does not exist; see chainpool host list"),
            )
        })?],
        None => tx.hosts().await?,
    };
    if hosts.is_empty() {
        return Err(Error::conflict(
            "no_host",
            "no host is registered; register one with chainpool host create",
        ));
    }
    let mut why = Vec::new();
    let mut candidates = Vec::new();
    for host in hosts {
        let usage = tx.host_usage(host.id).await?;
        let room = i64::from(host.settings.0.capacity) - usage.clusters;
        let full = no_room(&host, usage.memory_bytes, memory);
        if !offers(&host) {
            why.push(format!(
                "host {} is {}{}",
                host.name,
                host.state.0,
                if host.settings.0.schedulable {
                    ""
                } else {
                    " and not schedulable"
                }
            ));
            continue;
        }
        if room <= 0 {
            why.push(format!(
                "host {} is full with {} (raise its capacity or delete clusters)",
                host.name,
                counted(host.settings.0.capacity, "cluster")
            ));
        } else if let Some(full) = &full {
            why.push(full.clone());
        }
        candidates.push(Candidate {
            fits: full.is_none(),
            host,
            room,
        });
    }
    choose::host(candidates).ok_or_else(|| Error::conflict("no_room", why.join("; ")))
}
