//! One node: converges its container from any state to the desired power.
//!
//! Labels identify a node's container. Its name is a convenience: a renamed container is still found.

use crate::{
    DockerAgent,
    archive::Fresh,
    container::container_body,
    engine::{CALL, CallError, SETTLE, is_being_removed, wait_for_retry},
    filter::as_map,
    shape::Shape,
};
use bollard::{
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum as Status, EndpointSettings,
        NetworkConnectRequest, NetworkDisconnectRequest,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
        RestartContainerOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use chainpool_agent::{
    ClusterKey, Error, ImageRef, Incarnation, LabelFilter, Labels, NodeName, NodeSpec, Place, Power, Result,
    absent_is_fine, network_name, node_object_name,
};
use futures::future::try_join_all;
use std::time::Duration;
use tokio::time::Instant;

/// A node's container on the engine.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: Option<Labels>,
    pub(crate) shape: Shape,
    pub(crate) status: Status,
    /// The exit code of an exited process.
    pub(crate) code: i64,
    started_at: String,
}

impl Container {
    /// The incarnation of its process. A paused process has one, a process between two restarts has none.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.is_alive()
            .then(|| Incarnation(format!("{}@{}", self.id, self.started_at)))
    }

    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.status, Status::RUNNING | Status::PAUSED)
    }
}

impl From<ContainerInspectResponse> for Container {
    fn from(found: ContainerInspectResponse) -> Self {
        let shape = Shape::of(&found);
        let state = found.state.unwrap_or_default();
        Self {
            id: found.id.unwrap_or_default(),
            name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            shape,
            labels: found
                .config
                .and_then(|c| c.labels)
                .as_ref()
                .and_then(Labels::from_map),
            status: state.status.unwrap_or(Status::EMPTY),
            code: state.exit_code.unwrap_or_default(),
            started_at: state.started_at.unwrap_or_default(),
        }
    }
}

