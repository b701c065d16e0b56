//! Images: found or pulled, and pinned.

use crate::{
    DockerAgent,
    engine::{CALL, CallError, EngineAnswer, PULL},
};
use bollard::{auth::DockerCredentials, models::ImageInspect, query_parameters::CreateImageOptionsBuilder};
use chainpool_agent::{Error, ImageName, ImageRef, ImageRequest, Result};
use futures::TryStreamExt;
use std::{pin::pin, time::Duration};

/// Time limit of a pull without progress. An engine without a network gives up sooner.
const STALL: Duration = Duration::from_mins(2);

impl DockerAgent {
    /// Finds the first candidate that is present, else pulls the first available one.
    pub(crate) async fn image_ensure(&self, request: &ImageRequest) -> Result<ImageRef> {
        for name in self.images.present_names(&request.candidates) {
            if let Some(pinned) = self.image_inspect(&name).await?.and_then(|image| image.id) {
                return Ok(ImageRef { name, pinned });
            }
        }
        self.image_pull_first(request).await
    }

    /// Pulls the first available candidate.
    pub(crate) async fn image_pull_first(&self, request: &ImageRequest) -> Result<ImageRef> {
        let mut reasons = Vec::new();
        for name in self.images.pull_names(&request.candidates) {
            match self.image_pull(&name).await {
                Ok(()) => match self.image_inspect(&name).await? {
                    Some(image) => return pinned(name, image),
                    None => reasons.push(format!("{name}: pulled, but removed again")),
                },
                Err(CallError::Other(error)) => return Err(error),
                Err(CallError::Answer(EngineAnswer { message, .. })) => {
                    reasons.push(format!("{name}: {message}"));
                }
            }
        }
        Err(request.unavailable("on the engine", &reasons))
    }

    pub(crate) async fn image_inspect(&self, name: &str) -> Result<Option<ImageInspect>> {
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.inspect_image(name)).await {
            Ok(image) => Ok(Some(image)),
            Err(fault) if fault.has_code(404) => Ok(None),
            Err(fault) => Err(fault.into_error(&format!("inspect the image {name}"))),
        }
    }

    async fn image_pull(&self, name: &str) -> Result<(), CallError> {
        let (docker, flow) = self.engine.docker_streaming().await?;
        let options = CreateImageOptionsBuilder::default()
            // A name without a tag would pull every tag.
            .from_image(&ImageName(name).tagged())
            .build();
        let mut progress = pin!(flow.through(docker.create_image(Some(options), None, self.login(name))));
        let whole = async {
            loop {
                match tokio::time::timeout(STALL, progress.try_next()).await {
                    Ok(Ok(Some(_))) => {}
                    Ok(Ok(None)) => return Ok(()),
                    Ok(Err(e)) => return Err(self.engine.call_error(e)),
                    Err(_) => return Err(late(format!("no progress within {} s", STALL.as_secs()))),
                }
            }
        };
        match tokio::time::timeout(PULL, whole).await {
            Ok(result) => result,
            Err(_) => Err(late(format!("not pulled within {} min", PULL.as_secs() / 60))),
        }
    }

    /// The login, only for an image of its own registry.
    pub(crate) fn login(&self, name: &str) -> Option<DockerCredentials> {
        let login = self.images.login(name)?;
        Some(DockerCredentials {
            username: Some(login.user.clone()),
            password: Some(login.password.expose().clone()),
            serveraddress: Some(login.server().to_owned()),
            ..DockerCredentials::default()
        })
    }
}

/// A late pull is a failure of the candidate, not of the engine.
fn late(message: String) -> CallError {
    CallError::Answer(EngineAnswer { code: 504, message })
}

/// Pins a pulled image by the digest under its own name, else by its id.
fn pinned(name: String, image: ImageInspect) -> Result<ImageRef> {
    let repository = ImageName(&name).repository();
    let digests = image.repo_digests.unwrap_or_default();
    let digest = digests
        .iter()
        .find(|d| d.split_once('@').is_some_and(|(r, _)| r == repository))
        .or(digests.first());
    match digest.cloned().or(image.id) {
        Some(pinned) => Ok(ImageRef { name, pinned }),
        None => Err(Error::Refused(format!(
            "the engine reports neither digest nor id of the image {name}: pull it again"
        ))),
    }
}
