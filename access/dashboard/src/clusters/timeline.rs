//! The health timeline of a cluster. Pure functions from values to coordinates.

use crate::status_badge::{self, Indicator};
use chainpool_api as api;

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
}
