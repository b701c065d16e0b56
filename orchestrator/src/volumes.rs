//! Whether what nodes keep is still there. Their ledger is in their volumes: one that is started without begins from nothing.

use crate::{Orchestrator, Result, step::Ground, step::StepError, view::number};
use chainpool_agent::{ClusterSpec, Generation, NodeName, ObjectKind, Observation, Scope};
use chainpool_api::{Evidence, OperationKind};
use chainpool_store::{Json, OperationRow};
use std::collections::BTreeSet;

/// The name, in an operation's result, of the nodes that were started on new volumes.
const NEW_VOLUMES: &str = "new_volumes";

/// Whether an operation makes volumes that were not there before.
pub(crate) fn makes_ledger(kind: OperationKind) -> bool {
    matches!(
        kind,
        OperationKind::ClusterCreate | OperationKind::ClusterReset | OperationKind::ClusterAmend
    )
}

/// The nodes that have fewer volumes by a listing than by their spec.
pub(crate) fn lost(spec: &ClusterSpec, generation: Generation, listed: &Observation) -> BTreeSet<NodeName> {
    let there = |node: &NodeName| {
        let of_node = listed
            .objects
            .iter()
            .filter(|o| o.kind == ObjectKind::Volume && o.generation == generation);
        of_node.filter(|o| o.node.as_ref() == Some(node)).count()
    };
    spec.nodes
        .iter()
        .filter(|node| there(&node.name) < node.volumes.len())
        .map(|node| node.name.clone())
        .collect()
}

/// The same without those that answer: they have what they need, whatever a listing of a moment ago says.
pub(crate) fn lost_by(
    spec: &ClusterSpec,
    generation: Generation,
    listed: &Observation,
    evidence: &Evidence,
) -> BTreeSet<NodeName> {
    let mut lost = lost(spec, generation, listed);
    lost.retain(|node| evidence.nodes.get(node.as_str()).is_none_or(|seen| !seen.answers));
    lost
}

fn names(nodes: &BTreeSet<NodeName>) -> String {
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}

/// The words for a ledger that nobody has any more.
pub(crate) fn ledger_lost_text(lost: &BTreeSet<NodeName>) -> String {
    format!(
        "the data volumes of {} are gone, and the ledger would begin again from nothing, so nothing is started; bring them back (a disk that is not mounted, another engine at this address?), or release or reset the cluster",
        names(lost)
    )
}

/// The words for nodes that can get what they lost from the others.
pub(crate) fn lost_text(lost: &BTreeSet<NodeName>) -> Option<String> {
    match lost.len() {
        0 => None,
        1 => Some(format!(
            "the data volume of {} is gone: it begins from nothing and fetches the ledger from the others",
            names(lost)
        )),
        _ => Some(format!(
            "the data volumes of {} are gone: they begin from nothing and fetch the ledger from the others",
            names(lost)
        )),
    }
}

/// What an operation has to say of the volumes that it made.
pub(crate) fn renewed_text(operation: &OperationRow) -> Option<String> {
    let nodes = operation.result.as_ref()?.0.get(NEW_VOLUMES)?;
    let nodes: BTreeSet<NodeName> = serde_json::from_value(nodes.clone()).ok()?;
    lost_text(&nodes)
}

