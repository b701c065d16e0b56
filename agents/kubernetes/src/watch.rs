//! Watches of our pods and stateful sets, as wake-ups.

use crate::{apply::labels_of, filter::selector, pod_status::PodStatus, server::Server};
use chainpool_agent::{InstanceId, LABEL_JOB, LabelFilter, Labels, Wake, WakeStream};
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

/// Opens the watches at the first poll of the stream.
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
    let config = Config::default().labels(&selector(&LabelFilter::instance(instance)));
    let pods = watcher::watcher(pods, config.clone()).map(|event| event.map(WatchEvent::Pod));
    let sets = watcher::watcher(sets, config).map(|event| event.map(WatchEvent::Set));
    let events = stream::select(pods, sets).boxed();
    Ok(Watch {
        server: server.clone(),
        events,
        pending_lists: 2,
        terminations: HashMap::new(),
        queue: VecDeque::new(),
        lost: false,
    })
}

/// An event of either watch.
enum WatchEvent {
    Pod(Event<Pod>),
    Set(Event<StatefulSet>),
}

/// State of both watches.
struct Watch {
    server: Arc<Server>,
    events: Pin<Box<dyn Stream<Item = watcher::Result<WatchEvent>> + Send>>,
    /// The number of watches without a complete initial list. Their first event comes before the server is
    /// reached; only a complete list proves that the watch works.
    pending_lists: u8,
    /// The last terminated container of each pod, by the pod's uid.
    terminations: HashMap<String, String>,
    queue: VecDeque<Wake>,
    lost: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Wake> {
        loop {
            if let Some(wake) = self.queue.pop_front() {
                return Some(wake);
            }
            if self.lost {
                return None;
            }
            match self.events.next().await {
                Some(Ok(event)) => self.handle(event),
                Some(Err(e)) => self.report_lost(
                    self.server
                        .watch_error(e)
                        .into_error("watch pods and stateful sets")
                        .to_string(),
                ),
                None => self.report_lost(format!("{} closed the watch", self.server.address())),
            }
        }
    }

    fn handle(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Pod(Event::InitApply(pod)) => {
                // A termination before the watch: not reported now, and not again later.
                self.record_termination(&pod);
            }
            WatchEvent::Pod(Event::Apply(pod)) => self.pod_changed(&pod),
            WatchEvent::Pod(Event::Delete(pod)) => {
                self.pod_changed(&pod);
                self.terminations.remove(&pod.uid().unwrap_or_default());
            }
            WatchEvent::Set(Event::Apply(set) | Event::Delete(set)) => {
                if let Some(Labels { cluster, .. }) = labels_of(&set) {
                    self.queue.push_back(Wake::Changed(cluster));
                }
            }
            WatchEvent::Pod(Event::InitDone) | WatchEvent::Set(Event::InitDone) => self.listed(),
            // A watch that lists again has a gap: its changes are observed after another `Connected`.
            WatchEvent::Pod(Event::Init) | WatchEvent::Set(Event::Init | Event::InitApply(_)) => {}
        }
    }

    fn listed(&mut self) {
        self.pending_lists = self.pending_lists.saturating_sub(1);
        if self.pending_lists == 0 {
            self.queue.push_back(Wake::Connected);
        }
    }

    fn pod_changed(&mut self, pod: &Pod) {
        // A pod with invalid labels causes no wake-up: the full pass observes it.
        let Some(Labels { cluster, node, .. }) = labels_of(pod) else {
            return;
        };
        let is_node = !pod.labels().contains_key(LABEL_JOB);
        if let (Some(code), Some(node)) = (self.record_termination(pod), node.filter(|_| is_node)) {
            self.queue.push_back(Wake::Died { cluster, node, code });
        }
        self.queue.push_back(Wake::Changed(cluster));
    }

    /// Records the last termination of a pod's process. Returns its exit code if it is new.
    fn record_termination(&mut self, pod: &Pod) -> Option<i64> {
        let terminated = PodStatus::of(pod).termination()?;
        let container = terminated.container_id.clone().unwrap_or_default();
        let previous = self
            .terminations
            .insert(pod.uid().unwrap_or_default(), container.clone());
        (previous.as_ref() != Some(&container)).then_some(terminated.exit_code.into())
    }

    fn report_lost(&mut self, reason: String) {
        self.lost = true;
        self.queue.push_back(Wake::Lost(reason));
    }
}
