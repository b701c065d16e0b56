//! Times, sizes and ids as people read them. The script says times in the same words.

#![expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "templates hand over every value by reference"
)]

use chainpool_api::{Cluster, Counts, Evidence, OperationKind, Parameter, ParameterKind, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A length of time: `41 s`, `3 min`, `2 h 10 min`, `2 d`.
pub(crate) fn length(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..36_000 if seconds % 3600 >= 60 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A moment seen from now: `41 s ago`, `in 3 h`.
pub(crate) fn relative(at: &Timestamp) -> String {
    let seconds = Timestamp::now().millis_since(*at).div_euclid(1000);
    match seconds {
        ..-60 => format!("in {}", length(59 - seconds)), // what has a day to live has no 23 hours
        -60..-1 => format!("in {}", length(-seconds)),
        -1..1 => "now".to_owned(),
        _ => format!("{} ago", length(seconds)),
    }
}

/// How long something has lasted: `41 s`.
pub(crate) fn lasting(since: &Timestamp) -> String {
    length(Timestamp::now().millis_since(*since).div_euclid(1000))
}

/// A moment to the second: `2026-03-01 12:04:11 UTC`.
pub(crate) fn exact(at: &Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(clock)) => format!("{day} {clock} UTC"),
        _ => text,
    }
}

/// How long a thing took, or takes: `1.24 s`, `3 min`.
pub(crate) fn took(from: &Timestamp, to: &Timestamp) -> String {
    let millis = to.millis_since(*from).max(0);
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{}.{:02} s", millis / 1000, millis % 1000 / 10),
        _ => length(millis / 1000),
    }
}

/// Milliseconds: `12 ms`, `1.24 s`.
pub(crate) fn millis(millis: &u64) -> String {
    let millis = i64::try_from(*millis).unwrap_or(i64::MAX);
    took(&Timestamp(0), &Timestamp(millis))
}

/// A size: `12 KiB`, `412 MiB`, `7.8 GiB`.
pub(crate) fn bytes(bytes: &u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    const GIB: u64 = 1024 * MIB;
    match *bytes {
        b if b < KIB => format!("{b} B"),
        b if b < MIB => format!("{} KiB", b / KIB),
        b if b < GIB => format!("{} MiB", b / MIB),
        b if b < 100 * GIB => format!("{}.{} GiB", b / GIB, b % GIB * 10 / GIB),
        b => format!("{} GiB", b / GIB),
    }
}

/// A whole number in groups of three, with narrow spaces that never break.
pub(crate) fn number(number: &u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 6);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// How old what was seen may be without its age beside it, in milliseconds.
const RECENT_MS: i64 = 30_000;

/// When something was seen, if that is so long ago that it has to be said: after a start, what a list shows is what was known before.
pub(crate) fn old(seen: Option<&Timestamp>) -> Option<Timestamp> {
    seen.copied()
        .filter(|at| Timestamp::now().millis_since(*at) > RECENT_MS)
}

/// An id or a hash, shortened in the middle.
pub(crate) fn short(text: &str) -> String {
    let length = text.chars().count();
    if length <= 24 {
        return text.to_owned();
    }
    let head: String = text.chars().take(8).collect();
    let tail: String = text.chars().skip(length - 6).collect();
    format!("{head}…{tail}")
}

/// An id, shortened: the end, where `UUIDv7` differs, says more.
pub(crate) fn short_id(id: &Uuid) -> String {
    short(&id.to_string())
}

/// A count with its noun: `1 cluster`, `3 clusters`.
pub(crate) fn counted(count: &u32, noun: &str) -> String {
    if *count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// What an operation does, in words: `cluster create`.
pub(crate) fn kind(kind: &OperationKind) -> String {
    kind.as_str().replace('_', " ")
}

/// A parameter's or label's value without quotes.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) if list.iter().all(Value::is_string) => list
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

/// The entries of a result as `name` and `value`, in words; those of an object in it follow one by one.
pub(crate) fn entries(object: &Value) -> Vec<(String, String)> {
    let Value::Object(map) = object else {
        return Vec::new();
    };
    let entry = |(name, entry): (&String, &Value)| match entry {
        Value::Object(_) => entries(entry),
        _ => vec![(name.replace('_', " "), value(entry))],
    };
    map.iter().flat_map(entry).collect()
}

/// Settled parameters as names and values.
pub(crate) fn settings(parameters: &Value) -> Vec<(String, String)> {
    parameters
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, setting)| (name.clone(), value(setting)))
        .collect()
}

/// Those of a preset's settings that are not the defaults.
pub(crate) fn changed(preset: &Value, parameters: &[Parameter]) -> Vec<(String, String)> {
    let is_default = |name: &str, text: &str| {
        parameters
            .iter()
            .any(|p| p.name == name && value(&p.default) == text)
    };
    settings(preset)
        .into_iter()
        .filter(|(name, text)| !is_default(name, text))
        .collect()
}

