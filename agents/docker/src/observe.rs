//! Our objects on the engine: one label-filtered listing per kind.

use crate::{DockerAgent, engine::CALL, filter::as_map};
use bollard::{
    models::{ContainerSummary, ContainerSummaryStateEnum as State, Network},
    query_parameters::{ListContainersOptionsBuilder, ListVolumesOptionsBuilder},
};
use chainpool_agent::{
    ClusterKey, LABEL_JOB, LabelFilter, Labels, NodeState, Object, ObjectKind, Observation, Result, Scope,
    network_name,
};
use std::collections::HashMap;

/// The state of a running node that was disconnected by hand.
const DISCONNECTED: &str = "running without its network";

impl DockerAgent {
    pub(crate) async fn objects_observe(&self, scope: Scope) -> Result<Observation> {
        match scope {
            Scope::Host => self.host_observe().await,
            Scope::Cluster(cluster) => {
                let objects = self
                    .objects_list(&LabelFilter::cluster(self.instance, cluster))
                    .await?;
                Ok(Observation {
                    objects,
                    ..Observation::default()
                })
            }
        }
    }

    /// Lists all objects once, ours and others'.
    async fn host_observe(&self) -> Result<Observation> {
        let all = HashMap::new();
        let filter = LabelFilter::instance(self.instance);
        let (containers, networks, volumes) = tokio::try_join!(
            self.containers(&all),
            self.networks(&all),
            self.volumes_list(&filter)
        )?;
        let resources_in_use = self.resources_in_use(&containers, &networks).await;
        let containers = containers.into_iter().filter(|c| self.owns(c.labels.as_ref()));
        let networks = networks.into_iter().filter(|n| self.owns(n.labels.as_ref()));
        let objects = containers
            .filter_map(container_object)
            .chain(networks.filter_map(network_object))
            .chain(volumes)
            .collect();
        Ok(Observation {
            objects,
            resources_in_use,
        })
    }

    /// Lists containers, networks and volumes at once.
    pub(crate) async fn objects_list(&self, filter: &LabelFilter) -> Result<Vec<Object>> {
        let (mut all, networks, volumes) = tokio::try_join!(
            self.containers_list(filter),
            self.networks_list(filter),
            self.volumes_list(filter)
        )?;
        all.extend(networks);
        all.extend(volumes);
        Ok(all)
    }

    pub(crate) async fn containers_list(&self, filter: &LabelFilter) -> Result<Vec<Object>> {
        Ok(self
            .containers(&as_map(filter))
            .await?
            .into_iter()
            .filter_map(container_object)
            .collect())
    }

    /// Containers by filters, running or not.
    pub(crate) async fn containers(
        &self,
        filters: &HashMap<&'static str, Vec<String>>,
    ) -> Result<Vec<ContainerSummary>> {
        let docker = self.engine.docker().await?;
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(filters)
            .build();
        self.engine
            .call(CALL, docker.list_containers(Some(options)))
            .await
            .map_err(|f| f.into_error("list its containers"))
    }

    pub(crate) async fn networks_list(&self, filter: &LabelFilter) -> Result<Vec<Object>> {
        Ok(self
            .networks(&as_map(filter))
            .await?
            .into_iter()
            .filter_map(network_object)
            .collect())
    }

    pub(crate) async fn volumes_list(&self, filter: &LabelFilter) -> Result<Vec<Object>> {
        let docker = self.engine.docker().await?;
        let options = ListVolumesOptionsBuilder::default()
            .filters(&as_map(filter))
            .build();
        let list = self
            .engine
            .call(CALL, docker.list_volumes(Some(options)))
            .await
            .map_err(|f| f.into_error("list its volumes"))?;
        // A volume's name is its id.
        let objects = list
            .volumes
            .unwrap_or_default()
            .into_iter()
            .filter_map(|v| object(ObjectKind::Volume, v.name.clone(), Some(v.name), &v.labels, None));
        Ok(objects.collect())
    }
}

fn container_object(container: ContainerSummary) -> Option<Object> {
    let labels = container.labels.clone().unwrap_or_default();
    let kind = if labels.contains_key(LABEL_JOB) {
        ObjectKind::Job
    } else {
        ObjectKind::Node
    };
    let mut state = Some(state(&container));
    let runs = matches!(state, Some(NodeState::Running | NodeState::Unready));
    if kind == ObjectKind::Node && runs && is_disconnected(&container, &labels) {
        state = Some(NodeState::Changing(DISCONNECTED.to_owned()));
    }
    let name = container
        .names
        .unwrap_or_default()
        .into_iter()
        .next()
        .unwrap_or_default();
    object(
        kind,
        name.trim_start_matches('/').to_owned(),
        container.id,
        &labels,
        state,
    )
}

