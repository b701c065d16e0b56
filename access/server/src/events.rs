//! Server-sent events. What the façade tells is a wake-up; what is sent of an operation is read anew each time.

use crate::{
    auth::{Auth, Bearer, require, stream_end},
    body_schema::{ChangeEvent, OperationEvent},
    error::{Answer, Refusal},
    query::{Path, id},
    state::Server,
};
use axum::{
    extract::State,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use chainpool_api::{self as api, LeaseFilter, LeaseState, Noun, Role};
use chainpool_orchestrator::{Caller, Error, Orchestrator};
use futures::{Stream, StreamExt, stream};
use std::{collections::HashMap, convert::Infallible, time::Duration};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use uuid::Uuid;

/// Comments that keep a silent connection open, and the period in which an operation is read even without a wake-up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follows an operation to its end.
///
/// Sends event `operation` with the whole operation as data, at once and at every change; ends when it is over.
#[utoipa::path(
    get, path = "/api/v1/operations/{operation}/events", tag = "operations",
    params(("operation" = Uuid, Path, description = "Its id.")),
    responses((status = 200, description = "Events named `operation`, each with an Operation as data.", content_type = "text/event-stream", body = OperationEvent))
)]
pub(crate) async fn operation_events(
    State(server): State<Server>,
    _caller: Auth,
    Bearer(secret): Bearer,
    Path(operation): Path<String>,
) -> Answer<impl IntoResponse> {
    let id = id("operation", &operation)?;
    // First listen, then read: what happens in between wakes us.
    let wakes = server.orchestrator.events();
    let first = server.orchestrator.operation_show(id).await?;
    let (orchestrator, parent) = (server.orchestrator.clone(), first.cluster_id.is_none());
    let follow = Follow { orchestrator, wakes, id, parent, first: Some(first), sent: String::new(), over: false };
    let events = stream::unfold(follow, async |mut follow| follow.next().await.map(|event| (Ok(event), follow)));
    Ok(sse(events, server, secret))
}

/// Tells what changes.
///
/// Sends event `change` with an Event as data for every noun that the caller may see: a wake-up, so read the noun again.
/// Event `lagged` says that some were lost: read everything again.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "operations",
    responses((status = 200, description = "Events named `change`, each with an Event as data.", content_type = "text/event-stream", body = ChangeEvent))
)]
pub(crate) async fn event_list(State(server): State<Server>, Auth(caller): Auth, Bearer(secret): Bearer) -> Answer<impl IntoResponse> {
    let wakes = server.orchestrator.events();
    let view = if require(&caller, Role::Operator).is_ok() { View::All } else { View::own(&server.orchestrator, caller).await? };
    let changes = Changes { orchestrator: server.orchestrator.clone(), wakes, view };
    let events = stream::unfold(changes, async |mut changes| changes.next().await.map(|event| (Ok(event), changes)));
    Ok(sse(events, server, secret))
}

