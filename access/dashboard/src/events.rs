//! The stream that tells the script that something changed: a wake-up, never the truth.

use crate::{session::Visit, state::App};
use axum::{
    extract::State,
    response::sse::{Event, Sse},
};
use chainpool_api as api;
use futures::{Stream, stream};
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Interval, interval},
};

/// How often the stream says that it is alive; after twice that and a little, the script calls the page stale.
const BEAT: Duration = Duration::from_secs(5);

/// Events for the browser: `changed` with the noun and its id, `lost` when some were missed, `beat` while nothing
/// happens. Ends when the server ends.
pub(crate) async fn stream(State(app): State<App>, _: Visit) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ears = (app.orchestrator.events(), interval(BEAT));
    Sse::new(stream::unfold(ears, |(mut events, mut beats)| async move {
        let said = hear(&mut events, &mut beats).await?;
        Some((Ok(said), (events, beats)))
    }))
}

async fn hear(events: &mut Receiver<api::Event>, beats: &mut Interval) -> Option<Event> {
    tokio::select! {
        heard = events.recv() => match heard {
            Ok(event) => Some(Event::default().event("changed").data(format!("{} {}", event.noun, event.id))),
            Err(RecvError::Lagged(_)) => Some(Event::default().event("lost").data("some")),
            Err(RecvError::Closed) => None,
        },
        _ = beats.tick() => Some(Event::default().event("beat").data("beat")),
    }
}
