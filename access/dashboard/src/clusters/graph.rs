//! Pictures of a cluster: its nodes in a ring, its verdicts along time. Pure: values in, coordinates out.

use crate::marks::{self, Mark};
use chainpool_api as api;

/// The nodes in a ring; a line joins two that both answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Graph {
    /// The nodes.
    pub(crate) points: Vec<Point>,
    /// The lines, by their ends.
    pub(crate) lines: Vec<(Place, Place)>,
}

/// A place in the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// To the right.
    pub(crate) x: i32,
    /// Downwards.
    pub(crate) y: i32,
}

/// A node in the picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    /// Its name.
    pub(crate) name: String,
    /// What was last seen of it.
    pub(crate) mark: Mark,
    /// Where it stands.
    pub(crate) at: Place,
    /// Where its name stands.
    pub(crate) label: Place,
    /// How its name is set: `start`, `middle` or `end`.
    pub(crate) anchor: &'static str,
}

/// Sine of the angles of a ring of sixteen, in thousandths: enough for a drawing and free of floats.
const SINE: [i32; 16] = [
    0, 383, 707, 924, 1000, 924, 707, 383, 0, -383, -707, -924, -1000, -924, -707, -383,
];

impl Graph {
    /// The picture of a cluster; none for one node or more than sixteen.
    pub(crate) fn of(cluster: &api::Cluster) -> Option<Self> {
        let count = cluster.nodes.len();
        if !(2..=16).contains(&count) {
            return None;
        }
        let points: Vec<Point> = cluster
            .nodes
            .iter()
            .enumerate()
            .map(|(place, node)| point(node, place * 16 / count))
            .collect();
        let mut lines = Vec::new();
        for (place, one) in points.iter().enumerate() {
            let others = points.iter().skip(place + 1);
            lines.extend(
                others
                    .filter(|other| joins(one.mark, other.mark))
                    .map(|other| (one.at, other.at)),
            );
        }
        Some(Self { points, lines })
    }
}

fn joins(one: Mark, other: Mark) -> bool {
    one == Mark::Healthy && other == Mark::Healthy
}

fn point(node: &api::Node, angle: usize) -> Point {
    let (sine, cosine) = (SINE[angle % 16], SINE[(angle + 4) % 16]);
    let place = |radius: i32| Place {
        x: 150 + sine * radius / 1000,
        y: 84 - cosine * radius / 1000,
    };
    let label = place(66);
    Point {
        name: node.name.clone(),
        mark: node
            .evidence
            .as_ref()
            .map_or(Mark::Unknown, |evidence| marks::node(evidence).mark),
        at: place(48),
        label: Place {
            y: label.y + 4,
            ..label
        },
        anchor: match sine {
            ..-100 => "end",
            -100..=100 => "middle",
            _ => "start",
        },
    }
}

/// Verdicts along time, as a strip of a thousand units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Strip {
    /// When it begins.
    pub(crate) from: api::Timestamp,
    /// Its parts: where, how wide, which verdict and why.
    pub(crate) parts: Vec<Part>,
}

/// A verdict that stood for a while.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// Where it begins.
    pub(crate) x: i64,
    /// How wide it is.
    pub(crate) width: i64,
    /// The verdict.
    pub(crate) mark: Mark,
    /// The verdict and its reason.
    pub(crate) words: String,
}

/// At most this long ago: a day.
const WINDOW: i64 = 86_400_000;

impl Strip {
    /// The strip of a history, newest first, as it is known now.
    pub(crate) fn of(changes: &[api::HealthChange], now: api::Timestamp) -> Option<Self> {
        let oldest = changes.last()?.at;
        let from = oldest.max(api::Timestamp(now.0 - WINDOW));
        let span = now.millis_since(from).max(1);
        let mut until = now;
        let mut parts = Vec::new();
        for change in changes {
            let begin = change.at.max(from);
            if until > begin {
                let x = begin.millis_since(from) * 1000 / span;
                let end = until.millis_since(from) * 1000 / span;
                let words = format!("{}: {}", change.state, change.reason);
                parts.push(Part {
                    x,
                    width: (end - x).max(2),
                    mark: marks::health(&change.state).mark,
                    words,
                });
            }
            until = change.at;
            if until <= from {
                break;
            }
        }
        parts.reverse();
        Some(Self { from, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(state: api::HealthState, at: i64) -> api::HealthChange {
        api::HealthChange {
            state,
            reason: "r".into(),
            at: api::Timestamp(at),
            evidence: None,
        }
    }

    #[test]
    fn a_strip_covers_the_time_from_the_first_verdict_until_now() {
        let changes = [
            change(api::HealthState::Healthy, 9_000),
            change(api::HealthState::Broken, 5_000),
            change(api::HealthState::Healthy, 0),
        ];
        let strip = Strip::of(&changes, api::Timestamp(10_000)).unwrap();
        let parts: Vec<_> = strip
            .parts
            .iter()
            .map(|part| (part.x, part.width, part.mark))
            .collect();
        assert_eq!(
            parts,
            [
                (0, 500, Mark::Healthy),
                (500, 400, Mark::Broken),
                (900, 100, Mark::Healthy)
            ]
        );
        assert_eq!(Strip::of(&[], api::Timestamp(0)), None);
    }

    #[test]
    fn a_strip_is_a_day_at_most() {
        let strip = Strip::of(
            &[change(api::HealthState::Healthy, 0)],
            api::Timestamp(3 * WINDOW),
        )
        .unwrap();
        assert_eq!(
            (strip.from, strip.parts[0].x, strip.parts[0].width),
            (api::Timestamp(2 * WINDOW), 0, 1000)
        );
    }

    #[test]
    fn lines_join_only_those_that_answer() {
        let cluster = crate::samples::cluster("a", api::HealthState::Degraded);
        let graph = Graph::of(&cluster).unwrap();
        assert_eq!(
            (graph.points.len(), graph.lines.len()),
            (4, 3),
            "three of four answer"
        );
    }
}
