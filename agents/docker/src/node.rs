//! One node: its container, from absent to the wanted power, whatever is found on the way.
//!
//! A container is the node's by its labels. Its name is a convenience: one that was renamed is found all the same.

use crate::{
    DockerAgent,
    archive::Fresh,
    container::container_body,
    engine::{CALL, Fault, SETTLE, absent_is_fine, look_again},
    observe::Filter,
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
    ClusterKey, Error, ImageRef, Incarnation, LABEL_GENERATION, LABEL_NODE, Labels, NodeName, NodeSpec,
    Place, Power, Result, network_name, node_object_name,
};
use futures::future::try_join_all;
use std::time::Duration;
use tokio::time::Instant;

/// A node's container as the engine has it.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: Option<Labels>,
    pub(crate) shape: Shape,
    pub(crate) status: Status,
    /// The code of its end, of a process that has ended.
    pub(crate) code: i64,
    started_at: String,
}

impl Container {
    /// The present life of its process; a paused process lives, one between two restarts does not.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.lives()
            .then(|| Incarnation(format!("{}@{}", self.id, self.started_at)))
    }

    pub(crate) fn lives(&self) -> bool {
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
    /// Brings a node to `power`. What uses none of its volumes yet is made without a look: a new network's nodes are the
    /// case that people wait for.
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
            // A volume cannot go while a container has it, whatever that is called.
            let is_first = !node.volumes.is_empty() && volumes.len() == node.volumes.len();
            let mut fresh = Fresh {
                container: true,
                volumes,
            };
            let body = container_body(self.instance, self.bind, key, node, image)?;
            // What is only to rest may be as it is.
            let wanted = (*power != Power::Off).then_some(&body);
            let found = if is_first {
                None
            } else {
                self.container_usable(key, node, wanted).await?
            };
            if let Some(found) = found {
                fresh.container = false;
                // Never started: whoever made it may have been cut off before its files were there.
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
            if !look_again(deadline).await {
                return Err(Error::Busy(format!(
                    "{} does not settle on the engine",
                    node_object_name(key, &node.name)
                )));
            }
        }
    }

    /// Makes the container; `None` when its name is taken by one of ours, or when its image is gone but it may be there still.
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
            Ok(made) => Ok(Some(made.id)),
            Err(fault) if fault.is(409) && fault.says("already in use") => {
                self.name_free(key, node).await.map(|()| None)
            }
            Err(fault) if fault.is(404) => match self.container_inspect(&name).await? {
                Some(_) => Ok(None),
                None => Err(Error::Refused(format!(
                    "the image {} ({}) is not on the engine any more: build or pull it again, then try again",
                    image.name, image.pinned
                ))),
            },
            Err(fault) => Err(fault.into_error(&format!("make the container {name}"))),
        }
    }

    /// Somebody has a node's name: another of our nodes is given its own back, what is not ours is an error.
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
            self.name_give_back(&found, &of, owner).await
        }
    }

    /// Gives a container its name; where another has that, it goes on under the one that it has.
    async fn name_give_back(&self, found: &Container, key: &ClusterKey, node: &NodeName) -> Result<()> {
        let name = node_object_name(key, node);
        if found.name == name {
            return Ok(());
        }
        tracing::warn!(%name, found = %found.name, "a container was renamed: it is given its name back");
        let docker = self.engine.docker().await?;
        let options = RenameContainerOptionsBuilder::default().name(&name).build();
        match self
            .engine
            .call(CALL, docker.rename_container(&found.id, options))
            .await
        {
            Err(fault) if fault.is(409) || fault.is(404) => Ok(()),
            other => other.map_err(|f| {
                f.into_error(&format!("give the container {} its name {name} back", found.name))
            }),
        }
    }

    /// The containers with a node's labels, whatever their names; first the one that lives, else the one with the node's name.
    async fn containers_of(&self, key: &ClusterKey, node: &NodeName) -> Result<Vec<Container>> {
        let filter = Filter::cluster(self.instance, key.cluster)
            .and(LABEL_GENERATION, &key.generation)
            .and(LABEL_NODE, node);
        let listed = self.containers(&filter.as_map()).await?;
        let found = listed
            .into_iter()
            .filter_map(|container| container.id)
            .map(async |id| self.container_inspect(&id).await);
        let mut found: Vec<Container> = try_join_all(found).await?.into_iter().flatten().collect();
        let name = node_object_name(key, node);
        found.sort_by_key(|container| (!container.lives(), container.name != name));
        Ok(found)
    }

    /// The node's container when it is right. What of ours is stale or one too many is removed, keeping its volumes: one key and one
    /// volume are for one process. `None` means that there is, or soon will be, none. With `wanted`, one that lacks something
    /// of what it would be made with is stale, too.
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
                _ if usable.is_some() => Some("there is another one of this node".to_owned()),
                (_, Some(labels)) if *labels == ours => {
                    wanted.and_then(|wanted| found.shape.difference(wanted))
                }
                _ => Some("its spec is another".to_owned()),
            };
            match stale {
                None => usable = Some(found),
                Some(why) => {
                    tracing::info!(container = %found.name, why, "a container of a node is removed, its volumes stay");
                    self.container_stop(&found, node).await?;
                    self.container_discard(&found.id, &found.name).await?;
                }
            }
        }
        if let Some(found) = &usable {
            self.name_give_back(found, key, &node.name).await?;
        }
        Ok(usable)
    }

    /// Connects a container to the network of its cluster, under the node's name, where it is not. False: look at it again.
    async fn endpoint_ensure(&self, found: &Container, key: &ClusterKey, node: &NodeName) -> Result<bool> {
        if found.shape.is_found(key, node) {
            return Ok(true);
        }
        let network = network_name(key);
        if found.shape.is_connected(key) {
            self.endpoint_remove(&network, &found.id).await?;
        }
        tracing::warn!(container = %found.name, network, "a node has no place in its network: it is connected again");
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
            // What is left of an endpoint that the container does not know of.
            Err(fault) if fault.says("already exists in network") => {
                self.endpoint_remove(&network, &found.name).await?;
                Ok(false)
            }
            // It was bound to its network by the network's id, which is gone: a start tells, and it is made anew.
            Err(fault) if fault.is(404) && !found.lives() => Ok(true),
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
            Err(fault) if fault.is_going() => Ok(()),
            other => other.map_err(|f| f.into_error(&format!("remove the container {name}"))),
        }
    }

    /// Removes a container, running or not, and its nameless volumes.
    pub(crate) async fn container_remove(&self, id: &str) -> Result<(), Fault> {
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
            Err(fault) if fault.is(404) => Ok(None),
            Err(fault) => Err(fault.into_error(&format!("show the container {name}"))),
        }
    }

    /// The node's container, if it is there. Where none has the node's labels, one of its name that is not ours is an error.
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

    /// `false`: the container is to be looked at again, or could not be started any more and is gone.
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
            Power::On { after } if found.lives() && after.is_some() && *after == found.incarnation() => {
                self.container_unpause(found).await?;
                self.container_restart(found, node).await?;
            }
            Power::On { .. } => match found.status {
                Status::PAUSED => self.container_unpause(found).await?,
                // The engine itself is about to start it again.
                Status::RUNNING | Status::RESTARTING => {}
                _ => return self.container_start_again(&found.id, key, node).await,
            },
        }
        Ok(true)
    }

    /// Starts a container of before. It is bound to its network by the network's id: when that is gone, another of the same name does
    /// not help, and the container is removed; its volumes stay.
    async fn container_start_again(&self, id: &str, key: &ClusterKey, node: &NodeSpec) -> Result<bool> {
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.start_container(id, None)).await {
            Ok(()) => Ok(true),
            Err(fault) if fault.is(404) && fault.says("network") && fault.says("not found") => self
                .container_discard(id, &node_object_name(key, &node.name))
                .await
                .map(|()| false),
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

    /// Unpauses a paused one: an engine stops and restarts none that is frozen.
    pub(crate) async fn container_unpause(&self, found: &Container) -> Result<()> {
        if found.status != Status::PAUSED {
            return Ok(());
        }
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.unpause_container(&found.id)).await {
            Err(fault) if fault.says("is not paused") => Ok(()),
            other => other.map_err(|f| f.into_error(&format!("unpause {}", found.id))),
        }
    }
}