impl DockerAgent {
    /// Brings a node to `power`. A node whose volumes are all new is created without a lookup, to start new
    /// networks fast.
    pub(crate) async fn node_ensure(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let volumes = self.volumes_ensure(key, node).await?;
            // A volume cannot be removed while a container uses it, whatever its name.
            let is_first = !node.volumes.is_empty() && volumes.len() == node.volumes.len();
            let mut fresh = Fresh {
                container: true,
                volumes,
            };
            let body = container_body(self.instance, self.bind, key, node, image)?;
            // A node to be stopped may have other attributes.
            let wanted = (*power != Power::Off).then_some(&body);
            let found = if is_first {
                None
            } else {
                self.container_usable(key, node, wanted).await?
            };
            if let Some(found) = found {
                fresh.container = false;
                // Never started: a previous call may have been cut off before it placed the files.
                if found.status == Status::CREATED {
                    self.files_place(&found.id, node, &fresh).await?;
                }
                if self.power_set(&found, key, node, power).await? {
                    return Ok(());
                }
            } else if let Some(id) = self.container_create(key, &node.name, body, image).await? {
                self.files_place(&id, node, &fresh).await?;
                return if *power == Power::Off {
                    Ok(())
                } else {
                    self.container_start(&id, node).await
                };
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!(
                    "{} is still changing on the engine",
                    node_object_name(key, &node.name)
                )));
            }
        }
    }

    /// Creates the container. `None` when one of ours has its name, or when the image is gone but the
    /// container may exist.
    pub(crate) async fn container_create(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        body: ContainerCreateBody,
        image: &ImageRef,
    ) -> Result<Option<String>> {
        let name = node_object_name(key, node);
        let docker = self.engine.docker().await?;
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        match self
            .engine
            .call(CALL, docker.create_container(Some(options), body))
            .await
        {
            Ok(created) => Ok(Some(created.id)),
            Err(fault) if fault.has_code(409) && fault.message_contains("already in use") => {
                self.name_free(key, node).await.map(|()| None)
            }
            Err(fault) if fault.has_code(404) => match self.container_inspect(&name).await? {
                Some(_) => Ok(None),
                None => Err(Error::Refused(format!(
                    "the image {} ({}) is no longer on the engine: build or pull it, then try again",
                    image.name, image.pinned
                ))),
            },
            Err(fault) => Err(fault.into_error(&format!("create the container {name}"))),
        }
    }

    /// Frees a node's name: restores the name of another of our nodes; a foreign container is an error.
    async fn name_free(&self, key: &ClusterKey, node: &NodeName) -> Result<()> {
        let name = node_object_name(key, node);
        let Some(found) = self.container_inspect(&name).await? else {
            return Ok(());
        };
        let Some(Labels {
            instance,
            cluster,
            generation,
            node: Some(owner),
            hash: _,
        }) = &found.labels
        else {
            return Err(Error::Foreign(format!("container {name}")));
        };
        if *instance != self.instance {
            return Err(Error::Foreign(format!("container {name}")));
        }
        let of = ClusterKey {
            cluster: *cluster,
            generation: *generation,
        };
        if of == *key && owner == node {
            Ok(())
        } else {
            self.name_restore(&found, &of, owner).await
        }
    }

    /// Restores a container's name, unless another container has it.
    async fn name_restore(&self, found: &Container, key: &ClusterKey, node: &NodeName) -> Result<()> {
        let name = node_object_name(key, node);
        if found.name == name {
            return Ok(());
        }
        tracing::warn!(%name, found = %found.name, "container was renamed; restoring its name");
        let docker = self.engine.docker().await?;
        let options = RenameContainerOptionsBuilder::default().name(&name).build();
        match self
            .engine
            .call(CALL, docker.rename_container(&found.id, options))
            .await
        {
            Err(fault) if fault.has_code(409) || fault.has_code(404) => Ok(()),
            other => {
                other.map_err(|f| f.into_error(&format!("rename the container {} to {name}", found.name)))
            }
        }
    }

    /// The containers with a node's labels, whatever their names: a running one first, then the one with the
    /// node's name.
    async fn containers_of(&self, key: &ClusterKey, node: &NodeName) -> Result<Vec<Container>> {
        let filter = LabelFilter::node(self.instance, key, node);
        let listed = self.containers(&as_map(&filter)).await?;
        let found = listed
            .into_iter()
            .filter_map(|container| container.id)
            .map(async |id| self.container_inspect(&id).await);
        let mut found: Vec<Container> = try_join_all(found).await?.into_iter().flatten().collect();
        let name = node_object_name(key, node);
        found.sort_by_key(|container| (!container.is_alive(), container.name != name));
        Ok(found)
    }

    /// The node's container if it is current. Removes stale and surplus ones of ours but keeps the volumes: a
    /// key and a volume serve one process. `None`: there is none, or soon will be none. With `wanted`, a
    /// container with other attributes is stale, too.
    pub(crate) async fn container_usable(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        wanted: Option<&ContainerCreateBody>,
    ) -> Result<Option<Container>> {
        let ours = Labels::of_cluster(self.instance, key)
            .node(&node.name)
            .hash(&node.hash);
        let mut usable = None;
        for found in self.containers_of(key, &node.name).await? {
            let stale = match (found.status, &found.labels) {
                (Status::REMOVING, _) => continue,
                (Status::DEAD, _) => Some("it is dead".to_owned()),
                _ if usable.is_some() => Some("the node has another container".to_owned()),
                (_, Some(labels)) if *labels == ours => {
                    wanted.and_then(|wanted| found.shape.difference(wanted))
                }
                _ => Some("its spec has changed".to_owned()),
            };
            match stale {
                None => usable = Some(found),
                Some(why) => {
                    tracing::info!(container = %found.name, why, "removing a stale container of a node; its volumes stay");
                    self.container_stop(&found, node).await?;
                    self.container_discard(&found.id, &found.name).await?;
                }
            }
        }
        if let Some(found) = &usable {
            self.name_restore(found, key, &node.name).await?;
        }
        Ok(usable)
    }

    /// Connects a container to its cluster's network under the node's name, if it is not connected. False:
    /// inspect it again.
    async fn endpoint_ensure(&self, found: &Container, key: &ClusterKey, node: &NodeName) -> Result<bool> {
        if found.shape.is_resolvable(key, node) {
            return Ok(true);
        }
        let network = network_name(key);
        if found.shape.is_connected(key) {
            self.endpoint_remove(&network, &found.id).await?;
        }
        tracing::warn!(container = %found.name, network, "node is not connected to its network; reconnecting");
        let endpoint = EndpointSettings {
            aliases: Some(vec![node.to_string()]),
            ..EndpointSettings::default()
        };
        let request = NetworkConnectRequest {
            container: found.id.clone(),
            endpoint_config: Some(endpoint),
        };
        let docker = self.engine.docker().await?;
        match self
            .engine
            .call(CALL, docker.connect_network(&network, request))
            .await
        {
            Ok(()) => Ok(true),
            // A leftover endpoint that the container does not list.
            Err(fault) if fault.message_contains("already exists in network") => {
                self.endpoint_remove(&network, &found.name).await?;
                Ok(false)
            }
            // It refers to a network id that no longer exists: its start fails, and it is recreated.
            Err(fault) if fault.has_code(404) && !found.is_alive() => Ok(true),
            Err(fault) => Err(fault.into_error(&format!("connect node {node} to its network"))),
        }
    }

    async fn endpoint_remove(&self, network: &str, container: &str) -> Result<()> {
        let docker = self.engine.docker().await?;
        let request = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: Some(true),
        };
        let removed = self
            .engine
            .call(CALL, docker.disconnect_network(network, request))
            .await;
        absent_is_fine(removed).map_err(|f| f.into_error(&format!("disconnect {container} from {network}")))
    }

    pub(crate) async fn container_discard(&self, id: &str, name: &str) -> Result<()> {
        match self.container_remove(id).await {
            Err(fault) if is_being_removed(&fault) => Ok(()),
            other => other.map_err(|f| f.into_error(&format!("remove the container {name}"))),
        }
    }

    /// Removes a container, running or not, and its nameless volumes.
    pub(crate) async fn container_remove(&self, id: &str) -> Result<(), CallError> {
        let docker = self.engine.docker().await?;
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        absent_is_fine(
            self.engine
                .call(CALL, docker.remove_container(id, Some(options)))
                .await,
        )
    }

    pub(crate) async fn container_inspect(&self, name: &str) -> Result<Option<Container>> {
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.inspect_container(name, None)).await {
            Ok(found) => Ok(Some(found.into())),
            Err(fault) if fault.has_code(404) => Ok(None),
            Err(fault) => Err(fault.into_error(&format!("inspect the container {name}"))),
        }
    }

    /// The node's container, if it exists. If none has the node's labels, a foreign container of its name is
    /// an error.
    pub(crate) async fn container_find(
        &self,
        key: &ClusterKey,
        node: &NodeName,
    ) -> Result<Option<Container>> {
        if let Some(found) = self.containers_of(key, node).await?.into_iter().next() {
            return Ok(Some(found));
        }
        let name = node_object_name(key, node);
        match self.container_inspect(&name).await? {
            Some(found)
                if found
                    .labels
                    .as_ref()
                    .is_none_or(|labels| labels.instance != self.instance) =>
            {
                Err(Error::Foreign(format!("container {name}")))
            }
            _ => Ok(None),
        }
    }

    /// `false`: inspect the container again; or it could no longer start and was removed.
    async fn power_set(
        &self,
        found: &Container,
        key: &ClusterKey,
        node: &NodeSpec,
        power: &Power,
    ) -> Result<bool> {
        if *power != Power::Off && !self.endpoint_ensure(found, key, &node.name).await? {
            return Ok(false);
        }
        match power {
            Power::Off => self.container_stop(found, node).await?,
            Power::On { after } if found.is_alive() && after.is_some() && *after == found.incarnation() => {
                self.container_unpause(found).await?;
                self.container_restart(found, node).await?;
            }
            Power::On { .. } => match found.status {
                Status::PAUSED => self.container_unpause(found).await?,
                // The engine itself restarts it.
                Status::RUNNING | Status::RESTARTING => {}
                _ => return self.container_start_existing(&found.id, key, node).await,
            },
        }
        Ok(true)
    }

    /// Starts an existing container. It refers to its network by id: if that network is gone, another of the
    /// same name does not help, so the container is removed. Its volumes stay.
    async fn container_start_existing(&self, id: &str, key: &ClusterKey, node: &NodeSpec) -> Result<bool> {
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.start_container(id, None)).await {
            Ok(()) => Ok(true),
            Err(fault)
                if fault.has_code(404)
                    && fault.message_contains("network")
                    && fault.message_contains("not found") =>
            {
                self.container_discard(id, &node_object_name(key, &node.name))
                    .await
                    .map(|()| false)
            }
            Err(fault) => Err(start_error(fault, node)),
        }
    }

    pub(crate) async fn container_start(&self, id: &str, node: &NodeSpec) -> Result<()> {
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.start_container(id, None)).await {
            Ok(()) => Ok(()),
            Err(fault) => Err(start_error(fault, node)),
        }
    }

    async fn container_restart(&self, found: &Container, node: &NodeSpec) -> Result<()> {
        let docker = self.engine.docker().await?;
        let options = RestartContainerOptionsBuilder::default().t(seconds(node)).build();
        let call = docker.restart_container(&found.id, Some(options));
        self.engine
            .call(stop_limit(node), call)
            .await
            .map_err(|f| start_error(f, node))
    }

    async fn container_stop(&self, found: &Container, node: &NodeSpec) -> Result<()> {
        if !matches!(
            found.status,
            Status::RUNNING | Status::PAUSED | Status::RESTARTING
        ) {
            return Ok(());
        }
        self.container_unpause(found).await?;
        let docker = self.engine.docker().await?;
        let options = StopContainerOptionsBuilder::default().t(seconds(node)).build();
        let call = docker.stop_container(&found.id, Some(options));
        absent_is_fine(self.engine.call(stop_limit(node), call).await)
            .map_err(|f| f.into_error(&format!("stop node {}", node.name)))
    }

    /// Unpauses a paused container: engines neither stop nor restart a paused one.
    pub(crate) async fn container_unpause(&self, found: &Container) -> Result<()> {
        if found.status != Status::PAUSED {
            return Ok(());
        }
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.unpause_container(&found.id)).await {
            Err(fault) if fault.message_contains("is not paused") => Ok(()),
            other => other.map_err(|f| f.into_error(&format!("unpause {}", found.id))),
        }
    }
}

