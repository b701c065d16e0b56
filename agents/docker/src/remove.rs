//! Removal: by label and id, until a listing shows that nothing is left.

use crate::{
    DockerAgent,
    engine::{CALL, Fault, SETTLE, look_again},
    observe::Filter,
};
use bollard::models::NetworkDisconnectRequest;
use chainpool_agent::{
    ClusterId, ClusterKey, Error, Generation, LABEL_GENERATION, LABEL_NODE, NodeName, Object, ObjectKind,
    Result, Volumes,
};
use futures::{StreamExt, stream};
use tokio::time::Instant;

/// How many removals run at once.
const AT_ONCE: usize = 8;

/// What shall go.
struct Doomed {
    filter: Filter,
    /// Not what is of a later generation.
    through: Generation,
    volumes: bool,
    networks: bool,
}

impl DockerAgent {
    /// Removes everything of a cluster up to and including one generation.
    pub(crate) async fn cluster_remove(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        let filter = Filter::cluster(self.instance, cluster);
        self.remove_until_gone(&Doomed {
            filter,
            through,
            volumes: true,
            networks: true,
        })
        .await
    }

    /// Removes one node.
    pub(crate) async fn node_remove(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        volumes: Volumes,
    ) -> Result<()> {
        let filter = Filter::cluster(self.instance, key.cluster)
            .and(LABEL_GENERATION, &key.generation)
            .and(LABEL_NODE, node);
        let volumes = volumes == Volumes::Purge;
        self.remove_until_gone(&Doomed {
            filter,
            through: key.generation,
            volumes,
            networks: false,
        })
        .await
    }

