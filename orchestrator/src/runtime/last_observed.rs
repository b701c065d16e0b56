//! Observations of clusters: recording and the highest block.

use crate::{Orchestrator, number::number};
use chainpool_agent::Observation;
use chainpool_api::{self as api, Timestamp};
use chainpool_store::ClusterRow;
use std::collections::BTreeSet;

impl Orchestrator {
    /// Stores the observed state.
    pub(crate) fn note_evidence(
        &self,
        row: &ClusterRow,
        generation: u32,
        listed: Option<&Observation>,
        evidence: &api::Evidence,
        now: Timestamp,
    ) {
        self.inner.runtime_cache.update(row.id, generation, |runtime| {
            runtime.observed = listed.cloned().or(runtime.observed.take());
            runtime.note_transitions(evidence, now);
            runtime.checked_at = Some(now);
            if let Some(height) = evidence.height {
                runtime.height = runtime
                    .height
                    .filter(|(known, _)| *known >= height)
                    .or(Some((height, now)));
            }
            runtime.answered.extend(
                evidence
                    .nodes
                    .iter()
                    .filter(|(_, n)| n.answers)
                    .map(|(name, _)| name.clone()),
            );
            let is_unresponsive = |n: &api::NodeEvidence| n.process == "running" && (n.stuck || !n.answers);
            let unresponsive: BTreeSet<&String> = evidence
                .nodes
                .iter()
                .filter(|(_, n)| is_unresponsive(n))
                .map(|(name, _)| name)
                .collect();
            runtime
                .unresponsive_since
                .retain(|name, _| unresponsive.contains(name));
            for name in unresponsive {
                runtime.unresponsive_since.entry(name.clone()).or_insert(now);
            }
            runtime.evidence = Some(evidence.clone());
        });
    }

    /// The highest observed block of a cluster's current generation.
    pub(crate) fn height_seen(&self, cluster: &ClusterRow) -> Option<i64> {
        let observed = self
            .inner
            .runtime_cache
            .cluster(cluster.id, number(cluster.generation))
            .height;
        observed
            .and_then(|(height, _)| i64::try_from(height).ok())
            .max(cluster.height)
    }
}
