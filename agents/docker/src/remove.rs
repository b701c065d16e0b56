//! Removal by label and id, until a listing shows that nothing is left.

use crate::{
    DockerAgent,
    engine::{CALL, CallError, EngineAnswer, SETTLE, is_being_removed, wait_for_retry},
};
use bollard::models::NetworkDisconnectRequest;
use chainpool_agent::{
    ClusterId, ClusterKey, Error, Generation, LabelFilter, NodeName, Object, ObjectKind, Result, Volumes,
};
use futures::{StreamExt, stream};
use tokio::time::Instant;

/// Number of concurrent removals.
const CONCURRENCY: usize = 8;

/// The scope of a removal.
struct Removal {
    filter: LabelFilter,
    /// Up to this generation.
    through: Generation,
    volumes: bool,
    networks: bool,
}

impl DockerAgent {
    /// Removes everything of a cluster up to and including one generation.
    pub(crate) async fn cluster_remove(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        let filter = LabelFilter::cluster(self.instance, cluster);
        self.remove_until_gone(&Removal {
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
        let filter = LabelFilter::node(self.instance, key, node);
        let volumes = volumes == Volumes::Purge;
        self.remove_until_gone(&Removal {
            filter,
            through: key.generation,
            volumes,
            networks: false,
        })
        .await
    }

    /// Removes listed objects, containers first, until the listing is empty. Retries transient errors until
    /// the deadline; a permanent error ends it.
    async fn remove_until_gone(&self, removal: &Removal) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        let mut first = true;
        loop {
            let left = self.objects_left(removal).await?;
            if left.is_empty() {
                return Ok(());
            }
            let names = left.iter().map(|object| object.name.clone()).collect::<Vec<_>>();
            let (containers, rest): (Vec<_>, Vec<_>) = left
                .into_iter()
                .partition(|object| matches!(object.kind, ObjectKind::Node | ObjectKind::Job));
            let mut failures = self.remove_all(containers).await?;
            failures.extend(self.remove_all(rest).await?);
            // Without failures the next listing confirms the removal at once; otherwise wait for the engine.
            let at_once = std::mem::take(&mut first) && failures.is_empty();
            if !at_once && !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!(
                    "some of {} could not be removed: {}",
                    names.join(", "),
                    failures.join("; ")
                )));
            }
        }
    }

    async fn objects_left(&self, removal: &Removal) -> Result<Vec<Object>> {
        let Removal {
            filter,
            through,
            volumes,
            networks,
        } = removal;
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

    /// Removes these objects concurrently and returns transient failures. A permanent failure of one does not
    /// stop the others.
    pub(crate) async fn remove_all(&self, objects: Vec<Object>) -> Result<Vec<String>> {
        let mut results = stream::iter(objects)
            .map(|object| self.remove_one(object))
            .buffer_unordered(CONCURRENCY);
        let (mut failures, mut refused) = (Vec::new(), None);
        while let Some(result) = results.next().await {
            match result {
                Ok(None) => {}
                Ok(Some(text)) | Err(Error::Busy(text)) => failures.push(text),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(failures),
        }
    }

    /// `None`: removed. A text: a transient failure.
    pub(crate) async fn remove_one(&self, object: Object) -> Result<Option<String>> {
        let Object { kind, name, id, .. } = &object;
        let result = match kind {
            ObjectKind::Node | ObjectKind::Job => self.container_remove(id).await,
            ObjectKind::Network => self.network_remove(id).await,
            ObjectKind::Volume => self.volume_remove(name).await,
            // A single engine has none.
            ObjectKind::Part => Ok(()),
        };
        match result {
            Ok(()) => Ok(None),
            Err(fault) if is_being_removed(&fault) => Ok(Some(format!("{name} is being removed"))),
            Err(fault) if fault.message_contains("active endpoints") => {
                self.network_free(&object).await.map(Some)
            }
            Err(fault) if fault.message_contains("volume is in use") => {
                self.volume_in_use(&object, fault).await.map(Some)
            }
            Err(fault) => Err(fault.into_error(&format!("remove {name}"))),
        }
    }

    /// Our network has endpoints. Disconnects leftovers of removed containers; a foreign container is named
    /// and not touched.
    async fn network_free(&self, network: &Object) -> Result<String> {
        let docker = self.engine.docker().await?;
        let found = match self
            .engine
            .call(CALL, docker.inspect_network(&network.id, None))
            .await
        {
            Ok(found) => found,
            Err(fault) if fault.has_code(404) => return Ok(format!("{} was just removed", network.name)),
            Err(fault) => return Err(fault.into_error(&format!("inspect the network {}", network.name))),
        };
        let endpoints = found.containers.unwrap_or_default();
        if endpoints.is_empty() {
            // Docker 20.10: after many concurrent starts and removals its count may stay too high until it
            // restarts.
            return Ok(format!(
                "the engine reports endpoints on {} but lists none: if this persists, restart the engine",
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
                        // It may be gone already, which engines report in several ways: list again.
                        Ok(()) | Err(CallError::Answer(_)) => {}
                        Err(CallError::Other(error)) => return Err(error),
                    }
                }
                Owner::Ours => {}
                Owner::Foreign => {
                    return Err(Error::Refused(format!(
                        "the container {name}, which is not Chainpool's, is connected to Chainpool's network {}: disconnect it, then try again",
                        network.name
                    )));
                }
            }
        }
        Ok(format!("{} still has endpoints", network.name))
    }

    /// Our volume is in use. Our containers are being removed; a foreign container is named and not touched.
    async fn volume_in_use(&self, volume: &Object, fault: CallError) -> Result<String> {
        let CallError::Answer(EngineAnswer { message, .. }) = &fault else {
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
                    "the container {id}, which is not Chainpool's, uses Chainpool's volume {}: remove it, then try again",
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
            Err(fault) if fault.has_code(404) => Ok(Owner::Gone),
            Err(fault) => Err(fault.into_error(&format!("inspect the container {id}"))),
        }
    }
}

/// The owner of a container.
enum Owner {
    Ours,
    Foreign,
    Gone,
}
