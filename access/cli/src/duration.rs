//! Human-readable durations: `90s`, `10m`, `1h30m`, `30d`.

use chainpool_api::Timestamp;

const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];

/// Parses a duration as seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a duration; use the form 90s, 10m, 1h30m, 24h or 30d");
    if text == "0" {
        return Ok(0);
    }
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].chars().next().ok_or_else(wrong)?;
        let (_, size) = UNITS
            .iter()
            .find(|(letter, _)| *letter == unit)
            .ok_or_else(wrong)?;
        total = number
            .checked_mul(*size)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(wrong)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Parses a duration that fits the API's 32-bit seconds.
pub(crate) fn short_seconds(text: &str) -> Result<u32, String> {
    u32::try_from(seconds(text)?).map_err(|_| format!("{text:?} is too long"))
}

/// Parses the lifetime of a lease; `never` (no expiry) is 0 in the API.
pub(crate) fn lease_seconds(text: &str) -> Result<u64, String> {
    match text {
        "never" => Ok(0),
        _ => match seconds(text)? {
            0 => Err("a lease needs a lifetime; use never for no expiry".to_owned()),
            some => Ok(some),
        },
    }
}

/// Formats milliseconds in the largest suitable unit.
pub(crate) fn format(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Formats an elapsed time: tenths of a second below a minute.
pub(crate) fn elapsed(millis: i64) -> String {
    let millis = millis.max(0);
    if millis < 60_000 {
        format!("{}.{}s", millis / 1000, millis % 1000 / 100)
    } else {
        format(millis)
    }
}

/// Formats a time relative to `now`.
pub(crate) fn relative(moment: Timestamp, now: Timestamp) -> String {
    let ahead = moment.millis_since(now);
    if ahead > 0 {
        format!("in {}", format(ahead))
    } else {
        format!("{} ago", format(-ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed() {
        let cases = [
            ("0", 0),
            ("90s", 90),
            ("10m", 600),
            ("1h30m", 5400),
            ("24h", 86_400),
            ("30d", 2_592_000),
            ("1w", 604_800),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_rejected() {
        for text in [
            "",
            "5",
            "m",
            "10 m",
            "-1s",
            "1.5h",
            "10y",
            "99999999999999999999s",
            "9999999999999999999w",
            "10mé",
        ] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(short_seconds("500w").is_ok() && short_seconds("10000w").is_err());
        assert_eq!(lease_seconds("never"), Ok(0));
        assert!(lease_seconds("0").is_err());
    }

    #[test]
    fn relative_times_use_one_unit() {
        let now = Timestamp(10_000_000_000);
        for (millis, text) in [
            (0, "0s ago"),
            (-119_000, "119s ago"),
            (-120_000, "2m ago"),
            (-7_200_000, "2h ago"),
            (86_399_000, "in 23h"),
            (172_800_000, "in 2d"),
        ] {
            assert_eq!(relative(Timestamp(now.0 + millis), now), text);
        }
        assert_eq!(elapsed(2_940), "2.9s");
        assert_eq!(elapsed(150_000), "2m");
    }
}
