//! Durations as Go writes them: `2s`, `1m30s`, `2.001s`.

use std::time::Duration;

/// Nanoseconds of each unit; a longer name precedes its prefixes.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses a duration. `None`: it is invalid or negative.
pub(crate) fn read(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos = 0u64;
    while !rest.is_empty() {
        let number = &rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.')?];
        rest = &rest[number.len()..];
        let (unit, factor) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        nanos = nanos.checked_add(whole.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        let mut place = *factor;
        for digit in part.chars() {
            place /= 10;
            nanos = nanos.checked_add(u64::from(digit.to_digit(10)?) * place)?;
        }
    }
    (!text.is_empty()).then_some(Duration::from_nanos(nanos))
}

/// Formats a duration, in milliseconds where that is exact.
pub(crate) fn write(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos.is_multiple_of(1_000_000) {
        format!("{}ms", nanos / 1_000_000)
    } else {
        format!("{nanos}ns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, nanos) in [
            ("2s", 2_000_000_000),
            ("250ms", 250_000_000),
            ("2.001s", 2_001_000_000),
            ("1m30s", 90_000_000_000),
            ("1h0m0.5s", 3_600_500_000_000),
            ("1.5µs", 1_500),
            ("7ns", 7),
        ] {
            assert_eq!(read(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "",
            "2",
            "s",
            "-2s",
            "2 s",
            "2x",
            "1.2.3s",
            "99999999999999999999s",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_written_exactly() {
        assert_eq!(write(Duration::from_millis(2001)), "2001ms");
        assert_eq!(write(Duration::from_nanos(1_000_001)), "1000001ns");
        assert_eq!(
            read(&write(Duration::from_millis(1))),
            Some(Duration::from_millis(1))
        );
    }
}
