//! Probe of the swarm, and its images.

use super::manager::Manager;
use crate::SWARM;
use chainpool_agent::{Error, ImageRef, ImageRequest, Machine, Probe, Result};

impl Manager<'_> {
    pub(super) async fn swarm_probe(&self) -> Result<Probe> {
        let probe = self.agent.engine_probe().await?;
        let docker = self.docker().await?;
        let swarm = self
            .call(docker.inspect_swarm())
            .await
            .map_err(|f| f.into_error("report its swarm"))?;
        let Some(engine_id) = swarm.id.filter(|id| !id.is_empty()) else {
            return Err(Error::Refused(format!(
                "the swarm of {} has no ID: Chainpool needs one to identify swarms",
                probe.name
            )));
        };
        let machines: Vec<Machine> = self
            .machines()
            .await?
            .into_iter()
            .map(|state| state.machine)
            .collect();
        Ok(Probe {
            kind: SWARM,
            engine_id,
            cpus: machines.iter().map(|m| m.cpus).sum(),
            memory_bytes: machines.iter().map(|m| m.memory_bytes).sum(),
            // One manager's disk does not represent the others.
            disk: None,
            machines,
            ..probe
        })
    }

    /// Finds the first candidate that all engines with direct access have with the same content; else pulls
    /// the first available one. A pulled image is pinned by digest, and other machines pull it themselves.
    pub(super) async fn image_ensure(&self, request: &ImageRequest) -> Result<ImageRef> {
        let mut missing = Vec::new();
        for name in self.agent.images.present_names(&request.candidates) {
            match self.image_everywhere(&name).await? {
                Ok(Some(pinned)) => return Ok(ImageRef { name, pinned }),
                Ok(None) => {}
                Err(lacking) => missing.push(lacking),
            }
        }
        if missing.is_empty() {
            self.agent.image_ensure(request).await
        } else {
            self.image_pulled(request, &missing).await
        }
    }

    /// The id of an image that all have with the same content; `None` if none has it; a message if some lack
    /// it.
    async fn image_everywhere(&self, name: &str) -> Result<Result<Option<String>, String>> {
        let mut ids = Vec::new();
        for member in self.swarm.members() {
            match member.image_inspect(name).await {
                Ok(image) => ids.push((
                    member.engine.address().to_string(),
                    image.and_then(|image| image.id),
                )),
                // An unreachable machine pulls the image with its next task.
                Err(Error::Unreachable(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(first) = ids.iter().find_map(|(_, id)| id.clone()) else {
            return Ok(Ok(None));
        };
        let others: Vec<_> = ids
            .iter()
            .filter(|(_, id)| id.as_ref() != Some(&first))
            .map(|(address, _)| address.as_str())
            .collect();
        Ok(if others.is_empty() {
            Ok(Some(first))
        } else {
            Err(format!("{name} is missing or different on {}", others.join(", ")))
        })
    }

    /// Pulls an image that only some machines have.
    async fn image_pulled(&self, request: &ImageRequest, missing: &[String]) -> Result<ImageRef> {
        let image = self.agent.image_pull_first(request).await;
        image.map_err(|error| match error {
            Error::Refused(text) => Error::Refused(format!("{}: load it there; {text}", missing.join("; "))),
            error => error,
        })
    }
}
