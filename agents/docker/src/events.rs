//! The engine's event stream, as wake-ups.

use crate::{engine::Engine, filter::as_map, transport::Flow};
use bollard::{errors::Error as Bollard, models::EventMessage, query_parameters::EventsOptionsBuilder};
use chainpool_agent::{InstanceId, LABEL_JOB, LabelFilter, Labels, Wake, WakeStream};
use futures::{Stream, StreamExt, future, stream};
use std::{collections::VecDeque, sync::Arc};

/// Container events that count as changes; `exec` does not. An engine reports a `health_status` only when it changes.
const ACTIONS: [&str; 9] = [
    "start",
    "die",
    "stop",
    "kill",
    "pause",
    "unpause",
    "oom",
    "destroy",
    "health_status",
];

/// Opens the stream at its first poll.
pub(crate) fn watch(engine: Arc<Engine>, instance: InstanceId) -> WakeStream {
    stream::once(open(engine, instance)).flatten().boxed()
}

async fn open(engine: Arc<Engine>, instance: InstanceId) -> WakeStream {
    let (docker, flow) = match engine.docker_streaming().await {
        Ok(streaming) => streaming,
        Err(e) => return stream::once(future::ready(Wake::Lost(e.to_string()))).boxed(),
    };
    let mut filters = as_map(&LabelFilter::instance(instance));
    filters.insert("type", vec!["container".to_owned()]);
    filters.insert("event", ACTIONS.map(str::to_owned).to_vec());
    let events = flow
        .clone()
        .through(docker.events(Some(EventsOptionsBuilder::default().filters(&filters).build())));
    let watch = Watch {
        engine,
        events: Box::pin(events),
        opening: Some(flow),
        queue: VecDeque::new(),
        over: false,
    };
    stream::unfold(watch, async |mut watch| {
        watch.next().await.map(|wake| (wake, watch))
    })
    .boxed()
}

/// An open event stream.
struct Watch<S> {
    engine: Arc<Engine>,
    events: S,
    /// Notified when the engine opens the stream; `None` after Connected was sent.
    opening: Option<Arc<Flow>>,
    queue: VecDeque<Wake>,
    over: bool,
}

impl<S: Stream<Item = Result<EventMessage, Bollard>> + Unpin> Watch<S> {
    async fn next(&mut self) -> Option<Wake> {
        loop {
            if let Some(wake) = self.queue.pop_front() {
                return Some(wake);
            }
            if self.over {
                return None;
            }
            let item = match &self.opening {
                Some(flow) => tokio::select! {
                    biased;
                    () = flow.opened.notified() => {
                        self.opening = None;
                        return Some(Wake::Connected);
                    }
                    item = self.events.next() => item,
                },
                None => self.events.next().await,
            };
            self.take(item);
        }
    }

    fn take(&mut self, item: Option<Result<EventMessage, Bollard>>) {
        match item {
            Some(Ok(event)) => {
                if self.opening.take().is_some() {
                    self.queue.push_back(Wake::Connected);
                }
                self.queue.extend(wakes(event));
            }
            Some(Err(e)) => self.lose(
                &self
                    .engine
                    .call_error(e)
                    .into_error("continue its event stream")
                    .to_string(),
            ),
            None => self.lose(&format!("{} closed its event stream", self.engine.address())),
        }
    }

    fn lose(&mut self, reason: &str) {
        self.over = true;
        self.queue.push_back(Wake::Lost(reason.to_owned()));
    }
}

/// The wakes of one event. An event without readable labels has none: the full listing covers it.
fn wakes(event: EventMessage) -> Vec<Wake> {
    let attributes = event.actor.and_then(|a| a.attributes).unwrap_or_default();
    let Some(Labels { cluster, node, .. }) = Labels::from_map(&attributes) else {
        return Vec::new();
    };
    let changed = Wake::Changed(cluster);
    if event.action.as_deref() != Some("die") || attributes.contains_key(LABEL_JOB) {
        return vec![changed];
    }
    let code = attributes.get("exitCode").and_then(|code| code.parse().ok());
    match (node, code) {
        (Some(node), Some(code)) => vec![Wake::Died { cluster, node, code }, changed],
        _ => vec![changed],
    }
}
