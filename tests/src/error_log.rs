//! ERROR lines of a bed. Its Chainpool runs on its own tokio runtime. A line belongs to the runtime of the
//! task or thread that wrote it, so no bed sees the lines of another bed.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Mutex, Once, PoisonError},
};
use tokio::runtime::{Handle, Id};
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{EnvFilter, Layer, layer::Context, layer::SubscriberExt, util::SubscriberInitExt};

/// ERROR lines by runtime id, which tokio never reuses. Lines written outside of any runtime have no id.
static ERRORS: Mutex<Option<HashMap<Option<Id>, Vec<String>>>> = Mutex::new(None);
static ONCE: Once = Once::new();

struct Collector;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").expect("writing to a String cannot fail");
    }
}

fn runtime() -> Option<Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR && event.metadata().target().starts_with("chainpool") {
            let mut text = Text(event.metadata().target().to_owned());
            event.record(&mut text);
            let mut errors = ERRORS.lock().unwrap_or_else(PoisonError::into_inner);
            errors
                .get_or_insert_default()
                .entry(runtime())
                .or_default()
                .push(text.0);
        }
    }
}

/// Collects ERROR lines and prints the log that `CHAINPOOL_LOG` selects.
pub(crate) fn capture_errors() {
    ONCE.call_once(|| {
        let filter = EnvFilter::try_from_env("CHAINPOOL_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
        let shown = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_filter(filter);
        tracing_subscriber::registry().with(Collector).with(shown).init();
    });
}

/// Returns the ERROR lines of a runtime so far.
pub(crate) fn errors_logged(runtime: Id) -> Vec<String> {
    let errors = ERRORS.lock().unwrap_or_else(PoisonError::into_inner);
    errors
        .as_ref()
        .and_then(|errors| errors.get(&Some(runtime)))
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a line from a spawned task and one from a blocking thread.
    async fn write(text: &'static str) {
        tokio::spawn(async move { tracing::error!(target: "chainpool_test", "{text} in a task") })
            .await
            .unwrap();
        tokio::task::spawn_blocking(move || tracing::error!(target: "chainpool_test", "{text} on a thread"))
            .await
            .unwrap();
    }

    #[test]
    fn a_line_belongs_to_the_runtime_that_wrote_it() {
        capture_errors();
        let [one, other] = [0, 1].map(|_| tokio::runtime::Runtime::new().unwrap());
        one.block_on(write("one"));
        other.block_on(write("other"));
        let of = |runtime: &tokio::runtime::Runtime| errors_logged(runtime.handle().id());
        assert_eq!(of(&one).len(), 2, "{:?}", of(&one));
        assert!(
            of(&one)
                .iter()
                .all(|line| line.contains("one in a task") || line.contains("one on a thread")),
            "{:?}",
            of(&one)
        );
        assert_eq!(of(&other).len(), 2, "{:?}", of(&other));
    }
}
