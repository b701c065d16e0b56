//! Checks of the nodes' volumes. The ledger is in the volumes: a node without its volumes starts from
//! nothing.

use crate::operations::{Operations, outcome::Outcome, step_context::StepContext, step_error::StepError};
use chainpool_agent::{
    ClusterKey, ClusterSpec, Generation, NodeName, NodeSpec, ObjectKind, Observation, Scope, Volume,
    shared_volume_name,
};
use chainpool_api::{Evidence, OperationKind};
use chainpool_store::OperationRow;
use std::collections::BTreeSet;

/// Returns `true` if an operation may create volumes.
pub(crate) fn creates_ledger(kind: OperationKind) -> bool {
    matches!(
        kind,
        OperationKind::ClusterCreate | OperationKind::ClusterReset | OperationKind::ClusterAmend
    )
}

/// Returns the nodes with a volume in their spec that is not in the inventory.
pub(crate) fn lost(spec: &ClusterSpec, generation: Generation, listed: &Observation) -> BTreeSet<NodeName> {
    let volumes = || {
        let objects = listed.objects.iter();
        objects.filter(|object| object.kind == ObjectKind::Volume && object.generation == generation)
    };
    let has_all = |node: &NodeSpec| {
        let (shared, own): (Vec<_>, Vec<_>) = node.volumes.iter().partition(|volume| volume.shared);
        let of_node = volumes().filter(|found| found.node.as_ref() == Some(&node.name));
        let is_there = |volume: &Volume| {
            volumes().any(|found| {
                let key = ClusterKey {
                    cluster: found.cluster,
                    generation,
                };
                found.node.is_none() && found.name == shared_volume_name(&key, &volume.name)
            })
        };
        of_node.count() >= own.len() && shared.into_iter().all(is_there)
    };
    spec.nodes
        .iter()
        .filter(|node| !has_all(node))
        .map(|node| node.name.clone())
        .collect()
}

/// Like [`lost`], without responsive nodes: they have their volumes, even if the inventory is outdated.
pub(crate) fn lost_unresponsive(
    spec: &ClusterSpec,
    generation: Generation,
    listed: &Observation,
    evidence: &Evidence,
) -> BTreeSet<NodeName> {
    let mut lost = lost(spec, generation, listed);
    lost.retain(|node| evidence.nodes.get(node.as_str()).is_none_or(|node| !node.answers));
    lost
}

fn names(nodes: &BTreeSet<NodeName>) -> String {
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}

/// The message for a lost ledger.
pub(crate) fn ledger_lost_text(lost: &BTreeSet<NodeName>) -> String {
    format!(
        "the data volumes of {} are gone; no node is started, because the ledger would restart empty. Restore the volumes (check for an unmounted disk, or another engine at this address), or release or reset the cluster",
        names(lost)
    )
}

/// The message for nodes that can recover their data from the others.
pub(crate) fn lost_text(lost: &BTreeSet<NodeName>) -> Option<String> {
    match lost.len() {
        0 => None,
        1 => Some(format!(
            "the data volume of {} is gone: the node starts empty and fetches the ledger from the others",
            names(lost)
        )),
        _ => Some(format!(
            "the data volumes of {} are gone: the nodes start empty and fetch the ledger from the others",
            names(lost)
        )),
    }
}

impl Operations {
    /// Checks the volumes of an existing generation and records the nodes whose volumes are gone. Returns an
    /// error if the ledger is lost: then no node may start.
    pub(crate) async fn check_ledger_volumes(
        &self,
        operation: &OperationRow,
        context: &StepContext,
    ) -> Result<(), StepError> {
        let listed = context
            .host
            .agent
            .observe(Scope::Cluster(context.key.cluster))
            .await?;
        let spec = self.spec_of(context).await?;
        let lost = lost(&spec, context.key.generation, &listed);
        let network = self
            .runtime
            .registry
            .get(&context.cluster.network_type)
            .map_err(crate::Error::internal)?;
        if network.loses_ledger(&spec, &lost) {
            return Err(StepError::LedgerLost(ledger_lost_text(&lost)));
        }
        if lost.is_empty() {
            return Ok(());
        }
        tracing::warn!(cluster = %context.cluster.name, nodes = names(&lost), "starting nodes on new volumes because theirs are gone");
        let mut tx = self.store().begin_background().await?;
        if let Some(mut row) = tx.operation(operation.id).await? {
            let outcome = Outcome {
                new_volumes: lost,
                ..Outcome::of(&row).map_err(crate::Error::internal)?
            };
            row.result = Some(outcome.stored());
            tx.operation_save(row).await?;
        }
        tx.commit("new volumes recorded").await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_agent::{ClusterId, Limits, LogConfig, NetworkSpec, Object, SpecHash};
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
                    shared: false,
                })
                .collect(),
            ports: vec![],
            limits: Limits {
                memory_bytes: 1,
                processes: 1,
                cpu_millis: None,
            },
            readiness: None,
            result: false,
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
    fn volumes_in_the_spec_but_not_in_the_inventory_are_lost() {
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
        assert_eq!(
            lost_unresponsive(&spec, 2, &listed(&[]), &evidence),
            [name("v1")].into()
        );
    }

    #[test]
    fn a_lost_shared_volume_is_lost_to_all_its_nodes() {
        let sharing = |text: &str| {
            let mut node = node(text, &["data", "common"]);
            node.volumes[1].shared = true;
            node
        };
        let spec = ClusterSpec {
            nodes: vec![sharing("v0"), sharing("v1"), node("v2", &["data"])],
            jobs: vec![],
            boot: vec![],
            network: NetworkSpec { subnet: None },
            facts: serde_json::Value::Null,
            keys: BTreeMap::new(),
        };
        let mut seen = listed(&[("v0", 2), ("v1", 2), ("v2", 2)]);
        assert_eq!(lost(&spec, 2, &seen), [name("v0"), name("v1")].into());
        let cluster = ClusterId::new();
        seen.objects.push(Object {
            name: shared_volume_name(
                &ClusterKey {
                    cluster,
                    generation: 2,
                },
                "common",
            ),
            cluster,
            node: None,
            ..seen.objects[0].clone()
        });
        assert_eq!(lost(&spec, 2, &seen), BTreeSet::new());
    }
}
