//! Drawings of a cluster: its nodes in a ring and its health timeline. Pure functions from values to
//! coordinates.

use crate::status_badge::{self, Indicator};
use chainpool_api as api;

/// The nodes in a ring. A line connects two healthy nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Graph {
    /// The nodes.
    pub(crate) points: Vec<Point>,
    /// The lines, by their ends.
    pub(crate) lines: Vec<(Place, Place)>,
}

/// A position in the drawing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// Distance from the left.
    pub(crate) x: i32,
    /// Distance from the top.
    pub(crate) y: i32,
}

/// A node in the drawing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    /// Its name.
    pub(crate) name: String,
    /// Its last observed state.
    pub(crate) indicator: Indicator,
    /// Its position.
    pub(crate) at: Place,
    /// The position of its name.
    pub(crate) label: Place,
    /// Text anchor of its name: `start`, `middle` or `end`.
    pub(crate) anchor: &'static str,
}

/// Sine of sixteen angles, in thousandths: precise enough for a drawing, without floats.
const SINE: [i32; 16] = [
    0, 383, 707, 924, 1000, 924, 707, 383, 0, -383, -707, -924, -1000, -924, -707, -383,
];

impl Graph {
    /// The graph of a cluster; `None` for a single node or more than sixteen.
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
                    .filter(|other| connected(one.indicator, other.indicator))
                    .map(|other| (one.at, other.at)),
            );
        }
        Some(Self { points, lines })
    }
}

fn connected(one: Indicator, other: Indicator) -> bool {
    one == Indicator::Healthy && other == Indicator::Healthy
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
        indicator: node.evidence.as_ref().map_or(Indicator::Unknown, |evidence| {
            status_badge::node(evidence).indicator
        }),
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

/// Health over time, as a bar of a thousand units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timeline {
    /// Start time.
    pub(crate) from: api::Timestamp,
    /// Its segments, oldest first.
    pub(crate) segments: Vec<Segment>,
}

/// A period with one health state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Segment {
    /// Start, in units.
    pub(crate) x: i64,
    /// Width, in units.
    pub(crate) width: i64,
    /// The health state.
    pub(crate) indicator: Indicator,
    /// The health state and its reason.
    pub(crate) title: String,
}

/// Length of the timeline, in milliseconds: one day.
const WINDOW: i64 = 86_400_000;

impl Timeline {
    /// The timeline of a health history that is sorted newest first.
    pub(crate) fn of(changes: &[api::HealthChange], now: api::Timestamp) -> Option<Self> {
        let oldest = changes.last()?.at;
        let from = oldest.max(api::Timestamp(now.0 - WINDOW));
        let span = now.millis_since(from).max(1);
        let mut until = now;
        let mut segments = Vec::new();
        for change in changes {
            let start = change.at.max(from);
            if until > start {
                let x = start.millis_since(from) * 1000 / span;
                let end = until.millis_since(from) * 1000 / span;
                let title = format!("{}: {}", change.state, change.reason);
                segments.push(Segment {
                    x,
                    width: (end - x).max(2),
                    indicator: status_badge::health(&change.state).indicator,
                    title,
                });
            }
            until = change.at;
            if until <= from {
                break;
            }
        }
        segments.reverse();
        Some(Self { from, segments })
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
    fn a_timeline_reaches_from_the_first_change_until_now() {
        let changes = [
            change(api::HealthState::Healthy, 9_000),
            change(api::HealthState::Broken, 5_000),
            change(api::HealthState::Healthy, 0),
        ];
        let timeline = Timeline::of(&changes, api::Timestamp(10_000)).unwrap();
        let segments: Vec<_> = timeline
            .segments
            .iter()
            .map(|segment| (segment.x, segment.width, segment.indicator))
            .collect();
        assert_eq!(
            segments,
            [
                (0, 500, Indicator::Healthy),
                (500, 400, Indicator::Broken),
                (900, 100, Indicator::Healthy)
            ]
        );
        assert_eq!(Timeline::of(&[], api::Timestamp(0)), None);
    }

    #[test]
    fn a_timeline_covers_at_most_one_day() {
        let timeline = Timeline::of(
            &[change(api::HealthState::Healthy, 0)],
            api::Timestamp(3 * WINDOW),
        )
        .unwrap();
        assert_eq!(
            (timeline.from, timeline.segments[0].x, timeline.segments[0].width),
            (api::Timestamp(2 * WINDOW), 0, 1000)
        );
    }

    #[test]
    fn lines_connect_only_healthy_nodes() {
        let cluster = crate::samples::cluster("a", api::HealthState::Degraded);
        let graph = Graph::of(&cluster).unwrap();
        assert_eq!(
            (graph.points.len(), graph.lines.len()),
            (4, 3),
            "three of four are healthy"
        );
    }
}
