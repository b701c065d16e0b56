//! What a test must not leave behind: an ERROR line, a running operation, an object with our label.

use std::{
    fmt::Write,
    sync::{Mutex, Once, PoisonError},
};
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{EnvFilter, Layer, layer::Context, layer::SubscriberExt, util::SubscriberInitExt};

static ERRORS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ONCE: Once = Once::new();

struct Collect;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").expect("a String takes all");
    }
}

impl<S: Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR && event.metadata().target().starts_with("chainpool") {
            let mut text = Text(event.metadata().target().to_owned());
            event.record(&mut text);
            ERRORS.lock().unwrap_or_else(PoisonError::into_inner).push(text.0);
        }
    }
}

/// Collects ERROR lines of this process, and shows what `CHAINPOOL_LOG` asks for.
pub fn log_to_census() {
    ONCE.call_once(|| {
        let filter = EnvFilter::try_from_env("CHAINPOOL_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
        let shown = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
        tracing_subscriber::registry().with(Collect).with(shown).init();
    });
}

/// The ERROR lines so far.
pub fn errors_logged() -> Vec<String> {
    ERRORS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
