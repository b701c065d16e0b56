//! What the swarm says of itself, and where its images are.

use super::manager::Manager;
use chainpool_agent::{Error, ImageRef, Machine, PlatformKind, Probe, Result};

impl Manager<'_> {
    pub(super) async fn swarm_probe(&self) -> Result<Probe> {
        let probe = self.hands.engine_probe().await?;
        let docker = self.docker().await?;
        let swarm = self
            .call(docker.inspect_swarm())
            .await
            .map_err(|f| f.into_error("tell of its swarm"))?;
        let Some(engine_id) = swarm.id.filter(|id| !id.is_empty()) else {
            return Err(Error::Refused(format!(
                "the swarm of {} has no ID: Chainpool needs one to tell swarms apart",
                probe.name
            )));
        };
        let machines: Vec<Machine> = self
            .machines()
            .await?
            .into_iter()
            .map(|seen| seen.machine)
            .collect();
        Ok(Probe {
            kind: PlatformKind::Swarm,
            engine_id,
            cpus: machines.iter().map(|m| m.cpus).sum(),
            memory_bytes: machines.iter().map(|m| m.memory_bytes).sum(),
            // One manager's disk says nothing of the others'.
            disk: None,
            machines,
            ..probe
        })
    }

    /// Finds the first candidate that every engine which we can speak to has, the same content under the same name; else
    /// pulls the first that can be had. What was pulled is pinned by digest, and other machines pull it by themselves.
    pub(super) async fn image_ensure(&self, candidates: &[String]) -> Result<ImageRef> {
        let mut missing = Vec::new();
        for candidate in candidates {
            let mirrored = self.hands.mirrored(candidate);
            for name in mirrored.iter().chain([candidate]) {
                match self.image_everywhere(name).await? {
                    Ok(Some(id)) => {
                        return Ok(ImageRef {
                            name: name.clone(),
                            pinned: id,
                        });
                    }
                    Ok(None) => {}
                    Err(lacking) => missing.push(lacking),
                }
            }
        }
        if missing.is_empty() {
            self.hands.image_ensure(candidates).await
        } else {
            self.image_pulled(candidates, &missing).await
        }
    }

    /// The id of an image that all have alike; `None` when none has it; an error in words when some lack it.
    async fn image_everywhere(&self, name: &str) -> Result<Result<Option<String>, String>> {
        let mut ids = Vec::new();
        for member in self.swarm.members() {
            match member.image_inspect(name).await {
                Ok(image) => ids.push((
                    member.engine.address().to_string(),
                    image.and_then(|image| image.id),
                )),
                // A machine that is away is asked again when it is back, by the task that it gets.
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
            Err(format!("{name} is not on {}, or another one", others.join(", ")))
        })
    }

    /// Some machines have an image and some do not: a registry may help all.
    async fn image_pulled(&self, candidates: &[String], missing: &[String]) -> Result<ImageRef> {
        let image = self.hands.image_pull_first(candidates).await;
        image.map_err(|error| match error {
            Error::Refused(text) => Error::Refused(format!("{}: load it there; {text}", missing.join("; "))),
            error => error,
        })
    }
}