/// A stream of events that ends with its token and with the server.
fn sse(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static, server: Server, secret: String) -> impl IntoResponse {
    let events = events.take_until(Box::pin(stream_end(server, secret)));
    // A proxy that collects the answer first would hold the events back.
    ([("x-accel-buffering", "no")], Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One event; the nouns can always be written.
fn event(name: &str, data: &impl serde::Serialize) -> Event {
    Event::default().event(name).json_data(data).expect("our nouns have text keys and no line ends in their JSON")
}

/// An operation that is followed.
struct Follow {
    orchestrator: Orchestrator,
    wakes: Receiver<api::Event>,
    id: Uuid,
    /// Whether it has parts, whose changes are its own.
    parent: bool,
    first: Option<api::Operation>,
    /// What was last sent, so that nothing is sent twice.
    sent: String,
    over: bool,
}

impl Follow {
    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        loop {
            let operation = if let Some(first) = self.first.take() {
                first
            } else {
                self.woken().await?;
                match self.orchestrator.operation_show(self.id).await {
                    Ok(operation) => operation,
                    Err(error) => return failed(error),
                }
            };
            let text = serde_json::to_string(&operation).expect("our nouns have text keys");
            if text != self.sent {
                self.over = operation.state.is_over();
                let event = Event::default().event("operation").data(&text);
                self.sent = text;
                return Some(event);
            }
        }
    }

    /// Waits until it may have changed. A parent changes with its parts, so any operation's wake-up counts for it.
    /// `None`: nobody will wake us any more.
    async fn woken(&mut self) -> Option<()> {
        let look_anyway = tokio::time::sleep(KEEP_ALIVE);
        tokio::pin!(look_anyway);
        loop {
            tokio::select! {
                () = &mut look_anyway => break,
                wake = self.wakes.recv() => match wake {
                    Ok(event) if event.noun == Noun::Operation && (self.parent || event.id == self.id) => break,
                    Ok(_) => (),
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return None,
                },
            }
        }
        // Whatever waits there already is answered by the read that follows.
        self.wakes = self.wakes.resubscribe();
        Some(())
    }
}

/// What a caller may hear of.
enum View {
    /// Everything.
    All,
    /// Its own leases and the clusters under them, by lease.
    Own { caller: Box<Caller>, clusters: HashMap<Uuid, Uuid> },
}

impl View {
    /// The view of a caller who sees its own things only.
    async fn own(orchestrator: &Orchestrator, caller: Caller) -> Answer<Self> {
        let clusters = own_clusters(orchestrator, &caller).await?;
        Ok(Self::Own { caller: Box::new(caller), clusters })
    }
}

/// The clusters that the caller holds, by lease.
async fn own_clusters(orchestrator: &Orchestrator, caller: &Caller) -> Answer<HashMap<Uuid, Uuid>> {
    let mut clusters = HashMap::new();
    let mut filter = LeaseFilter { state: Some(LeaseState::Active), limit: Some(500), ..LeaseFilter::default() };
    loop {
        let page = orchestrator.lease_list(caller, &filter).await?;
        clusters.extend(page.items.into_iter().map(|lease| (lease.id, lease.cluster_id)));
        match page.next {
            Some(next) => filter.after = Some(next),
            None => return Ok(clusters),
        }
    }
}

/// The changes that a caller hears of.
struct Changes {
    orchestrator: Orchestrator,
    wakes: Receiver<api::Event>,
    view: View,
}

impl Changes {
    async fn next(&mut self) -> Option<Event> {
        loop {
            match self.wakes.recv().await {
                Ok(change) => match self.may_hear(change).await {
                    Ok(true) => return Some(event("change", &change)),
                    Ok(false) => (),
                    Err(error) => return failed(error),
                },
                Err(RecvError::Lagged(missed)) => return self.lagged(missed).await,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Says that changes were lost, after reading again what the view rests on.
    async fn lagged(&mut self, missed: u64) -> Option<Event> {
        if let View::Own { caller, clusters } = &mut self.view {
            match own_clusters(&self.orchestrator, caller).await {
                Ok(read) => *clusters = read,
                Err(refusal) => return failed_by(&refusal),
            }
        }
        Some(event("lagged", &serde_json::json!({ "missed": missed })))
    }

    /// Whether the caller may hear of this. A lease's own event is what moves its cluster in and out of sight.
    async fn may_hear(&mut self, change: api::Event) -> Result<bool, Error> {
        let View::Own { caller, clusters } = &mut self.view else { return Ok(true) };
        match change.noun {
            Noun::Host => Ok(false),
            Noun::Operation => Ok(true),
            Noun::Cluster => Ok(clusters.values().any(|cluster| *cluster == change.id)),
            Noun::Lease => match self.orchestrator.lease_show(caller, change.id).await {
                Ok(lease) if lease.state == LeaseState::Active => {
                    clusters.insert(lease.id, lease.cluster_id);
                    Ok(true)
                }
                Ok(lease) => {
                    clusters.remove(&lease.id);
                    Ok(true)
                }
                Err(Error::NotFound { .. } | Error::Forbidden(_)) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }
}

/// Ends a stream that cannot go on; the client connects again and is told why.
fn failed(error: Error) -> Option<Event> {
    failed_by(&Refusal::from(error))
}

fn failed_by(refusal: &Refusal) -> Option<Event> {
    refusal.log("", &http::Method::GET, "an event stream");
    None
}
