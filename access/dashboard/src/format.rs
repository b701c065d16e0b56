//! Human-readable times, sizes and IDs. The script formats times in the same way.

#![expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "templates pass every value by reference"
)]

use chainpool_api::{Cluster, Counts, Evidence, OperationKind, Parameter, ParameterKind, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A duration: `41 s`, `3 min`, `2 h 10 min`, `2 d`.
pub(crate) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..36_000 if seconds % 3600 >= 60 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A time relative to now: `41 s ago`, `in 3 h`.
pub(crate) fn relative(at: &Timestamp) -> String {
    let seconds = Timestamp::now().millis_since(*at).div_euclid(1000);
    match seconds {
        ..-60 => format!("in {}", duration(59 - seconds)), // rounds up: one day is "in 24 h"
        -60..-1 => format!("in {}", duration(-seconds)),
        -1..1 => "now".to_owned(),
        _ => format!("{} ago", duration(seconds)),
    }
}

/// Elapsed time: `41 s`.
pub(crate) fn elapsed(since: &Timestamp) -> String {
    duration(Timestamp::now().millis_since(*since).div_euclid(1000))
}

/// A time to the second: `2026-03-01 12:04:11 UTC`.
pub(crate) fn exact(at: &Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(clock)) => format!("{day} {clock} UTC"),
        _ => text,
    }
}

/// The time between two moments: `1.24 s`, `3 min`.
pub(crate) fn took(from: &Timestamp, to: &Timestamp) -> String {
    let millis = to.millis_since(*from).max(0);
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{}.{:02} s", millis / 1000, millis % 1000 / 10),
        _ => duration(millis / 1000),
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

/// An integer in groups of three digits, with narrow no-break spaces.
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

/// Age up to which an observation is shown without its age, in milliseconds.
const RECENT_MS: i64 = 30_000;

/// The time of an observation if it is stale. After a server start, lists show observations from before the
/// start.
pub(crate) fn stale_at(observed: Option<&Timestamp>) -> Option<Timestamp> {
    observed
        .copied()
        .filter(|at| Timestamp::now().millis_since(*at) > RECENT_MS)
}

/// An ID or a hash, with its middle elided.
pub(crate) fn short(text: &str) -> String {
    let length = text.chars().count();
    if length <= 24 {
        return text.to_owned();
    }
    let head: String = text.chars().take(8).collect();
    let tail: String = text.chars().skip(length - 6).collect();
    format!("{head}…{tail}")
}

/// A shortened ID. It keeps the end, where `UUIDv7` values differ.
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

/// The kind of an operation as text: `cluster create`.
pub(crate) fn kind(kind: &OperationKind) -> String {
    kind.as_str().replace('_', " ")
}

/// The value of a parameter or label, without quotes.
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

/// The entries of a result as name and value. Nested objects are flattened.
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

/// Resolved parameters as names and values.
pub(crate) fn settings(parameters: &Value) -> Vec<(String, String)> {
    parameters
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, setting)| (name.clone(), value(setting)))
        .collect()
}

/// The settings of a preset that differ from the defaults.
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

/// The valid values of a parameter: `1 to 16`, `raft or bft`.
pub(crate) fn range(parameter: &Parameter) -> String {
    match (parameter.min, parameter.max) {
        (None, None) => parameter.one_of.join(" or "),
        (Some(min), Some(max)) if parameter.kind == ParameterKind::List => {
            format!("{min} to {max}, comma-separated")
        }
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("{min} or more"),
        (None, Some(max)) => format!("{max} or less"),
    }
}

/// A fraction in thousandths, for the width of a bar.
pub(crate) fn share(part: &u32, whole: &u32) -> u64 {
    u64::from(*part) * 1000 / u64::from((*whole).max(1))
}

/// The total of a pool's bar: its capacity, or the number of clusters if that is larger.
pub(crate) fn bar_total(counts: &Counts) -> u32 {
    counts.capacity.max(counts.clusters).max(1)
}

/// The clock skew relative to the server.
pub(crate) fn skew(millis: &i64) -> String {
    match *millis {
        -999..=999 => "in sync".to_owned(),
        ahead @ 1000.. => format!("{} ahead", duration(ahead / 1000)),
        behind => format!("{} behind", duration(-behind / 1000)),
    }
}

/// Clusters that are neither offered, leased nor being created: failed, broken, stopped.
pub(crate) fn other(counts: &Counts) -> u32 {
    counts
        .clusters
        .saturating_sub(counts.offered + counts.leased + counts.making)
}

/// A summary of the evidence: `voting power 4 of 4 · 4 of 4 nodes respond · blocks agree`.
pub(crate) fn evidence(evidence: &Evidence) -> String {
    let mut parts = Vec::new();
    if let Some((present, all)) = evidence.power {
        parts.push(format!("voting power {present} of {all}"));
    }
    let responding = evidence.nodes.values().filter(|node| node.answers).count();
    parts.push(format!("{responding} of {} nodes respond", evidence.nodes.len()));
    match evidence.agree {
        Some(true) => parts.push("blocks agree".to_owned()),
        Some(false) => parts.push("blocks differ".to_owned()),
        None => {}
    }
    parts.join(" · ")
}

/// The time of the newest block on any node.
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
    fn times_are_human_readable() {
        assert_eq!(duration(41), "41 s");
        assert_eq!(duration(190), "3 min");
        assert_eq!(duration(7800), "2 h 10 min");
        assert_eq!(duration(200_000), "2 d");
        assert_eq!(took(&Timestamp(0), &Timestamp(1_240)), "1.24 s");
        assert_eq!(relative(&Timestamp::now().plus_seconds(86_400)), "in 24 h");
        assert_eq!(relative(&Timestamp::now().plus_seconds(-41)), "41 s ago");
        assert_eq!(skew(&-165), "in sync");
        assert_eq!(skew(&-61_000), "1 min behind");
        assert_eq!(exact(&Timestamp(1_795_000_123_045)), "2026-11-18 11:08:43 UTC");
    }

    #[test]
    fn a_recent_observation_has_no_age() {
        let now = Timestamp::now();
        // Half the limit and twice the limit: the duration of this test does not matter.
        let [fresh, aged] = [RECENT_MS / 2, RECENT_MS * 2].map(|ms| now.plus_seconds(-ms / 1000));
        for recent in [None, Some(&now), Some(&fresh), Some(&now.plus_seconds(60))] {
            assert_eq!(stale_at(recent), None, "{recent:?}");
        }
        assert_eq!(stale_at(Some(&aged)), Some(aged));
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