fn seconds(node: &NodeSpec) -> i32 {
    i32::try_from(node.stop_timeout).unwrap_or(i32::MAX)
}

/// A stop answers only when the node has ended, so it may take the node's own time more.
fn stop_limit(node: &NodeSpec) -> Duration {
    CALL + Duration::from_secs(node.stop_timeout.into())
}

fn start_error(fault: Fault, node: &NodeSpec) -> Error {
    if fault.is(404) && fault.says("No such container") {
        return Error::Busy(format!(
            "node {} was removed while it was being started",
            node.name
        ));
    }
    if fault.says("port is already allocated") || fault.says("address already in use") {
        let mut taken = node.ports.iter().filter_map(|p| p.published);
        let named = taken.find(|port| fault.says(&format!(":{port}:")) || fault.says(&format!(":{port} ")));
        let taken = named.map_or_else(|| "a published port".to_owned(), |port| format!("port {port}"));
        let answer = fault.into_error(&format!("start node {}", node.name));
        let words = format!(
            "{taken} of the host is taken by another program: free it or give the host other ports ({answer})"
        );
        return named.map_or_else(
            || Error::Refused(words.clone()),
            |port| Error::Occupied {
                place: Place::Port(port),
                words: words.clone(),
            },
        );
    }
    fault.into_error(&format!("start node {}", node.name))
}
