//! The stream that tells the script that something changed: a wake-up, never the truth.

use crate::{error::Refused, session::Visit, state::App};
use axum::{
    extract::State,
    response::sse::{Event, Sse},
};
use chainpool_orchestrator::{Change, Error, StreamOf, Subscription};
use futures::{Stream, StreamExt, stream};
use std::{convert::Infallible, time::Duration};
use tokio::time::{Interval, interval};

/// How often the stream says that it is alive; after twice that and a little, the script calls the page stale.
const BEAT: Duration = Duration::from_secs(5);

/// Events for the browser: `changed` with the noun and its id, of what the visitor may read; `lost` when some were missed;
/// `beat` while nothing happens. Ends with the sign-in and with the server.
pub(crate) async fn stream(
    State(app): State<App>,
    visit: Visit,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let end = visit.stream_end(&app, StreamOf::Changes)?;
    let ears = (app.orchestrator.subscribe(&visit.caller).await?, interval(BEAT));
    let events = stream::unfold(ears, |(mut changes, mut beats)| async move {
        let said = hear(&mut changes, &mut beats).await?;
        Some((Ok(said), (changes, beats)))
    });
    Ok(Sse::new(events.take_until(Box::pin(end))))
}

async fn hear(changes: &mut Subscription, beats: &mut Interval) -> Option<Event> {
    tokio::select! {
        heard = changes.next() => match heard {
            Ok(Some(Change::Event(event))) => Some(Event::default().event("changed").data(format!("{} {}", event.noun, event.id))),
            Ok(Some(Change::Missed(_))) => Some(Event::default().event("lost").data("some")),
            Ok(None) => None,
            Err(error) => broken_off(&error),
        },
        _ = beats.tick() => Some(Event::default().event("beat").data("beat")),
    }
}

/// Ends a stream that cannot go on; the script connects again.
fn broken_off(error: &Error) -> Option<Event> {
    tracing::error!(
        error = error as &(dyn std::error::Error + 'static),
        "a stream of events broke off"
    );
    None
}
