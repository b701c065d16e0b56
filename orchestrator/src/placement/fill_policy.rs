//! Fill policies: which clusters a host should have, which to replace and which to delete.

use crate::{
    Result,
    placement::{
        choose::{self, Free},
        fill_key::fill_key,
        new_cluster::NewCluster,
        room::{memory_used, no_room},
    },
    text::counted,
};
use chainpool_api::{self as api, ClusterState, Timestamp};
use chainpool_networks::Registry;
use chainpool_store::{ClusterRow, HostRow};
use std::collections::BTreeSet;
use uuid::Uuid;

/// The number of consecutive failures that pauses a fill entry.
pub(crate) const FAILURES_TO_PAUSE: u32 = 3;

/// The number of clusters of a host that autofill replaces or deletes at a time.
const AT_ONCE: usize = 2;

/// The free clusters to delete because the host exceeds its capacity, a few at a time.
pub(crate) fn surplus(registry: &Registry, host: &HostRow, clusters: &[ClusterRow]) -> Vec<Uuid> {
    let recipes = recipes(registry, &host.settings.0.fill);
    let deleting = clusters
        .iter()
        .filter(|c| c.state.0 == ClusterState::Deleting)
        .count();
    let over = clusters
        .len()
        .saturating_sub(deleting)
        .saturating_sub(usize::try_from(host.settings.0.capacity).unwrap_or(0));
    let free = clusters.iter().filter(|c| is_idle(c)).map(|cluster| Free {
        id: cluster.id,
        failed: cluster.state.0 == ClusterState::Failed,
        outdated: recipes.is_outdated(cluster),
        entry: recipes.place(cluster),
        on_request: cluster.fill_key.is_none(),
    });
    let have = choose::have(
        clusters
            .iter()
            .filter(|c| c.state.0 != ClusterState::Deleting)
            .map(|c| recipes.place(c)),
    );
    let capacity = host.settings.0.capacity;
    choose::surplus(
        free.collect(),
        &host.settings.0.fill,
        have,
        capacity,
        over.min(AT_ONCE.saturating_sub(deleting)),
    )
}

/// The outdated free clusters to replace now: a few at a time, and only if a cluster of a current recipe
/// would take their place.
pub(crate) fn outdated_now(
    registry: &Registry,
    host: &HostRow,
    clusters: &[ClusterRow],
) -> Result<Vec<Uuid>> {
    let fill = &host.settings.0.fill;
    let recipes = recipes(registry, fill);
    let outdated: Vec<&ClusterRow> = clusters
        .iter()
        .filter(|c| is_idle(c) && recipes.is_outdated(c))
        .collect();
    let changing = clusters
        .iter()
        .filter(|c| matches!(c.state.0, ClusterState::Deleting | ClusterState::Creating))
        .count();
    // A failing entry is no replacement, nor is one without space.
    let Some(first) = outdated
        .first()
        .filter(|_| changing < AT_ONCE && !is_failing(host))
    else {
        return Ok(vec![]);
    };
    let present = choose::have(clusters.iter().map(|c| recipes.place(c)));
    let Some(place) = choose::fill_entry(fill, &present, host.settings.0.capacity, &BTreeSet::new()) else {
        return Ok(vec![]);
    };
    let new = NewCluster::of_entry(registry, &fill[place], place)?;
    let used = memory_used(clusters.iter().filter(|c| c.id != first.id));
    if no_room(host, used, new.network.requirements(&new.parameters).memory_bytes).is_some() {
        return Ok(vec![]);
    }
    Ok(outdated
        .iter()
        .take(AT_ONCE - changing)
        .map(|cluster| cluster.id)
        .collect())
}

/// Lists the deviations of a host's clusters from its policy.
pub(crate) fn fill_problems(host: &HostRow, counts: FillCounts) -> Vec<String> {
    let FillCounts {
        all,
        leased,
        outdated: free,
    } = counts;
    let mut problems = Vec::new();
    if free > 0 {
        let effect = match (host.settings.0.autofill, is_failing(host)) {
            (false, _) => "autofill is off, so they are not replaced",
            (true, true) => "they are kept until every entry of the fill policy succeeds",
            (true, false) => "being replaced",
        };
        problems.push(format!(
            "host {}: {} outdated; {effect}",
            host.name,
            clusters_are(free, "free ")
        ));
    }
    let capacity = usize::try_from(host.settings.0.capacity).unwrap_or(0);
    if all > capacity {
        problems.push(format!(
            "host {} has {} but a capacity of {capacity}: free clusters are being deleted; leased ones ({leased}) are deleted when released",
            host.name,
            counted(all, "cluster")
        ));
    }
    problems
}

