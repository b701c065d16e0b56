//! One node: its container, from absent to the wanted power, whatever is found on the way.

use crate::{
    DockerAgent,
    archive::Fresh,
    container::container_body,
    engine::{CALL, Fault, SETTLE, absent_is_fine, look_again},
};
use bollard::{
    models::{ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum as Status},
    query_parameters::{
        CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, RestartContainerOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use chainpool_agent::{ClusterKey, Error, ImageRef, Incarnation, Labels, NodeName, NodeSpec, Place, Power, Result, node_object_name};
use std::time::Duration;
use tokio::time::Instant;

/// A node's container as the engine has it.
pub(crate) struct Container {
    pub(crate) id: String,
    labels: Option<Labels>,
    pub(crate) status: Status,
    /// The code of its end, of a process that has ended.
    pub(crate) code: i64,
    started_at: String,
}

impl Container {
    /// The present life of its process; a paused process lives, one between two restarts does not.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.lives().then(|| Incarnation(format!("{}@{}", self.id, self.started_at)))
    }

    fn lives(&self) -> bool {
        matches!(self.status, Status::RUNNING | Status::PAUSED)
    }
}

impl From<ContainerInspectResponse> for Container {
    fn from(found: ContainerInspectResponse) -> Self {
        let state = found.state.unwrap_or_default();
        Self {
            id: found.id.unwrap_or_default(),
            labels: found.config.and_then(|c| c.labels).as_ref().and_then(Labels::from_map),
            status: state.status.unwrap_or(Status::EMPTY),
            code: state.exit_code.unwrap_or_default(),
            started_at: state.started_at.unwrap_or_default(),
        }
    }
}

impl DockerAgent {
    /// Brings a node to `power`. Makes first and looks only when the name is taken: a new network's nodes are the
    /// case that people wait for.
    pub(crate) async fn node_ensure(&self, key: &ClusterKey, node: &NodeSpec, image: &ImageRef, power: &Power) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let volumes = self.volumes_ensure(key, node).await?;
            let mut fresh = Fresh { container: true, volumes };
            let body = container_body(self.instance, self.bind, key, node, image)?;
            if let Some(id) = self.container_create(&node_object_name(key, &node.name), body, image).await? {
                self.files_place(&id, node, &fresh).await?;
                return if *power == Power::Off { Ok(()) } else { self.container_start(&id, node).await };
            }
            fresh.container = false;
            if let Some(found) = self.container_usable(key, node).await? {
                // Never started: whoever made it may have been cut off before its files were there.
                if found.status == Status::CREATED {
                    self.files_place(&found.id, node, &fresh).await?;
                }
                if self.power_set(&found, key, node, power).await? {
                    return Ok(());
                }
            }
            if !look_again(deadline).await {
                return Err(Error::Busy(format!("{} does not settle on the engine", node_object_name(key, &node.name))));
            }
        }
    }

    /// Makes the container; `None` when its name is taken, or when its image is gone but it may be there still.
    pub(crate) async fn container_create(&self, name: &str, body: ContainerCreateBody, image: &ImageRef) -> Result<Option<String>> {
        let docker = self.engine.docker().await?;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        match self.engine.call(CALL, docker.create_container(Some(options), body)).await {
            Ok(made) => Ok(Some(made.id)),
            Err(fault) if fault.is(409) && fault.says("already in use") => Ok(None),
            Err(fault) if fault.is(404) => match self.container_inspect(name).await? {
                Some(_) => Ok(None),
                None => Err(Error::Refused(format!(
                    "the image {} ({}) is not on the engine any more: build or pull it again, then try again",
                    image.name, image.pinned
                ))),
            },
            Err(fault) => Err(fault.into_error(&format!("make the container {name}"))),
        }
    }

    /// Looks at the container that has the node's name: returns it when it is ours and right; removes it when it is
    /// ours and stale, keeping its volumes; `None` means that the name is, or soon will be, free.
    pub(crate) async fn container_usable(&self, key: &ClusterKey, node: &NodeSpec) -> Result<Option<Container>> {
        let name = node_object_name(key, &node.name);
        let Some(found) = self.container_inspect(&name).await? else { return Ok(None) };
        let ours = Labels::of_cluster(self.instance, key).node(&node.name).hash(&node.hash);
        match &found.labels {
            Some(labels) if *labels == ours => {}
            Some(labels) if (Labels { hash: Some(node.hash.clone()), ..labels.clone() }) == ours => {
                self.container_stop(&found, node).await?;
                self.container_discard(&found.id, &name).await?;
                return Ok(None);
            }
            _ => return Err(Error::Foreign(format!("container {name}"))),
        }
        match found.status {
            Status::DEAD => self.container_discard(&found.id, &name).await.map(|()| None),
            Status::REMOVING => Ok(None),
            _ => Ok(Some(found)),
        }
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
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        absent_is_fine(self.engine.call(CALL, docker.remove_container(id, Some(options))).await)
    }

    pub(crate) async fn container_inspect(&self, name: &str) -> Result<Option<Container>> {
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.inspect_container(name, None)).await {
            Ok(found) => Ok(Some(found.into())),
            Err(fault) if fault.is(404) => Ok(None),
            Err(fault) => Err(fault.into_error(&format!("show the container {name}"))),
        }
    }

    /// The node's container, if it is there; one of that name that is not ours is an error.
    pub(crate) async fn container_find(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Container>> {
        let name = node_object_name(key, node);
        let Some(found) = self.container_inspect(&name).await? else { return Ok(None) };
        let ours = Labels::of_cluster(self.instance, key).node(node);
        if found.labels.clone().map(|labels| Labels { hash: None, ..labels }) != Some(ours) {
            return Err(Error::Foreign(format!("container {name}")));
        }
        Ok(Some(found))
    }

    /// `false`: the container could not be started any more and is gone; it is to be made anew.
    async fn power_set(&self, found: &Container, key: &ClusterKey, node: &NodeSpec, power: &Power) -> Result<bool> {
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
            Err(fault) if fault.is(404) && fault.says("network") && fault.says("not found") => {
                self.container_discard(id, &node_object_name(key, &node.name)).await.map(|()| false)
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
        self.engine.call(stop_limit(node), call).await.map_err(|f| start_error(f, node))
    }

    async fn container_stop(&self, found: &Container, node: &NodeSpec) -> Result<()> {
        if !matches!(found.status, Status::RUNNING | Status::PAUSED | Status::RESTARTING) {
            return Ok(());
        }
        self.container_unpause(found).await?;
        let docker = self.engine.docker().await?;
        let options = StopContainerOptionsBuilder::default().t(seconds(node)).build();
        let call = docker.stop_container(&found.id, Some(options));
        absent_is_fine(self.engine.call(stop_limit(node), call).await).map_err(|f| f.into_error(&format!("stop node {}", node.name)))
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
        return Error::Busy(format!("node {} was removed while it was being started", node.name));
    }
    if fault.says("port is already allocated") || fault.says("address already in use") {
        let mut taken = node.ports.iter().filter_map(|p| p.published);
        let named = taken.find(|port| fault.says(&format!(":{port}:")) || fault.says(&format!(":{port} ")));
        let taken = named.map_or_else(|| "a published port".to_owned(), |port| format!("port {port}"));
        let answer = fault.into_error(&format!("start node {}", node.name));
        let words = format!("{taken} of the host is taken by another program: free it or give the host other ports ({answer})");
        return named
            .map_or_else(|| Error::Refused(words.clone()), |port| Error::Occupied { place: Place::Port(port), words: words.clone() });
    }
    fault.into_error(&format!("start node {}", node.name))
}