    /// Removes what the listing shows, containers first, until it shows nothing. What the engine cannot do yet is
    /// tried again until the deadline; what it will never do ends it at once.
    async fn remove_until_gone(&self, doomed: &Doomed) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        let mut first = true;
        loop {
            let left = self.doomed_list(doomed).await?;
            if left.is_empty() {
                return Ok(());
            }
            let names = left.iter().map(|object| object.name.clone()).collect::<Vec<_>>();
            let (containers, rest): (Vec<_>, Vec<_>) = left
                .into_iter()
                .partition(|object| matches!(object.kind, ObjectKind::Node | ObjectKind::Job));
            let mut trouble = self.remove_all(containers).await?;
            trouble.extend(self.remove_all(rest).await?);
            // Without trouble the next listing proves it at once; else the engine needs a moment.
            let at_once = std::mem::take(&mut first) && trouble.is_empty();
            if !at_once && !look_again(deadline).await {
                return Err(Error::Busy(format!(
                    "not all of {} could be removed: {}",
                    names.join(", "),
                    trouble.join("; ")
                )));
            }
        }
    }

    async fn doomed_list(&self, doomed: &Doomed) -> Result<Vec<Object>> {
        let Doomed {
            filter,
            through,
            volumes,
            networks,
        } = doomed;
        let mut left = match (volumes, networks) {
            (true, true) => self.objects_list(filter).await?,
            (true, false) => {
                let (mut left, volumes) =
                    tokio::try_join!(self.containers_list(filter), self.volumes_list(filter))?;
                left.extend(volumes);
                left
            }
            _ => self.containers_list(filter).await?,
        };
        left.retain(|object| object.generation <= *through);
        Ok(left)
    }

    /// Removes these, several at once; returns what hinders now and may pass. What one of them will never do keeps no other
    /// from going.
    pub(crate) async fn remove_all(&self, objects: Vec<Object>) -> Result<Vec<String>> {
        let mut results = stream::iter(objects)
            .map(|object| self.remove_one(object))
            .buffer_unordered(AT_ONCE);
        let (mut trouble, mut refused) = (Vec::new(), None);
        while let Some(result) = results.next().await {
            match result {
                Ok(None) => {}
                Ok(Some(text)) | Err(Error::Busy(text)) => trouble.push(text),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(trouble),
        }
    }

    /// `None`: gone. A text: what hinders now and may pass.
    pub(crate) async fn remove_one(&self, object: Object) -> Result<Option<String>> {
        let Object { kind, name, id, .. } = &object;
        let result = match kind {
            ObjectKind::Node | ObjectKind::Job => self.container_remove(id).await,
            ObjectKind::Network => self.network_remove(id).await,
            ObjectKind::Volume => self.volume_remove(name).await,
            // An engine alone has none.
            ObjectKind::Part => Ok(()),
        };
        match result {
            Ok(()) => Ok(None),
            Err(fault) if fault.is_going() => Ok(Some(format!("{name} is being removed"))),
            Err(fault) if fault.says("active endpoints") => self.network_free(&object).await.map(Some),
            Err(fault) if fault.says("volume is in use") => self.volume_user(&object, fault).await.map(Some),
            Err(fault) => Err(fault.into_error(&format!("remove {name}"))),
        }
    }

    /// Something hangs on our network. What is left of containers that are gone is cut off; a container that is not
    /// ours is not touched, and named.
    async fn network_free(&self, network: &Object) -> Result<String> {
        let docker = self.engine.docker().await?;
        let found = match self
            .engine
            .call(CALL, docker.inspect_network(&network.id, None))
            .await
        {
            Ok(found) => found,
            Err(fault) if fault.is(404) => return Ok(format!("{} was just removed", network.name)),
            Err(fault) => return Err(fault.into_error(&format!("show the network {}", network.name))),
        };
        let endpoints = found.containers.unwrap_or_default();
        if endpoints.is_empty() {
            // Seen on 20.10: after many starts and removals at once its count can stay above the truth until it starts again.
            return Ok(format!(
                "the engine counts endpoints on {}, but shows none: if this lasts, restart the engine",
                network.name
            ));
        }
        for (id, endpoint) in endpoints {
            let name = endpoint.name.unwrap_or_else(|| id.clone());
            match self.container_owner(&id).await? {
                Owner::Gone => {
                    let request = NetworkDisconnectRequest {
                        container: name.clone(),
                        force: Some(true),
                    };
                    match self
                        .engine
                        .call(CALL, docker.disconnect_network(&network.id, request))
                        .await
                    {
                        // It may have gone by itself meanwhile, which engines tell in several ways: look again.
                        Ok(()) | Err(Fault::Answer { .. }) => {}
                        Err(Fault::Error(error)) => return Err(error),
                    }
                }
                Owner::Ours => {}
                Owner::Foreign => {
                    return Err(Error::Refused(format!(
                        "the container {name}, which is not Chainpool's, is connected to our network {}: disconnect it, then try again",
                        network.name
                    )));
                }
            }
        }
        Ok(format!("{} still has endpoints", network.name))
    }

    /// Something uses our volume. Ours are being removed; any other container is not touched, and named.
    async fn volume_user(&self, volume: &Object, fault: Fault) -> Result<String> {
        let Fault::Answer { message, .. } = &fault else {
            return Err(fault.into_error(&format!("remove {}", volume.name)));
        };
        // 20.10: `remove x: volume is in use - [id, id]`
        let users = message
            .rsplit_once('[')
            .map_or("", |(_, ids)| ids)
            .trim_end_matches(']');
        for id in users.split([',', ' ']).filter(|id| !id.is_empty()) {
            if matches!(self.container_owner(id).await?, Owner::Foreign) {
                return Err(Error::Refused(format!(
                    "the container {id}, which is not Chainpool's, uses our volume {}: remove it, then try again",
                    volume.name
                )));
            }
        }
        Ok(format!("{} is still in use", volume.name))
    }

    async fn container_owner(&self, id: &str) -> Result<Owner> {
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.inspect_container(id, None)).await {
            Ok(found) => {
                let labels = found.config.and_then(|c| c.labels).unwrap_or_default();
                let ours = labels.get(chainpool_agent::LABEL_INSTANCE) == Some(&self.instance.to_string());
                Ok(if ours { Owner::Ours } else { Owner::Foreign })
            }
            Err(fault) if fault.is(404) => Ok(Owner::Gone),
            Err(fault) => Err(fault.into_error(&format!("show the container {id}"))),
        }
    }
}

/// Whose a container is.
enum Owner {
    Ours,
    Foreign,
    Gone,
}