/// The recipes of a fill policy. An entry that the network type no longer accepts has none.
pub(crate) fn recipes(registry: &Registry, fill: &[api::Fill]) -> Recipes {
    let recipe = |(place, entry): (usize, &api::Fill)| {
        let new = NewCluster::of_entry(registry, entry, place).ok()?;
        let known = new.network.describe().parameters;
        Some(Recipe {
            network_type: new.network_type,
            preset: new.preset,
            known,
            wanted: new.parameters,
        })
    };
    Recipes(fill.iter().enumerate().map(recipe).collect())
}

/// Returns `true` for a free cluster without an operation that nobody keeps in its state: no maintenance, not
/// stopped.
pub(crate) fn is_idle(cluster: &ClusterRow) -> bool {
    let kept = cluster.state.0 == ClusterState::Stopped
        || cluster
            .maintenance_until
            .is_some_and(|until| until.0 > Timestamp::now());
    let is_deleted = cluster.deleted_at.is_some() || cluster.state.0 == ClusterState::Deleting;
    !cluster.leased && cluster.operation_id.is_none() && !is_deleted && !kept
}

/// Returns `true` if the latest cluster of any entry of the policy failed.
pub(crate) fn is_failing(host: &HostRow) -> bool {
    host.settings
        .0
        .fill
        .iter()
        .any(|entry| host.fill_state.0.contains_key(&fill_key(entry)))
}

fn clusters_are(count: usize, kind: &str) -> String {
    if count == 1 {
        format!("1 {kind}cluster is")
    } else {
        format!("{count} {kind}clusters are")
    }
}

/// The clusters of a host in numbers, except those that are being deleted. Its fill policy is compared with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FillCounts {
    /// All clusters.
    pub(crate) all: usize,
    /// Leased clusters.
    pub(crate) leased: usize,
    /// Free clusters that no entry of the policy would create.
    pub(crate) outdated: usize,
}

/// The clusters that an entry of a fill policy creates.
struct Recipe {
    network_type: String,
    preset: String,
    /// The parameters of the type.
    known: Vec<api::Parameter>,
    /// The values of all parameters.
    wanted: serde_json::Value,
}

impl Recipe {
    /// Returns `true` if a cluster matches the recipe. A parameter missing in the row, because the row
    /// predates it, counts as its default.
    fn matches(&self, cluster: &ClusterRow) -> bool {
        // Ignore amendments: the next generation has the original parameters.
        let present = &cluster.created_with.as_ref().unwrap_or(&cluster.parameters).0;
        let value =
            |parameter: &api::Parameter| present.get(&parameter.name).unwrap_or(&parameter.default).clone();
        let same = || {
            self.known.iter().all(|parameter| {
                self.wanted.get(&parameter.name).unwrap_or(&parameter.default) == &value(parameter)
            })
        };
        self.network_type == cluster.network_type && self.preset == cluster.preset && same()
    }
}

/// The recipe of each entry of a fill policy.
pub(crate) struct Recipes(Vec<Option<Recipe>>);

impl Recipes {
    /// The recipes of a policy that cannot be read: by them no cluster is outdated.
    pub(crate) fn unknown() -> Self {
        Self(vec![None])
    }

    /// The entry that a cluster belongs to.
    pub(crate) fn place(&self, cluster: &ClusterRow) -> Option<usize> {
        self.0
            .iter()
            .position(|recipe| recipe.as_ref().is_some_and(|recipe| recipe.matches(cluster)))
    }

    /// Returns `true` if a cluster was created by an entry that is no longer in the policy. Clusters created
    /// on request are never outdated.
    pub(crate) fn is_outdated(&self, cluster: &ClusterRow) -> bool {
        cluster.fill_key.is_some() && self.place(cluster).is_none() && self.0.iter().all(Option::is_some)
    }
}

#[cfg(test)]
mod tests;
