//! Server-sent events. What the façade tells is a wake-up; what is sent of an operation is read anew each time.

use crate::{
    auth::{Auth, Bearer, stream_end},
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
use chainpool_api::{self as api, Noun};
use chainpool_orchestrator::{Caller, Change, Error, Orchestrator, StreamOf, Subscription};
use futures::{Stream, StreamExt, stream};
use std::{convert::Infallible, time::Duration};
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
    Auth(caller): Auth,
    Bearer(secret): Bearer,
    Path(operation): Path<String>,
) -> Answer<impl IntoResponse> {
    let id = id("operation", &operation)?;
    // First listen, then read: what happens in between wakes us.
    let wakes = server.orchestrator.subscribe(&caller).await?;
    let first = server.orchestrator.operation_show(&caller, id).await?;
    let (orchestrator, parent) = (server.orchestrator.clone(), first.cluster_id.is_none());
    let follow = Follow {
        orchestrator,
        caller: caller.clone(),
        wakes,
        id,
        parent,
        first: Some(first),
        sent: String::new(),
        over: false,
    };
    let events = stream::unfold(follow, async |mut follow| {
        follow.next().await.map(|event| (Ok(event), follow))
    });
    Ok(sse(events, server, caller, secret))
}

/// Tells what changes.
///
/// Sends event `change` with an Event as data for every noun that the caller may see: a wake-up, so read the noun again.
/// Event `lagged` says that some were lost: read everything again.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "operations",
    responses((status = 200, description = "Events named `change`, each with an Event as data.", content_type = "text/event-stream", body = ChangeEvent))
)]
pub(crate) async fn event_list(
    State(server): State<Server>,
    Auth(caller): Auth,
    Bearer(secret): Bearer,
) -> Answer<impl IntoResponse> {
    let changes = server.orchestrator.subscribe(&caller).await?;
    Ok(sse(stream::unfold(changes, change), server, caller, secret))
}

/// A stream of events that ends with its token and with the server.
fn sse(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
    server: Server,
    caller: Caller,
    secret: String,
) -> impl IntoResponse {
    let events = events.take_until(Box::pin(stream_end(server, caller, secret, StreamOf::Changes)));
    // A proxy that collects the answer first would hold the events back.
    (
        [("x-accel-buffering", "no")],
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)),
    )
}

/// One event; the nouns can always be written.
fn event(name: &str, data: &impl serde::Serialize) -> Event {
    Event::default()
        .event(name)
        .json_data(data)
        .expect("our nouns have text keys and no line ends in their JSON")
}

/// An operation that is followed.
struct Follow {
    orchestrator: Orchestrator,
    caller: Caller,
    wakes: Subscription,
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
                match self.orchestrator.operation_show(&self.caller, self.id).await {
                    Ok(operation) => operation,
                    Err(error) => {
                        failed(error);
                        return None;
                    }
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
                wake = self.wakes.next() => match wake {
                    Ok(Some(Change::Event(event))) if event.noun == Noun::Operation && (self.parent || event.id == self.id) => break,
                    Ok(Some(Change::Event(_))) => (),
                    Ok(Some(Change::Missed(_))) => break,
                    Ok(None) => return None,
                    Err(error) => {
                        failed(error);
                        return None;
                    }
                },
            }
        }
        // Whatever waits there already is answered by the read that follows.
        self.wakes.skip();
        Some(())
    }
}

/// The changes that a caller hears of, as events.
async fn change(mut changes: Subscription) -> Option<(Result<Event, Infallible>, Subscription)> {
    let told = match changes.next().await {
        Ok(Some(Change::Event(change))) => event("change", &change),
        Ok(Some(Change::Missed(missed))) => event("lagged", &serde_json::json!({ "missed": missed })),
        Ok(None) => return None,
        Err(error) => {
            failed(error);
            return None;
        }
    };
    Some((Ok(told), changes))
}

/// Notes why a stream cannot go on; the client connects again and is told.
fn failed(error: Error) {
    Refusal::from(error).log("", &http::Method::GET, "an event stream");
}
