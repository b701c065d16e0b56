//! The event watcher of each platform: a change triggers a check within milliseconds.

use chainpool_agent::Wake;
use chainpool_orchestrator::{Orchestrator, Result, SingleFlight, Watched};
use futures::StreamExt;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
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
                        let (assessor, watcher) = (
                            ClusterAssessor::new(orchestrator.clone(), tasks.clone(), token.clone()),
                            token.clone(),
                        );
                        tasks.spawn(async move {
                            watcher.run_until_cancelled(watch_always(assessor, host)).await
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
async fn watch_always(assessor: ClusterAssessor, host: Uuid) {
    let orchestrator = assessor.orchestrator.clone();
    while orchestrator
        .isolated(Watched::Events(host), watch(assessor.clone(), host))
        .await
        .is_none()
    {
        sleep(watch_interval(&orchestrator)).await;
    }
}

/// Watches one host while it exists; reopens a lost stream.
async fn watch(assessor: ClusterAssessor, host: Uuid) {
    let orchestrator = assessor.orchestrator.clone();
    loop {
        match orchestrator.host_watch(host).await {
            Ok(None) => return,
            Ok(Some(mut wakes)) => {
                let mut open = false;
                while let Some(wake) = wakes.next().await {
                    // If the stream never opened, no event is known to be missed.
                    open |= !matches!(wake, Wake::Lost(_));
                    handle(&orchestrator, &assessor, host, wake, open).await;
                }
            }
            Err(error) => report(&Err(error), "a host could not be watched"),
        }
        sleep(watch_interval(&orchestrator)).await;
    }
}

/// Handles an event of a host's platform. `open`: the stream is open, or was.
async fn handle(orchestrator: &Orchestrator, assessor: &ClusterAssessor, host: Uuid, wake: Wake, open: bool) {
    match wake {
        // This assesses every cluster on the host; events received meanwhile must not wait for it.
        Wake::Connected => {
            let (orchestrator, watcher) = (orchestrator.clone(), assessor.watcher.clone());
            let assessment = async move {
                report(
                    &orchestrator.host_events_interrupted(host).await,
                    "a host could not be assessed",
                );
            };
            assessor
                .tasks
                .spawn(async move { watcher.run_until_cancelled(assessment).await });
        }
        Wake::Changed(cluster) => assessor.assess(cluster.0),
        Wake::Died { cluster, node, code } => {
            let orchestrator = orchestrator.clone();
            assessor.tasks.spawn(async move {
                report(
                    &orchestrator.node_died(cluster, &node, code).await,
                    "a cluster could not be assessed",
                );
            });
        }
        Wake::Lost(reason) => {
            tracing::debug!(%host, reason, "the event stream of a host ended");
            let outcome = if open {
                orchestrator.host_events_interrupted(host).await
            } else {
                orchestrator.host_assess(host).await
            };
            report(&outcome, "a host could not be assessed");
        }
    }
}

fn report(outcome: &Result<()>, what: &str) {
    if let Err(error) = outcome {
        tracing::error!(%error, cause = ?error, "{what}");
    }
}

/// Assesses changed clusters; a burst of changes costs one more assessment, not one for each change.
#[derive(Clone)]
struct ClusterAssessor {
    orchestrator: Orchestrator,
    /// Running assessments; they end before the watchdog does.
    tasks: TaskTracker,
    /// Cancelled when the host is no longer watched.
    watcher: CancellationToken,
    flights: Arc<SingleFlight>,
}

impl ClusterAssessor {
    fn new(orchestrator: Orchestrator, tasks: TaskTracker, watcher: CancellationToken) -> Self {
        Self {
            orchestrator,
            tasks,
            watcher,
            flights: Arc::default(),
        }
    }

    fn assess(&self, cluster: Uuid) {
        let this = self.clone();
        self.tasks.spawn(async move {
            let Some(mut flight) = this.flights.begin(cluster) else {
                return;
            };
            loop {
                report(
                    &this.orchestrator.cluster_assess(cluster, true).await,
                    "a cluster could not be assessed",
                );
                if flight.end() {
                    return;
                }
            }
        });
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
