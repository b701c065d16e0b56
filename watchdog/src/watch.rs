//! The ear at each platform: a change there is looked at within milliseconds.

use chainpool_agent::Wake;
use chainpool_orchestrator::{Looks, Orchestrator, Result, Watched};
use futures::StreamExt;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// How long to wait before a lost stream is opened again, and how often the set of hosts is read.
const PERIOD: Duration = Duration::from_secs(1);

/// Listens to all hosts, those that come and not those that go, until told to stop.
pub(crate) async fn hosts(orchestrator: &Orchestrator, stop: &CancellationToken) {
    let mut ears: HashMap<Uuid, CancellationToken> = HashMap::new();
    let tasks = TaskTracker::new();
    loop {
        match orchestrator.hosts_to_watch().await {
            Ok(hosts) => {
                let hosts: HashSet<Uuid> = hosts.into_iter().collect();
                ears.retain(|host, ear| {
                    hosts.contains(host) || {
                        ear.cancel();
                        false
                    }
                });
                for host in hosts {
                    ears.entry(host).or_insert_with(|| {
                        let token = stop.child_token();
                        let (judges, ear) = (
                            Judges::new(orchestrator.clone(), tasks.clone(), token.clone()),
                            token.clone(),
                        );
                        tasks
                            .spawn(async move { ear.run_until_cancelled(listen_always(judges, host)).await });
                        token
                    });
                }
            }
            Err(error) => tracing::error!(%error, cause = ?error, "the hosts to watch could not be read"),
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(PERIOD) => {}
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// Listens on after a panic: until the next full pass nobody else would look at the host.
async fn listen_always(judges: Judges, host: Uuid) {
    let orchestrator = judges.orchestrator.clone();
    while orchestrator
        .isolated(Watched::Events(host), listen(judges.clone(), host))
        .await
        .is_none()
    {
        sleep(PERIOD).await;
    }
}

/// Listens to one host for as long as it exists; a lost stream is opened again.
async fn listen(judges: Judges, host: Uuid) {
    let orchestrator = judges.orchestrator.clone();
    loop {
        match orchestrator.host_watch(host).await {
            Ok(None) => return,
            Ok(Some(mut wakes)) => {
                let mut open = false;
                while let Some(wake) = wakes.next().await {
                    // Where a stream is never opened, nothing is known to have been missed.
                    open |= !matches!(wake, Wake::Lost(_));
                    hear(&orchestrator, &judges, host, wake, open).await;
                }
            }
            Err(error) => report(&Err(error), "a host could not be watched"),
        }
        sleep(PERIOD).await;
    }
}

/// Acts on what a host's platform told over a stream that is, or was, open.
async fn hear(orchestrator: &Orchestrator, judges: &Judges, host: Uuid, wake: Wake, open: bool) {
    match wake {
        // It judges every cluster there: what the platform tells meanwhile must not wait to be heard.
        Wake::Connected => {
            let (orchestrator, ear) = (orchestrator.clone(), judges.ear.clone());
            let looked = async move {
                report(
                    &orchestrator.host_unheard(host).await,
                    "a host could not be judged",
                )
            };
            judges
                .tasks
                .spawn(async move { ear.run_until_cancelled(looked).await });
        }
        Wake::Changed(cluster) => judges.look(cluster.0),
        Wake::Died { cluster, node, code } => {
            let orchestrator = orchestrator.clone();
            judges.tasks.spawn(async move {
                report(
                    &orchestrator.node_died(cluster, &node, code).await,
                    "a cluster could not be judged",
                )
            });
        }
        Wake::Lost(reason) => {
            tracing::debug!(%host, reason, "a host stopped telling of changes");
            let outcome = if open {
                orchestrator.host_unheard(host).await
            } else {
                orchestrator.host_judge(host).await
            };
            report(&outcome, "a host could not be judged");
        }
    }
}

fn report(outcome: &Result<()>, what: &str) {
    if let Err(error) = outcome {
        tracing::error!(%error, cause = ?error, "{what}");
    }
}

/// Judges clusters that changed; a burst of changes costs one look more, not one each.
#[derive(Clone)]
struct Judges {
    orchestrator: Orchestrator,
    /// Judgements under way; they end before the watchdog does.
    tasks: TaskTracker,
    /// Cancelled when nobody listens to the host any more.
    ear: CancellationToken,
    looks: Arc<Looks>,
}

impl Judges {
    fn new(orchestrator: Orchestrator, tasks: TaskTracker, ear: CancellationToken) -> Self {
        Self {
            orchestrator,
            tasks,
            ear,
            looks: Arc::default(),
        }
    }

    fn look(&self, cluster: Uuid) {
        let this = self.clone();
        self.tasks.spawn(async move {
            let Some(mut looking) = this.looks.begin(cluster) else {
                return;
            };
            loop {
                report(
                    &this.orchestrator.cluster_judge(cluster, true).await,
                    "a cluster could not be judged",
                );
                if looking.end() {
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
    async fn a_host_is_listened_to_again_after_a_panic_and_the_others_all_along() {
        let bed = Bed::start().await;
        let [first, second] = &bed.worlds;
        first.next(Verb::Watch, Fault::Panic);
        let stop = CancellationToken::new();
        let listening = tokio::spawn({
            let (orchestrator, stop) = (bed.orchestrator.clone(), stop.clone());
            async move { hosts(&orchestrator, &stop).await }
        });
        bed.until("both are listened to", async || {
            first.calls(Verb::Watch) == 2 && second.calls(Verb::Watch) == 1
        })
        .await;
        let said = bed.crashes().await;
        assert!(
            said.len() == 1 && said[0].starts_with("listening to the events of host h1 crashed at"),
            "{said:?}"
        );
        stop.cancel();
        listening.await.unwrap();
        bed.orchestrator.stop().await;
    }
}
