//! The event stream that notifies the script of changes. Events carry no state; the script reloads the page
//! content.

use crate::{error::Rejection, request::AuthedRequest, state::App};
use axum::{
    extract::State,
    response::sse::{Event, Sse},
};
use chainpool_orchestrator::{Change, Error, StreamScope, Subscription};
use futures::{Stream, StreamExt, stream};
use std::{convert::Infallible, time::Duration};
use tokio::time::{Interval, interval};

/// Heartbeat interval of the stream. The script marks the page stale when two heartbeats are missing.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Events for the browser: `changed` with noun and ID, for everything the caller may read; `lost` if some
/// were missed; `beat` as the heartbeat. The stream ends when the session or the server ends.
pub(crate) async fn stream(
    State(app): State<App>,
    request: AuthedRequest,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Rejection> {
    let end = request.stream_end(&app, StreamScope::Changes)?;
    let sources = (
        app.orchestrator.subscribe(&request.caller).await?,
        interval(HEARTBEAT),
    );
    let events = stream::unfold(sources, |(mut changes, mut heartbeats)| async move {
        let event = next_event(&mut changes, &mut heartbeats).await?;
        Some((Ok(event), (changes, heartbeats)))
    });
    Ok(Sse::new(events.take_until(Box::pin(end))))
}

async fn next_event(changes: &mut Subscription, heartbeats: &mut Interval) -> Option<Event> {
    tokio::select! {
        change = changes.next() => match change {
            Ok(Some(Change::Event(event))) => Some(Event::default().event("changed").data(format!("{} {}", event.noun, event.id))),
            Ok(Some(Change::Missed(_))) => Some(Event::default().event("lost").data("some")),
            Ok(None) => None,
            Err(error) => end_stream(&error),
        },
        _ = heartbeats.tick() => Some(Event::default().event("beat").data("beat")),
    }
}

/// Ends a failed stream; the script reconnects.
fn end_stream(error: &Error) -> Option<Event> {
    tracing::error!(
        error = error as &(dyn std::error::Error + 'static),
        "an event stream failed"
    );
    None
}