/// An object on one line: `a=1 b=2`.
pub(crate) fn pairs(object: &serde_json::Map<String, Value>) -> String {
    object
        .iter()
        .map(|(name, entry)| format!("{name}={}", value(entry)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Labels on one line: `a=1 b=2`.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> String {
    labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// What a parameter may be: `1 to 16`, `raft or bft`.
pub(crate) fn range(parameter: &Parameter) -> String {
    match (parameter.min, parameter.max) {
        (None, None) => parameter.one_of.join(" or "),
        (Some(min), Some(max)) if parameter.kind == ParameterKind::List => {
            format!("{min} to {max}, with commas between")
        }
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("{min} or more"),
        (None, Some(max)) => format!("{max} or less"),
    }
}

/// A part of a whole in thousandths, for the width of a bar.
pub(crate) fn share(part: &u32, whole: &u32) -> u64 {
    u64::from(*part) * 1000 / u64::from((*whole).max(1))
}

/// The whole of a pool's bar: its capacity, or what there is where the pool has no capacity of its own.
pub(crate) fn whole(counts: &Counts) -> u32 {
    counts.capacity.max(counts.clusters).max(1)
}

/// A clock's difference from ours, in words.
pub(crate) fn skew(millis: &i64) -> String {
    match *millis {
        -999..=999 => "right to the second".to_owned(),
        ahead @ 1000.. => format!("{} ahead of ours", length(ahead / 1000)),
        behind => format!("{} behind ours", length(-behind / 1000)),
    }
}

/// What of a pool is held by nobody, made by nobody and not offered: failed, broken, stopped …
pub(crate) fn other(counts: &Counts) -> u32 {
    counts
        .clusters
        .saturating_sub(counts.offered + counts.leased + counts.making)
}

/// The worth of the evidence in a few words: `4 of 4 power · heights agree`.
pub(crate) fn evidence(evidence: &Evidence) -> String {
    let mut parts = Vec::new();
    if let Some((present, all)) = evidence.power {
        parts.push(format!("voting power {present} of {all}"));
    }
    let answering = evidence.nodes.values().filter(|node| node.answers).count();
    parts.push(format!("{answering} of {} nodes answer", evidence.nodes.len()));
    match evidence.agree {
        Some(true) => parts.push("blocks agree".to_owned()),
        Some(false) => parts.push("blocks differ".to_owned()),
        None => {}
    }
    parts.join(" · ")
}

/// The moment of the newest block that any node has.
pub(crate) fn last_block(cluster: &Cluster) -> Option<Timestamp> {
    cluster
        .evidence
        .as_ref()?
        .nodes
        .values()
        .filter_map(|node| node.block_at)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        assert_eq!(length(41), "41 s");
        assert_eq!(length(190), "3 min");
        assert_eq!(length(7800), "2 h 10 min");
        assert_eq!(length(200_000), "2 d");
        assert_eq!(took(&Timestamp(0), &Timestamp(1_240)), "1.24 s");
        assert_eq!(relative(&Timestamp::now().plus_seconds(86_400)), "in 24 h");
        assert_eq!(relative(&Timestamp::now().plus_seconds(-41)), "41 s ago");
        assert_eq!(skew(&-165), "right to the second");
        assert_eq!(skew(&-61_000), "1 min behind ours");
        assert_eq!(exact(&Timestamp(1_795_000_123_045)), "2026-11-18 11:08:43 UTC");
    }

    #[test]
    fn the_age_of_what_was_just_seen_is_not_said() {
        let now = Timestamp::now();
        // Half of the limit and twice it: how long this test takes is nothing to it.
        let [fresh, aged] = [RECENT_MS / 2, RECENT_MS * 2].map(|ms| now.plus_seconds(-ms / 1000));
        for recent in [None, Some(&now), Some(&fresh), Some(&now.plus_seconds(60))] {
            assert_eq!(old(recent), None, "{recent:?}");
        }
        assert_eq!(old(Some(&aged)), Some(aged));
    }

    #[test]
    fn sizes_numbers_and_ids_are_short() {
        assert_eq!(bytes(&(412 * 1024 * 1024)), "412 MiB");
        assert_eq!(bytes(&8_400_000_000), "7.8 GiB");
        assert_eq!(number(&1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(number(&1234), "1234");
        assert_eq!(short("A1B2C3D4E5F60718293A4B5C6D7E"), "A1B2C3D4…5C6D7E");
        assert_eq!(short("192.168.100.20:20050"), "192.168.100.20:20050");
    }
}
