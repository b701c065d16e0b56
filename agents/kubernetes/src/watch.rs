//! What the API server tells of our pods and stateful sets, as wake-ups.

use crate::{apply::labels_of, life::Life, observe::Filter, server::Server};
use chainpool_agent::{InstanceId, LABEL_JOB, Labels, Wake, WakeStream};
use futures::{Stream, StreamExt, future, stream};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    runtime::watcher::{self, Config, Event},
};
use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
};

/// Opens the watches at the stream's first poll.
pub(crate) fn watch(server: Arc<Server>, instance: InstanceId) -> WakeStream {
    stream::once(async move {
        match open(&server, instance) {
            Ok(watch) => stream::unfold(watch, async |mut watch| {
                watch.next().await.map(|wake| (wake, watch))
            })
            .boxed(),
            Err(e) => stream::once(future::ready(Wake::Lost(e.to_string()))).boxed(),
        }
    })
    .flatten()
    .boxed()
}

fn open(server: &Arc<Server>, instance: InstanceId) -> chainpool_agent::Result<Watch> {
    let (pods, sets): (Api<Pod>, Api<StatefulSet>) = (server.all()?, server.all()?);
    let config = Config::default().labels(Filter::instance(instance).as_str());
    let pods = watcher::watcher(pods, config.clone()).map(|event| event.map(Told::Pod));
    let sets = watcher::watcher(sets, config).map(|event| event.map(Told::Set));
    let told = stream::select(pods, sets).boxed();
    Ok(Watch {
        server: server.clone(),
        told,
        unlisted: 2,
        ends: HashMap::new(),
        queue: VecDeque::new(),
        over: false,
    })
}

/// One event of either watch.
enum Told {
    Pod(Event<Pod>),
    Set(Event<StatefulSet>),
}

/// Both watches, being read.
struct Watch {
    server: Arc<Server>,
    told: Pin<Box<dyn Stream<Item = watcher::Result<Told>> + Send>>,
    /// How many watches have not listed yet what is there. A watch's first word is said before the server was reached;
    /// only a finished listing proves that it tells.
    unlisted: u8,
    /// The last end that was seen of each pod's process, by the pod's uid.
    ends: HashMap<String, String>,
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
            match self.told.next().await {
                Some(Ok(told)) => self.take(told),
                Some(Err(e)) => self.lose(
                    self.server
                        .watch_fault(e)
                        .into_error("go on telling what happens")
                        .to_string(),
                ),
                None => self.lose(format!("{} stopped telling", self.server.address())),
            }
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Pod(Event::InitApply(pod)) => {
                // It ended before we listened: nobody is told of it, and nobody twice.
                self.note_end(&pod);
            }
            Told::Pod(Event::Apply(pod)) => self.pod_changed(&pod),
            Told::Pod(Event::Delete(pod)) => {
                self.pod_changed(&pod);
                self.ends.remove(&pod.uid().unwrap_or_default());
            }
            Told::Set(Event::Apply(set) | Event::Delete(set)) => {
                if let Some(Labels { cluster, .. }) = labels_of(&set) {
                    self.queue.push_back(Wake::Changed(cluster));
                }
            }
            Told::Pod(Event::InitDone) | Told::Set(Event::InitDone) => self.listed(),
            // A watch that must list anew has a gap: what changed in it is looked up after another `Connected`.
            Told::Pod(Event::Init) | Told::Set(Event::Init | Event::InitApply(_)) => {}
        }
    }

    fn listed(&mut self) {
        self.unlisted = self.unlisted.saturating_sub(1);
        if self.unlisted == 0 {
            self.queue.push_back(Wake::Connected);
        }
    }

    fn pod_changed(&mut self, pod: &Pod) {
        // A pod whose labels cannot be read wakes nobody: the full pass sees it.
        let Some(Labels { cluster, node, .. }) = labels_of(pod) else {
            return;
        };
        let is_node = !pod.labels().contains_key(LABEL_JOB);
        if let (Some(code), Some(node)) = (self.note_end(pod), node.filter(|_| is_node)) {
            self.queue.push_back(Wake::Died { cluster, node, code });
        }
        self.queue.push_back(Wake::Changed(cluster));
    }

    /// Keeps the end of a pod's process; its code when it is a new one.
    fn note_end(&mut self, pod: &Pod) -> Option<i64> {
        let ended = Life::of(pod).ended()?;
        let container = ended.container_id.clone().unwrap_or_default();
        let before = self.ends.insert(pod.uid().unwrap_or_default(), container.clone());
        (before.as_ref() != Some(&container)).then_some(ended.exit_code.into())
    }

    fn lose(&mut self, reason: String) {
        self.over = true;
        self.queue.push_back(Wake::Lost(reason));
    }
}
