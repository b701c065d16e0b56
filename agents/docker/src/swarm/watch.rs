//! Changes in the swarm, as wake-ups.
//!
//! A swarm's event stream has no tasks, and only the containers of the manager's own machine. So the task
//! list is polled each second, too, and compared. When the manager changes, the stream ends and the caller
//! opens another.

use super::{
    manager::Swarm,
    task::{Progress, Task},
};
use crate::events;
use chainpool_agent::{ClusterId, Error, LabelFilter, Wake, WakeStream};
use futures::{FutureExt, StreamExt, future, stream};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Poll interval of the tasks.
const TICK: Duration = Duration::from_secs(1);

/// Opens the stream at its first poll.
pub(super) fn watch(swarm: Arc<Swarm>) -> WakeStream {
    stream::once(open(swarm)).flatten().boxed()
}

async fn open(swarm: Arc<Swarm>) -> WakeStream {
    let tasks = match list_tasks(&swarm).await {
        Ok(tasks) => tasks,
        Err(error) => return stream::once(future::ready(Wake::Lost(error.to_string()))).boxed(),
    };
    let member = swarm.member();
    let agent = &swarm.members()[member];
    let events = events::watch(agent.engine.clone(), agent.instance);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watch = Watch {
        swarm,
        member,
        events,
        ticks,
        tasks,
        reported: BTreeSet::new(),
        queue: VecDeque::new(),
        ended: false,
    };
    stream::unfold(watch, |mut watch| {
        async move { watch.next().await.map(|wake| (wake, watch)) }.boxed()
    })
    .boxed()
}

/// Our tasks by id.
type Tasks = HashMap<String, Task>;

async fn list_tasks(swarm: &Swarm) -> Result<Tasks, Error> {
    let tasks = swarm
        .through(|manager| async move {
            manager
                .tasks(&LabelFilter::instance(manager.agent.instance))
                .await
        })
        .await?;
    Ok(tasks
        .into_iter()
        .filter(|task| !task.part)
        .map(|task| (task.id.clone(), task))
        .collect())
}

struct Watch {
    swarm: Arc<Swarm>,
    /// The manager whose events are read.
    member: usize,
    events: WakeStream,
    ticks: Interval,
    tasks: Tasks,
    /// Clusters with an exit reported by the event stream since the last poll.
    reported: BTreeSet<ClusterId>,
    queue: VecDeque<Wake>,
    ended: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Wake> {
        loop {
            if let Some(wake) = self.queue.pop_front() {
                return Some(wake);
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                biased;
                wake = self.events.next() => self.take(wake),
                _ = self.ticks.tick() => self.compare().await,
            }
        }
    }

    fn take(&mut self, wake: Option<Wake>) {
        match wake {
            Some(wake) => {
                if let Wake::Died { cluster, .. } = &wake {
                    self.reported.insert(*cluster);
                }
                self.ended = matches!(wake, Wake::Lost(_));
                self.queue.push_back(wake);
            }
            None => self.ended = true,
        }
    }

    async fn compare(&mut self) {
        let now = match list_tasks(&self.swarm).await {
            Ok(now) => now,
            Err(error) => return self.lose(error.to_string()),
        };
        let reported = std::mem::take(&mut self.reported);
        self.queue.extend(wakes(&self.tasks, &now, &reported));
        self.tasks = now;
        if self.swarm.member() != self.member {
            let address = self.swarm.members()[self.member].engine.address().to_string();
            self.lose(format!("{address} is unresponsive: switched to another manager"));
        }
    }

    fn lose(&mut self, reason: String) {
        self.ended = true;
        self.queue.push_back(Wake::Lost(reason));
    }
}

/// The changes of tasks between two polls.
fn wakes(before: &Tasks, now: &Tasks, reported: &BTreeSet<ClusterId>) -> Vec<Wake> {
    let mut wakes = Vec::new();
    let mut changed = BTreeSet::new();
    for (id, task) in now {
        let was = before.get(id);
        if was.is_some_and(|was| was.state == task.state && was.stopping == task.stopping) {
            continue;
        }
        let cluster = task.labels.cluster;
        changed.insert(cluster);
        let ran = !task.job && was.is_some_and(Task::runs);
        if let (true, Progress::Exited(code), Some(node)) = (
            ran && !reported.contains(&cluster),
            task.progress(),
            &task.labels.node,
        ) {
            wakes.push(Wake::Died {
                cluster,
                node: node.clone(),
                code,
            });
        }
    }
    changed.extend(
        before
            .iter()
            .filter(|(id, _)| !now.contains_key(*id))
            .map(|(_, task)| task.labels.cluster),
    );
    wakes.extend(changed.into_iter().map(Wake::Changed));
    wakes
}
