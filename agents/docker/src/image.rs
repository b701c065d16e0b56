//! Images: found or pulled, and pinned.

use crate::{
    DockerAgent,
    engine::{CALL, Fault, PULL},
};
use bollard::{auth::DockerCredentials, models::ImageInspect, query_parameters::CreateImageOptionsBuilder};
use chainpool_agent::{Error, ImageRef, Result};
use futures::TryStreamExt;
use std::{pin::pin, time::Duration};

/// Time limit of a pull without progress. An engine without a network gives up sooner.
const STALL: Duration = Duration::from_mins(2);

/// Engine messages about an unreachable registry, as opposed to a missing image.
const REGISTRY_UNREACHABLE: [&str; 8] = [
    "connection refused",
    "no such host",
    "no route to host",
    "network is unreachable",
    "timeout",
    "request canceled",
    "unexpected HTTP status: 5",
    "no progress within",
];

impl DockerAgent {
    /// Finds the first candidate that is present, else pulls the first available one. With a mirror, a name
    /// without a registry is pulled only through the mirror, but an image present under its bare name is
    /// accepted.
    pub(crate) async fn image_ensure(&self, candidates: &[String]) -> Result<ImageRef> {
        for candidate in candidates {
            let mirrored = self.mirrored(candidate);
            for name in mirrored.iter().chain([candidate]) {
                if let Some(id) = self.image_inspect(name).await?.and_then(|image| image.id) {
                    return Ok(ImageRef {
                        name: name.clone(),
                        pinned: id,
                    });
                }
            }
        }
        self.image_pull_first(candidates).await
    }

    /// Pulls the first available candidate.
    pub(crate) async fn image_pull_first(&self, candidates: &[String]) -> Result<ImageRef> {
        let mut reasons = Vec::new();
        for candidate in candidates {
            let name = self.mirrored(candidate).unwrap_or_else(|| candidate.clone());
            match self.image_pull(&name).await {
                Ok(()) => match self.image_inspect(&name).await? {
                    Some(image) => return pinned(name, image),
                    None => reasons.push(format!("{name}: pulled, but removed again")),
                },
                Err(Fault::Error(error)) => return Err(error),
                Err(Fault::Answer { message, .. }) => reasons.push(format!("{name}: {message}")),
            }
        }
        Err(missing(candidates, &reasons))
    }

    pub(crate) async fn image_inspect(&self, name: &str) -> Result<Option<ImageInspect>> {
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.inspect_image(name)).await {
            Ok(image) => Ok(Some(image)),
            Err(fault) if fault.is(404) => Ok(None),
            Err(fault) => Err(fault.into_error(&format!("inspect the image {name}"))),
        }
    }

    async fn image_pull(&self, name: &str) -> Result<(), Fault> {
        let (docker, flow) = self.engine.docker_streaming().await?;
        // A name without a tag would pull every tag.
        let reference = if has_tag(name) {
            name.to_owned()
        } else {
            format!("{name}:latest")
        };
        let options = CreateImageOptionsBuilder::default()
            .from_image(&reference)
            .build();
        let mut progress = pin!(flow.through(docker.create_image(Some(options), None, self.login(name))));
        let whole = async {
            loop {
                match tokio::time::timeout(STALL, progress.try_next()).await {
                    Ok(Ok(Some(_))) => {}
                    Ok(Ok(None)) => return Ok(()),
                    Ok(Err(e)) => return Err(self.engine.fault(e)),
                    Err(_) => return Err(late(format!("no progress within {} s", STALL.as_secs()))),
                }
            }
        };
        match tokio::time::timeout(PULL, whole).await {
            Ok(result) => result,
            Err(_) => Err(late(format!("not pulled within {} min", PULL.as_secs() / 60))),
        }
    }

    /// The name on the mirror; `None` without a mirror, or if the name has a registry.
    pub(crate) fn mirrored(&self, name: &str) -> Option<String> {
        let mirror = self.mirror.as_deref()?.trim_end_matches('/');
        (!has_registry(name)).then(|| format!("{mirror}/{name}"))
    }

    /// The login, only for an image of its own registry.
    pub(crate) fn login(&self, name: &str) -> Option<DockerCredentials> {
        let login = self.registry.as_ref().filter(|login| login.is_for(name))?;
        Some(DockerCredentials {
            username: Some(login.user.clone()),
            password: Some(login.password.expose().clone()),
            serveraddress: Some(login.server().to_owned()),
            ..DockerCredentials::default()
        })
    }
}