impl Orchestrator {
    /// Looks for the volumes of a generation that was made before, and notes with the operation whose are gone. When the ledger is lost with
    /// them, nothing may be started: that is the error.
    pub(crate) async fn ledger_there(
        &self,
        operation: &OperationRow,
        ground: &Ground,
    ) -> Result<(), StepError> {
        let listed = ground
            .host
            .agent
            .observe(Scope::Cluster(ground.key.cluster))
            .await?;
        let spec = self.spec_of(ground).await?;
        let lost = lost(&spec, ground.key.generation, &listed);
        let network = self
            .inner
            .registry
            .get(&ground.cluster.network_type)
            .map_err(crate::Error::internal)?;
        if network.loses_ledger(&spec, &lost) {
            return Err(StepError::LedgerLost(ledger_lost_text(&lost)));
        }
        if lost.is_empty() {
            return Ok(());
        }
        tracing::warn!(cluster = %ground.cluster.name, nodes = names(&lost), "nodes are started on new volumes: theirs are gone");
        let mut tx = self.store().begin().await?;
        if let Some(mut row) = tx.operation(operation.id).await? {
            let mut result = row
                .result
                .take()
                .map_or_else(|| serde_json::json!({}), |result| result.0);
            result[NEW_VOLUMES] = serde_json::to_value(&lost).map_err(crate::Error::internal)?;
            row.result = Some(Json(result));
            tx.operation_save(row).await?;
        }
        tx.commit("new volumes noted").await?;
        Ok(())
    }

    /// The highest block that was seen of a cluster's present generation.
    pub(crate) fn height_seen(&self, cluster: &chainpool_store::ClusterRow) -> Option<i64> {
        let seen = self
            .inner
            .live
            .seen(cluster.id, number(cluster.generation))
            .height;
        seen.and_then(|(height, _)| i64::try_from(height).ok())
            .max(cluster.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_agent::{ClusterId, Limits, LogConfig, NetworkSpec, NodeSpec, Object, SpecHash, Volume};
    use chainpool_api::NodeEvidence;
    use std::collections::BTreeMap;

    fn name(text: &str) -> NodeName {
        NodeName::parse(text).expect("a node name")
    }

    fn node(node: &str, volumes: &[&str]) -> NodeSpec {
        NodeSpec {
            name: name(node),
            images: vec![],
            command: vec![],
            user: None,
            env: BTreeMap::new(),
            files: vec![],
            volumes: volumes
                .iter()
                .map(|v| Volume {
                    name: (*v).to_owned(),
                    path: format!("/{v}"),
                })
                .collect(),
            ports: vec![],
            limits: Limits {
                memory_bytes: 1,
                processes: 1,
            },
            read_only_root: false,
            machine: None,
            log: LogConfig::default(),
            stop_signal: String::new(),
            stop_timeout: 1,
            hash: SpecHash(String::new()),
        }
    }

    fn listed(volumes: &[(&str, Generation)]) -> Observation {
        let object = |(node, generation): &(&str, Generation)| Object {
            kind: ObjectKind::Volume,
            name: format!("{node}-data"),
            id: "id".to_owned(),
            cluster: ClusterId::new(),
            generation: *generation,
            node: Some(name(node)),
            hash: None,
            state: None,
        };
        Observation {
            objects: volumes.iter().map(object).collect(),
            ..Observation::default()
        }
    }

    #[test]
    fn a_node_has_lost_what_its_spec_has_and_the_listing_has_not() {
        let spec = ClusterSpec {
            nodes: vec![node("v0", &["data"]), node("v1", &["data"]), node("code", &[])],
            jobs: vec![],
            boot: vec![],
            network: NetworkSpec { subnet: None },
            facts: serde_json::Value::Null,
            keys: BTreeMap::new(),
        };
        assert_eq!(lost(&spec, 2, &listed(&[("v0", 2), ("v1", 2)])), BTreeSet::new());
        assert_eq!(
            lost(&spec, 2, &listed(&[("v0", 2), ("v1", 1)])),
            [name("v1")].into(),
            "an older generation's"
        );
        assert_eq!(lost(&spec, 2, &listed(&[])), [name("v0"), name("v1")].into());
        let answers = NodeEvidence {
            answers: true,
            ..NodeEvidence::default()
        };
        let evidence = Evidence {
            nodes: [("v0".to_owned(), answers)].into(),
            ..Evidence::default()
        };
        assert_eq!(lost_by(&spec, 2, &listed(&[]), &evidence), [name("v1")].into());
    }
}