pub(crate) fn network_object(network: Network) -> Option<Object> {
    object(
        ObjectKind::Network,
        network.name.unwrap_or_default(),
        network.id,
        &network.labels.unwrap_or_default(),
        None,
    )
}

pub(crate) fn object(
    kind: ObjectKind,
    name: String,
    id: Option<String>,
    labels: &HashMap<String, String>,
    state: Option<NodeState>,
) -> Option<Object> {
    let Some(labels) = Labels::from_map(labels) else {
        tracing::warn!(%name, ?kind, "ignoring an object with this instance's label but without readable cluster labels");
        return None;
    };
    let Labels {
        instance: _,
        cluster,
        generation,
        node,
        hash,
    } = labels;
    Some(Object {
        kind,
        name,
        id: id.unwrap_or_default(),
        cluster,
        generation,
        node,
        hash,
        state,
    })
}

/// Returns true if a container lacks an endpoint on its cluster's network. False if the listing contains no
/// networks.
fn is_disconnected(container: &ContainerSummary, labels: &HashMap<String, String>) -> bool {
    let Some(networks) = container
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.as_ref())
    else {
        return false;
    };
    let network = Labels::from_map(labels).map(|l| {
        network_name(&ClusterKey {
            cluster: l.cluster,
            generation: l.generation,
        })
    });
    network.is_some_and(|network| !networks.contains_key(&network))
}

/// A node's state from a listing, which saves an inspect call per container.
fn state(container: &ContainerSummary) -> NodeState {
    let status = container.status.as_deref().unwrap_or_default();
    match container.state {
        Some(State::CREATED) => NodeState::Created,
        Some(State::RUNNING) if is_unready(status) => NodeState::Unready,
        Some(State::RUNNING) => NodeState::Running,
        Some(State::PAUSED) => NodeState::Paused,
        Some(State::EXITED) => {
            exit_code(status).map_or_else(|| NodeState::Changing(status.to_owned()), NodeState::Exited)
        }
        Some(State::RESTARTING) => NodeState::Changing("restarting".to_owned()),
        Some(State::REMOVING) => NodeState::Changing("removing".to_owned()),
        Some(State::DEAD) => NodeState::Changing("dead".to_owned()),
        Some(State::STOPPING) => NodeState::Changing("stopping".to_owned()),
        Some(State::EMPTY) | None => NodeState::Changing(status.to_owned()),
    }
}

/// The result of the health check in `Up 5 seconds (health: starting)` or `Up 5 seconds (unhealthy)`; a container
/// without one has none.
fn is_unready(status: &str) -> bool {
    status.ends_with("(health: starting)") || status.ends_with("(unhealthy)")
}

/// The code in `Exited (137) 5 seconds ago`.
fn exit_code(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_read_from_the_listing() {
        assert_eq!(exit_code("Exited (137) 5 seconds ago"), Some(137));
        assert_eq!(exit_code("Exited (0) Less than a second ago"), Some(0));
        assert_eq!(exit_code("Up 5 seconds"), None);
    }

    #[test]
    fn readiness_is_read_from_the_listing() {
        for (status, expected) in [
            ("Up 5 seconds", NodeState::Running),
            ("Up 5 seconds (healthy)", NodeState::Running),
            ("Up Less than a second (health: starting)", NodeState::Unready),
            ("Up 2 hours (unhealthy)", NodeState::Unready),
        ] {
            let container = ContainerSummary {
                state: Some(State::RUNNING),
                status: Some(status.to_owned()),
                ..ContainerSummary::default()
            };
            assert_eq!(state(&container), expected, "{status}");
        }
    }

    #[test]
    fn intermediate_states_are_changing() {
        for (reported, name) in [
            (State::RESTARTING, "restarting"),
            (State::DEAD, "dead"),
            (State::REMOVING, "removing"),
        ] {
            let container = ContainerSummary {
                state: Some(reported),
                ..ContainerSummary::default()
            };
            assert_eq!(state(&container), NodeState::Changing(name.to_owned()));
        }
    }
}
