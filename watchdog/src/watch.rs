//! The event watcher of each platform: a change triggers a check within milliseconds.

use chainpool_agent::Wake;
use chainpool_orchestrator::{Orchestrator, Watched};
use futures::StreamExt;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// Watches all hosts, including new ones and excluding deleted ones, until stopped.
pub(crate) async fn hosts(orchestrator: &Orchestrator, stop: &CancellationToken) {
    let interval = watch_interval(orchestrator);
    let mut watchers: HashMap<Uuid, CancellationToken> = HashMap::new();
    let tasks = TaskTracker::new();
    loop {
        match orchestrator.hosts_to_watch().await {
            Ok(hosts) => {
                let hosts: HashSet<Uuid> = hosts.into_iter().collect();
                watchers.retain(|host, watcher| {
                    hosts.contains(host) || {
                        watcher.cancel();
                        false
                    }
                });
                for host in hosts {
                    watchers.entry(host).or_insert_with(|| {
                        let token = stop.child_token();
                        let (orchestrator, watcher) = (orchestrator.clone(), token.clone());
                        tasks.spawn(async move {
                            watcher
                                .run_until_cancelled(watch_always(&orchestrator, host))
                                .await
                        });
                        token
                    });
                }
            }
            Err(error) => tracing::error!(%error, cause = ?error, "the hosts to watch could not be read"),
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(interval) => {}
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// The delay before a lost stream is reopened, and the interval at which the hosts are read.
fn watch_interval(orchestrator: &Orchestrator) -> Duration {
    orchestrator.health_policy().assessment.watch_interval
}

/// Continues watching after a panic: otherwise the host would be unwatched until the next full pass.
async fn watch_always(orchestrator: &Orchestrator, host: Uuid) {
    while orchestrator
        .isolated(Watched::Events(host), watch(orchestrator, host))
        .await
        .is_none()
    {
        sleep(watch_interval(orchestrator)).await;
    }
}

/// Watches one host while it exists; reopens a lost stream.
async fn watch(orchestrator: &Orchestrator, host: Uuid) {
    loop {
        match orchestrator.host_watch(host).await {
            Ok(None) => return,
            Ok(Some(mut wakes)) => {
                let mut open = false;
                while let Some(wake) = wakes.next().await {
                    // If the stream never opened, no event is known to be missed.
                    open |= !matches!(wake, Wake::Lost(_));
                    handle(orchestrator, host, wake, open);
                }
            }
            Err(error) => {
                tracing::error!(%error, cause = ?error, "a host could not be watched");
            }
        }
        sleep(watch_interval(orchestrator)).await;
    }
}

/// Handles an event of a host's platform. `open`: the stream is open, or was.
fn handle(orchestrator: &Orchestrator, host: Uuid, wake: Wake, open: bool) {
    match wake {
        Wake::Connected => orchestrator.host_events_interrupted(host),
        Wake::Changed(cluster) => orchestrator.cluster_changed(cluster.0),
        Wake::Died { cluster, node, code } => orchestrator.node_died(cluster, &node, code),
        Wake::Lost(reason) => {
            tracing::debug!(%host, reason, "the event stream of a host ended");
            if open {
                orchestrator.host_events_interrupted(host);
            } else {
                orchestrator.host_changed(host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bed::Bed;
    use chainpool_agent_memory::{Fault, Verb};

    #[tokio::test]
    async fn a_host_is_watched_again_after_a_panic_and_the_others_without_interruption() {
        let bed = Bed::start().await;
        let [first, second] = &bed.worlds;
        first.next(Verb::Watch, Fault::Panic);
        let stop = CancellationToken::new();
        let watching = tokio::spawn({
            let (orchestrator, stop) = (bed.orchestrator.clone(), stop.clone());
            async move { hosts(&orchestrator, &stop).await }
        });
        bed.until("both are watched", async || {
            first.calls(Verb::Watch) == 2 && second.calls(Verb::Watch) == 1
        })
        .await;
        let problems = bed.crashes().await;
        assert!(
            problems.len() == 1 && problems[0].starts_with("watching the events of host h1 crashed at"),
            "{problems:?}"
        );
        stop.cancel();
        watching.await.unwrap();
        bed.orchestrator.stop().await;
    }
}
