//! The server's log: one line per event, for any values.
//!
//! Names, addresses and messages come from clients, engines and ledgers. Raw line ends would allow log
//! injection, so control characters are escaped in the one place that formats all values.

use crate::output::visible;
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    io::{self, IsTerminal, Write},
};
use tracing_subscriber::{
    EnvFilter,
    field::RecordFields,
    fmt::format::{DefaultFields, FormatFields, Writer},
};

/// Starts logging to standard error, panics included.
pub(crate) fn init(json: bool) {
    let filter = filter(std::env::var("CHAINPOOL_LOG").ok().as_deref());
    // With internal errors on, a failed write (full disk) would be reported to the same place by a panicking
    // macro.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    if json {
        log.json().init();
    } else {
        log.with_ansi(io::stderr().is_terminal())
            .fmt_fields(Visible)
            .init();
    }
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let trace = if backtrace.status() == BacktraceStatus::Captured {
            format!("\n{backtrace}")
        } else {
            String::new()
        };
        // A failed write cannot be reported anywhere.
        let _ignored = io::stderr()
            .lock()
            .write_all(format!("{}{trace}\n", line(&panic.to_string())).as_bytes());
    }));
}

/// The log filter. Platform clients log request and response bodies, which contain secrets, so a global level
/// does not apply to them.
fn filter(asked: Option<&str>) -> EnvFilter {
    let usual = || EnvFilter::new("info,sqlx=warn,sea_orm_migration=warn,tokio_cron_scheduler=warn");
    let filter = asked
        .and_then(|asked| EnvFilter::try_new(asked).ok())
        .unwrap_or_else(usual);
    let never = [
        "kube_client=off",
        "bollard=info",
        "hyper=info",
        "h2=info",
        "sqlx::query=warn",
    ];
    never.iter().fold(filter, |filter, rule| {
        filter.add_directive(rule.parse().expect("a constant rule"))
    })
}

/// Formats the values of an event like the default formatter, on one line. The subscriber adds colours
/// separately.
struct Visible;

impl<'w> FormatFields<'w> for Visible {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&line(&text))
    }
}

/// Escapes a text to one line.
fn line(text: &str) -> String {
    visible(text, |_| false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_global_level_never_logs_platform_traffic() {
        for asked in [
            None,
            Some("trace"),
            Some("debug,bollard=trace"),
            Some("no filter=at=all"),
        ] {
            let filter = filter(asked).to_string();
            assert!(
                ["kube_client=off", "bollard=info", "hyper=info"]
                    .iter()
                    .all(|rule| filter.contains(rule)),
                "{asked:?}: {filter}"
            );
            assert!(!filter.contains("bollard=trace"), "{filter}");
        }
        assert!(filter(Some("debug")).to_string().contains("debug"));
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(colours: bool) -> String {
        let kept = Kept::default();
        let out = kept.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(colours)
            .with_writer(move || out.clone())
            .fmt_fields(Visible);
        let forged = "unix:///x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[31mred\u{85}\u{2028}";
        tracing::subscriber::with_default(log.finish(), || {
            let error: &(dyn std::error::Error + 'static) = &io::Error::other(forged);
            let _span = tracing::info_span!("request", address = %forged).entered();
            tracing::info!(address = %forged, other = forged, error, "refused: {forged}");
            tracing::info!("the next");
        });
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_event_is_one_line_for_any_values() {
        for colours in [false, true] {
            let text = logged(colours);
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            assert!(
                lines.len() == 2 && lines.iter().all(|line| line.ends_with('\n')),
                "{text}"
            );
            assert!(
                lines[0].contains("forged") && lines[0].contains("\\n2026-01-01T00:00:00Z ERROR"),
                "{text}"
            );
            assert!(lines[1].contains("the next"), "{text}");
            assert!(
                !text.contains("\u{1b}[31m") && !text.contains(['\r', '\u{85}', '\u{2028}']),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_panic_is_one_line() {
        assert_eq!(
            line("panicked at a.rs:1:1:\nno host \"x\ny\""),
            "panicked at a.rs:1:1:\\nno host \"x\\ny\""
        );
    }
}