fn seconds(node: &NodeSpec) -> i32 {
    i32::try_from(node.stop_timeout).unwrap_or(i32::MAX)
}

/// Time limit of a stop, which answers only after the node has exited.
fn stop_limit(node: &NodeSpec) -> Duration {
    CALL + Duration::from_secs(node.stop_timeout.into())
}

fn start_error(fault: CallError, node: &NodeSpec) -> Error {
    if fault.has_code(404) && fault.message_contains("No such container") {
        return Error::Busy(format!(
            "node {} was removed while it was being started",
            node.name
        ));
    }
    if fault.message_contains("port is already allocated") || fault.message_contains("address already in use")
    {
        let mut published = node.ports.iter().filter_map(|p| p.published);
        let named = published.find(|port| {
            fault.message_contains(&format!(":{port}:")) || fault.message_contains(&format!(":{port} "))
        });
        let port_text = named.map_or_else(|| "a published port".to_owned(), |port| format!("port {port}"));
        let answer = fault.into_error(&format!("start node {}", node.name));
        let reason = format!(
            "{port_text} of the host is in use by another program: free it or give the host other ports ({answer})"
        );
        return named.map_or_else(
            || Error::Refused(reason.clone()),
            |port| Error::Occupied {
                place: Place::Port(port),
                reason: reason.clone(),
            },
        );
    }
    fault.into_error(&format!("start node {}", node.name))
}
