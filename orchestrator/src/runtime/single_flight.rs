//! Coalesces assessments: a burst of changes to a cluster costs one more assessment, not one for each change.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// The clusters under assessment, each with a flag: another change arrived meanwhile.
#[derive(Debug, Default)]
pub struct SingleFlight(Mutex<HashMap<Uuid, bool>>);

/// An assessment of a cluster in progress. Dropping it ends it.
#[derive(Debug)]
pub struct Flight<'a> {
    flights: &'a SingleFlight,
    cluster: Uuid,
    ended: bool,
}

impl SingleFlight {
    /// Starts an assessment. `None`: one is in progress and will run once more.
    pub fn begin(&self, cluster: Uuid) -> Option<Flight<'_>> {
        let mut running = self.all();
        if let Some(pending) = running.get_mut(&cluster) {
            *pending = true;
            return None;
        }
        running.insert(cluster, false);
        Some(Flight {
            flights: self,
            cluster,
            ended: false,
        })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight<'_> {
    /// Returns and clears the flag for changes that arrived meanwhile.
    #[must_use]
    pub fn take_pending(&self) -> bool {
        self.flights
            .all()
            .get_mut(&self.cluster)
            .is_some_and(std::mem::take)
    }

    /// Ends the assessment; `false`: another change arrived meanwhile, so it continues.
    #[must_use]
    pub fn end(&mut self) -> bool {
        let mut running = self.flights.all();
        self.ended = !running.get_mut(&self.cluster).is_some_and(std::mem::take);
        if self.ended {
            running.remove(&self.cluster);
        }
        self.ended
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.flights.all().remove(&self.cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_during_a_flight_are_coalesced_into_one_more_run() {
        let (flights, cluster) = (SingleFlight::default(), Uuid::now_v7());
        let mut first = flights.begin(cluster).expect("none is in progress");
        assert!(
            flights.begin(Uuid::now_v7()).is_some(),
            "flights of other clusters are independent"
        );
        assert!(!first.take_pending());
        assert!(flights.begin(cluster).is_none() && flights.begin(cluster).is_none());
        assert!(first.take_pending() && !first.take_pending());
        assert!(flights.begin(cluster).is_none());
        assert!(!first.end() && first.end());
        let second = flights.begin(cluster).expect("the first has ended");
        drop(first);
        assert!(
            flights.begin(cluster).is_none(),
            "dropping an ended flight ends no other"
        );
        // A dropped flight does not block the next one.
        drop(second);
        assert!(flights.begin(cluster).is_some());
    }
}
