//! Server-sent events. The façade only notifies of changes; operations are read again before each event.

use crate::{
    auth::{Auth, Bearer, stream_end},
    body_schema::{ChangeEvent, OperationEvent},
    error::{ApiError, ApiResult},
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
use chainpool_orchestrator::{Caller, Change, Error, Orchestrator, StreamScope, Subscription};
use futures::{Stream, StreamExt, stream};
use std::{convert::Infallible, time::Duration};
use uuid::Uuid;

/// Interval of keep-alive comments, and maximum time between two reads of an operation.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Stream an operation.
///
/// Sends an event `operation` with the whole operation as data: immediately, and after every change. The
/// stream ends with the operation.
#[utoipa::path(
    get, path = "/api/v1/operations/{operation}/events", tag = "operations",
    params(("operation" = Uuid, Path, description = "Operation id.")),
    responses((status = 200, description = "Stream of `operation` events, each with an Operation as data.", content_type = "text/event-stream", body = OperationEvent))
)]
pub(crate) async fn operation_events(
    State(server): State<Server>,
    Auth(caller): Auth,
    Bearer(secret): Bearer,
    Path(operation): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let id = id("operation", &operation)?;
    // Subscribe before reading, so no change in between is missed.
    let changes = server.orchestrator.subscribe(&caller).await?;
    let first = server.orchestrator.operation_show(&caller, id).await?;
    let (orchestrator, parent) = (server.orchestrator.clone(), first.cluster_id.is_none());
    let operation_stream = OperationStream {
        orchestrator,
        caller: caller.clone(),
        changes,
        id,
        parent,
        first: Some(first),
        sent: String::new(),
        ended: false,
    };
    let events = stream::unfold(operation_stream, async |mut events| {
        events.next().await.map(|event| (Ok(event), events))
    });
    Ok(sse(events, server, caller, secret))
}

/// Stream changes.
///
/// Sends an event `change` with an Event as data for every change of a resource visible to the caller. It
/// does not contain the new state; read the resource again. An event `lagged` means that changes were lost;
/// read everything again.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "operations",
    responses((status = 200, description = "Stream of `change` events, each with an Event as data.", content_type = "text/event-stream", body = ChangeEvent))
)]
pub(crate) async fn event_list(
    State(server): State<Server>,
    Auth(caller): Auth,
    Bearer(secret): Bearer,
) -> ApiResult<impl IntoResponse> {
    let changes = server.orchestrator.subscribe(&caller).await?;
    Ok(sse(stream::unfold(changes, change), server, caller, secret))
}

/// An event stream that ends when its token expires or the server stops.
fn sse(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
    server: Server,
    caller: Caller,
    secret: String,
) -> impl IntoResponse {
    let events = events.take_until(Box::pin(stream_end(server, caller, secret, StreamScope::Changes)));
    // Disables response buffering in proxies.
    (
        [("x-accel-buffering", "no")],
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)),
    )
}

/// One event; API types always serialize.
fn event(name: &str, data: &impl serde::Serialize) -> Event {
    Event::default()
        .event(name)
        .json_data(data)
        .expect("API types have string keys and no line ends in their JSON")
}

/// The event stream of one operation.
struct OperationStream {
    orchestrator: Orchestrator,
    caller: Caller,
    changes: Subscription,
    id: Uuid,
    /// `true` if it has child operations, whose changes count as its own.
    parent: bool,
    first: Option<api::Operation>,
    /// Last event sent, to suppress duplicates.
    sent: String,
    ended: bool,
}

impl OperationStream {
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        loop {
            let operation = if let Some(first) = self.first.take() {
                first
            } else {
                self.changed().await?;
                match self.orchestrator.operation_show(&self.caller, self.id).await {
                    Ok(operation) => operation,
                    Err(error) => {
                        log_failure(error);
                        return None;
                    }
                }
            };
            let text = serde_json::to_string(&operation).expect("API types have string keys");
            if text != self.sent {
                self.ended = operation.state.is_over();
                let event = Event::default().event("operation").data(&text);
                self.sent = text;
                return Some(event);
            }
        }
    }

    /// Waits for a possible change. A parent changes with its children, so a change of any operation counts
    /// for it. `None`: the subscription ended.
    async fn changed(&mut self) -> Option<()> {
        let poll = tokio::time::sleep(KEEP_ALIVE);
        tokio::pin!(poll);
        loop {
            tokio::select! {
                () = &mut poll => break,
                change = self.changes.next() => match change {
                    Ok(Some(Change::Event(event))) if event.noun == Noun::Operation && (self.parent || event.id == self.id) => break,
                    Ok(Some(Change::Event(_))) => (),
                    Ok(Some(Change::Missed(_))) => break,
                    Ok(None) => return None,
                    Err(error) => {
                        log_failure(error);
                        return None;
                    }
                },
            }
        }
        // Pending changes are covered by the next read.
        self.changes.skip();
        Some(())
    }
}

/// Changes visible to a caller, as events.
async fn change(mut changes: Subscription) -> Option<(Result<Event, Infallible>, Subscription)> {
    let event = match changes.next().await {
        Ok(Some(Change::Event(change))) => event("change", &change),
        Ok(Some(Change::Missed(missed))) => event("lagged", &serde_json::json!({ "missed": missed })),
        Ok(None) => return None,
        Err(error) => {
            log_failure(error);
            return None;
        }
    };
    Some((Ok(event), changes))
}

/// Logs the failure of a stream; the client gets the error when it reconnects.
fn log_failure(error: Error) {
    ApiError::from(error).log("", &http::Method::GET, "an event stream");
}