/// A late pull is a failure of the candidate, not of the engine.
fn late(message: String) -> Fault {
    Fault::Answer { status: 504, message }
}

/// Pins a pulled image by the digest under its own name, else by its id.
fn pinned(name: String, image: ImageInspect) -> Result<ImageRef> {
    let repository = repository_of(&name);
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

fn missing(candidates: &[String], reasons: &[String]) -> Error {
    if candidates.is_empty() {
        return Error::Refused("no image given: name at least one".to_owned());
    }
    let make = candidates.iter().find_map(|c| {
        let name = repository_of(c).rsplit('/').next()?;
        Some(name.strip_prefix("chainpool-").unwrap_or(name).to_owned())
    });
    let make = make.map_or_else(String::new, |name| {
        format!("build it with `make docker-{name}`, ")
    });
    let text = format!(
        "none of the images is on the engine, and none can be pulled ({}): {make}check the engine's network, or set a mirror",
        reasons.join("; ")
    );
    let is_unreachable = |reason: &String| REGISTRY_UNREACHABLE.iter().any(|text| reason.contains(text));
    if reasons.iter().any(is_unreachable) {
        Error::Dependency(text)
    } else {
        Error::Refused(text)
    }
}

/// The registry of a name, if any: its first part with a dot or a port, or `localhost`.
fn registry_of(name: &str) -> Option<&str> {
    let (first, _) = name.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

fn has_registry(name: &str) -> bool {
    registry_of(name).is_some()
}

fn has_tag(name: &str) -> bool {
    repository_of(name) != name
}

/// A name without tag and digest.
fn repository_of(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_agent::{Connection, InstanceId, RegistryLogin, Secret};

    fn agent(mirror: Option<&str>) -> DockerAgent {
        DockerAgent::connect(&Connection {
            instance: InstanceId::new(),
            address: "unix:///nowhere".into(),
            tls: None,
            insecure: false,
            bind: "127.0.0.1".parse().expect("an address"),
            kubeconfig: None,
            storage_class: None,
            mirror: mirror.map(str::to_owned),
            registry: Some(RegistryLogin {
                address: "m.example:5000".into(),
                user: "me".into(),
                password: Secret::new("secret".into()),
            }),
        })
        .expect("an agent")
    }

    #[test]
    fn a_mirror_serves_names_without_a_registry() {
        let agent = agent(Some("m.example:5000/"));
        assert_eq!(
            agent.mirrored("cometbft/cometbft:v1").as_deref(),
            Some("m.example:5000/cometbft/cometbft:v1")
        );
        assert_eq!(agent.mirrored("ghcr.io/x/y:1"), None);
        assert_eq!(agent.mirrored("localhost/x"), None);
    }

    /// Holds for any mirror and image.
    #[test]
    fn a_login_is_sent_only_to_its_own_registry() {
        for mirror in [
            None,
            Some("m.example:5000"),
            Some("evil.example"),
            Some("127.0.0.1:8390"),
        ] {
            let agent = agent(mirror);
            let shown = agent.login("m.example:5000/a").expect("its own registry");
            assert_eq!(shown.serveraddress.as_deref(), Some("m.example:5000"));
            for other in [
                "m.example:5000.evil.example/a",
                "ghcr.io/x/y:1",
                "evil.example/a",
                "127.0.0.1:8390/x/y:1",
                "a:1",
            ] {
                assert!(agent.login(other).is_none(), "{mirror:?} {other}");
            }
        }
    }

    #[test]
    fn names_are_parsed() {
        for (name, repository, tag) in [
            ("a", "a", false),
            ("a:1", "a", true),
            ("h:5/a", "h:5/a", false),
            ("h:5/a:1", "h:5/a", true),
            ("a@sha256:0", "a", true),
        ] {
            assert_eq!((repository_of(name), has_tag(name)), (repository, tag), "{name}");
        }
    }

    #[test]
    fn a_missing_image_error_names_the_remedy() {
        let error = missing(
            &["chainpool-cometbft:1".into()],
            &["chainpool-cometbft:1: denied".into()],
        )
        .to_string();
        assert!(
            error.contains("`make docker-cometbft`") && error.contains("denied"),
            "{error}"
        );
    }

    #[test]
    fn an_unreachable_registry_differs_from_a_missing_image() {
        let of = |reason: &str| missing(&["a:1".into()], &[format!("a:1: {reason}")]);
        assert!(matches!(of("manifest unknown"), Error::Refused(_)));
        assert!(matches!(
            of("Get https://r.example/v2/: dial tcp: lookup r.example: no such host"),
            Error::Dependency(_)
        ));
    }
}
