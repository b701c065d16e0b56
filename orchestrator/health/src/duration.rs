//! Durations as text: `1.5s` in configuration files, `1.5 s` for people.

use jiff::SignedDuration;
use serde::{Deserializer, de};
use std::{fmt, time::Duration};

/// Valid durations, for error messages.
pub(crate) const EXAMPLES: &str = "\"500ms\", \"2s\" or \"5m\"";

/// Milliseconds of a duration, to compare with differences of timestamps.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A duration for people, such as `1.5 s` or `2 min`.
pub fn text(duration: Duration) -> String {
    let (number, unit) = number(duration);
    match unit {
        "m" => format!("{number} min"),
        unit => format!("{number} {unit}"),
    }
}

/// A duration for a configuration file, such as `1.5s` or `2m`.
pub(crate) fn file_text(duration: Duration) -> String {
    let (number, unit) = number(duration);
    format!("{number}{unit}")
}

/// The shortest exact number of a duration and its unit.
fn number(duration: Duration) -> (String, &'static str) {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match (seconds, millis) {
        (0, millis) => (millis.to_string(), "ms"),
        (seconds, 0) if seconds.is_multiple_of(3600) => ((seconds / 3600).to_string(), "h"),
        (seconds, 0) if seconds.is_multiple_of(60) => ((seconds / 60).to_string(), "m"),
        (seconds, 0) => (seconds.to_string(), "s"),
        (seconds, millis) => {
            let number = format!("{seconds}.{millis:03}");
            (number.trim_end_matches('0').to_owned(), "s")
        }
    }
}

/// Reads a duration from text.
fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("{text:?} is not a duration; write a number with its unit, such as {EXAMPLES}");
    let parsed: SignedDuration = text.parse().map_err(|_| invalid())?;
    Duration::try_from(parsed).map_err(|_| invalid())
}

/// Deserializes a duration from text.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a duration in quotes, such as {EXAMPLES}")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for (millis, file, people) in [
            (150, "150ms", "150 ms"),
            (1_500, "1.5s", "1.5 s"),
            (1_050, "1.05s", "1.05 s"),
            (2_000, "2s", "2 s"),
            (90_000, "90s", "90 s"),
            (120_000, "2m", "2 min"),
            (300_000, "5m", "5 min"),
            (7_200_000, "2h", "2 h"),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(
                (file_text(duration).as_str(), text(duration).as_str()),
                (file, people)
            );
            assert_eq!(parse(file), Ok(duration));
        }
    }

    #[test]
    fn text_without_a_number_or_a_unit_is_no_duration() {
        for text in ["", "5", "s", "-2s", "two seconds", "2 parsecs"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("such as"), "{text:?}: {error}");
        }
    }
}
