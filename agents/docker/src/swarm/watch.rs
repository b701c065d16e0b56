//! What happens in the swarm, as wake-ups.
//!
//! A swarm's event stream carries no tasks, and of containers only those of the manager's own machine. So beside that stream
//! the list of tasks is read each second and compared. When the manager changes, the stream ends and is opened anew.

use super::{
    manager::Swarm,
    task::{Course, Task},
};
use crate::{events, observe::Filter};
use bollard::models::TaskState;
use chainpool_agent::{ClusterId, Error, Wake, WakeStream};
use futures::{FutureExt, StreamExt, future, stream};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often the tasks are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Opens the stream at its first poll.
pub(super) fn watch(swarm: Arc<Swarm>) -> WakeStream {
    stream::once(open(swarm)).flatten().boxed()
}

async fn open(swarm: Arc<Swarm>) -> WakeStream {
    let seen = match look(&swarm).await {
        Ok(seen) => seen,
        Err(error) => return stream::once(future::ready(Wake::Lost(error.to_string()))).boxed(),
    };
    let member = swarm.member();
    let hands = &swarm.members()[member];
    let events = events::watch(hands.engine.clone(), hands.instance);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watch = Watch {
        swarm,
        member,
        events,
        ticks,
        seen,
        told: BTreeSet::new(),
        queue: VecDeque::new(),
        over: false,
    };
    stream::unfold(watch, |mut watch| {
        async move { watch.next().await.map(|wake| (wake, watch)) }.boxed()
    })
    .boxed()
}

/// All tasks of ours, by id.
type Tasks = HashMap<String, Task>;

async fn look(swarm: &Swarm) -> Result<Tasks, Error> {
    let tasks = swarm
        .through(|manager| async move { manager.tasks(&Filter::instance(manager.hands.instance)).await })
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
    seen: Tasks,
    /// Clusters that the event stream has told of a death in, since the last look at the tasks.
    told: BTreeSet<ClusterId>,
    queue: VecDeque<Wake>,
    over: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Wake> {
        loop {
            if let Some(wake) = self.queue.pop_front() {
                return Some(wake);
            }
            if self.over {
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
                    self.told.insert(*cluster);
                }
                self.over = matches!(wake, Wake::Lost(_));
                self.queue.push_back(wake);
            }
            None => self.over = true,
        }
    }

    async fn compare(&mut self) {
        let now = match look(&self.swarm).await {
            Ok(now) => now,
            Err(error) => return self.lose(error.to_string()),
        };
        let told = std::mem::take(&mut self.told);
        self.queue.extend(wakes(&self.seen, &now, &told));
        self.seen = now;
        if self.swarm.member() != self.member {
            let address = self.swarm.members()[self.member].engine.address().to_string();
            self.lose(format!(
                "{address} fell silent: another manager is used from here on"
            ));
        }
    }

    fn lose(&mut self, reason: String) {
        self.over = true;
        self.queue.push_back(Wake::Lost(reason));
    }
}

/// What became of the tasks between two looks.
fn wakes(before: &Tasks, now: &Tasks, told: &BTreeSet<ClusterId>) -> Vec<Wake> {
    let mut wakes = Vec::new();
    let mut changed = BTreeSet::new();
    for (id, task) in now {
        let was = before.get(id);
        if was.is_some_and(|was| was.state == task.state && was.ending == task.ending) {
            continue;
        }
        let cluster = task.labels.cluster;
        changed.insert(cluster);
        let ran = !task.job && was.is_some_and(|was| was.state == TaskState::RUNNING);
        if let (true, Course::Ended(code), Some(node)) =
            (ran && !told.contains(&cluster), task.course(), &task.labels.node)
        {
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
