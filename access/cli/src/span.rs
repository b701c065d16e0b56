//! Lengths of time as people write them: `90s`, `10m`, `1h30m`, `30d`.

use chainpool_api::Timestamp;

const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];

/// Reads a length of time as seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a length of time; write it like 90s, 10m, 1h30m, 24h or 30d");
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

/// Reads a length of time that fits the API's 32 bits of seconds.
pub(crate) fn short_seconds(text: &str) -> Result<u32, String> {
    u32::try_from(seconds(text)?).map_err(|_| format!("{text:?} is too long"))
}

/// Reads the life of a lease; `never` is without end, which the API writes as 0.
pub(crate) fn lease_seconds(text: &str) -> Result<u64, String> {
    match text {
        "never" => Ok(0),
        _ => match seconds(text)? {
            0 => Err("a lease without any time is of no use; for one without end write never".to_owned()),
            some => Ok(some),
        },
    }
}

/// Says a length of time in milliseconds in its largest unit.
pub(crate) fn words(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Says how long something took: tenths of a second below a minute.
pub(crate) fn took(millis: i64) -> String {
    let millis = millis.max(0);
    if millis < 60_000 {
        format!("{}.{}s", millis / 1000, millis % 1000 / 100)
    } else {
        words(millis)
    }
}

/// Says when something was or will be, beside the given now.
pub(crate) fn relative(moment: Timestamp, now: Timestamp) -> String {
    let ahead = moment.millis_since(now);
    if ahead > 0 {
        format!("in {}", words(ahead))
    } else {
        format!("{} ago", words(-ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read() {
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
    fn what_is_no_length_of_time_is_refused() {
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
    fn ages_are_short() {
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
        assert_eq!(took(2_940), "2.9s");
        assert_eq!(took(150_000), "2m");
    }
}
