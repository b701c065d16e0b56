//! An image is found, or pulled and pinned, or its absence is explained.

use crate::fixture::{connection, with_fixture};
use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{RemoveImageOptionsBuilder, TagImageOptionsBuilder};
use chainpool_agent::{Agent, Error, ImageRequest, RegistryLogin, Secret};
use chainpool_agent_docker::DockerAgent;
use futures::TryStreamExt;
use std::{collections::HashMap, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

#[test]
fn missing_images_are_all_named_with_their_reasons() {
    with_fixture(async |fixture| {
        let registry = Registry::start(HashMap::new(), None).await?;
        let candidates = [
            format!("{}/chainpool-ledger:1", registry.address),
            format!("{}/other/ledger", registry.address),
        ];
        let advised = ImageRequest {
            candidates: candidates.to_vec(),
            advice: Some("build it with `make ledger`".to_owned()),
        };
        let error = fixture
            .agent
            .ensure_image(&advised)
            .await
            .expect_err("no such image")
            .to_string();
        ensure!(candidates.iter().all(|c| error.contains(c)), "{error}");
        ensure!(
            error.contains("`make ledger`") && error.contains("mirror"),
            "{error}"
        );
        // A registry that is down.
        drop(registry);
        let error = fixture
            .agent
            .ensure_image(&ImageRequest::of(&candidates[..1]))
            .await
            .expect_err("no registry")
            .to_string();
        ensure!(
            error.contains(&candidates[0]) && error.contains("refused"),
            "{error}"
        );
        ensure!(fixture.agent.ensure_image(&ImageRequest::of(&[])).await.is_err());
        Ok(())
    });
}

#[test]
fn an_image_is_pulled_through_the_mirror_with_its_login_and_pinned_by_digest() {
    with_fixture(async |fixture| {
        // A password whose base64 differs between the two alphabets.
        let login = ("me".to_owned(), Secret::new("p?~>?~>?~>".to_owned()));
        let registry = Registry::of_image(&fixture.docker, &fixture.image.pinned, "me:p?~>?~>?~>").await?;
        let mut mirrored = connection(fixture.instance);
        mirrored.mirror = Some(registry.address.clone());
        mirrored.registry = Some(RegistryLogin {
            address: registry.address.clone(),
            user: login.0,
            password: login.1,
        });
        let agent = DockerAgent::connect(&mirrored)?;
        let candidate = format!("chainpool-test/pulled-{}:9", fixture.instance.0.simple());
        let name = format!("{}/{candidate}", registry.address);

        let image = agent
            .ensure_image(&ImageRequest::of(std::slice::from_ref(&candidate)))
            .await?;
        let found = fixture.docker.inspect_image(&image.pinned).await?;
        let remove = RemoveImageOptionsBuilder::default().force(false).build();
        fixture
            .docker
            .remove_image(&name, Some(remove.clone()), None)
            .await?;
        ensure!(
            image.name == name
                && image.pinned == format!("{}@{}", name.trim_end_matches(":9"), registry.digest),
            "{image:?}"
        );
        ensure!(
            found.id.as_ref() == Some(&fixture.image.pinned),
            "the content differs"
        );

        // A bare name that is present is not pulled again.
        let tag = TagImageOptionsBuilder::default()
            .repo(candidate.trim_end_matches(":9"))
            .tag("9")
            .build();
        fixture.docker.tag_image(&fixture.image.pinned, Some(tag)).await?;
        let image = agent
            .ensure_image(&ImageRequest::of(std::slice::from_ref(&candidate)))
            .await;
        fixture
            .docker
            .remove_image(&candidate, Some(remove), None)
            .await?;
        ensure!(
            image
                .as_ref()
                .is_ok_and(|i| i.name == candidate && i.pinned == fixture.image.pinned),
            "{image:?}"
        );

        // Without the login the pull is refused.
        mirrored.registry = None;
        let error = DockerAgent::connect(&mirrored)?
            .ensure_image(&ImageRequest::of(&[candidate]))
            .await
            .expect_err("no login");
        ensure!(
            matches!(&error, Error::Refused(text) if text.contains(&name)),
            "{error}"
        );
        Ok(())
    });
}

/// A minimal image registry for pulls (OCI distribution: manifests and blobs), with an optional login.
struct Registry {
    address: String,
    digest: String,
    serving: tokio::task::JoinHandle<()>,
}

type Answers = HashMap<String, (&'static str, Vec<u8>)>;
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

impl Drop for Registry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Registry {
    async fn start(answers: Answers, login: Option<&str>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let shared = Arc::new((answers, login.map(|l| format!("Basic {}", base64(l.as_bytes())))));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move { serve(stream, &shared.0, shared.1.as_deref()).await });
            }
        });
        Ok(Self {
            address,
            digest: String::new(),
            serving,
        })
    }

    /// A registry that serves one image of the engine under every name.
    async fn of_image(docker: &bollard::Docker, id: &str, login: &str) -> Result<Self> {
        let saved: Vec<_> = docker.export_image(id).try_collect().await?;
        let mut files = HashMap::new();
        for entry in tar::Archive::new(&saved.concat()[..]).entries()? {
            let mut entry = entry?;
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content)?;
            files.insert(entry.path()?.display().to_string(), content);
        }
        let config = files
            .remove(&format!("{}.json", id.trim_start_matches("sha256:")))
            .context("the image's config")?;
        let layer = files
            .into_iter()
            .find(|(path, _)| path.ends_with("/layer.tar"))
            .context("the image's layer")?
            .1;
        let part = |kind: &str, bytes: &[u8]| {
            let (digest, size) = (digest(bytes), bytes.len());
            format!(r#"{{"mediaType":"application/vnd.docker.{kind}","size":{size},"digest":"{digest}"}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
            part("container.image.v1+json", &config),
            part("image.rootfs.diff.tar", &layer)
        );
        let pinned = digest(manifest.as_bytes());
        let blob = |bytes: Vec<u8>| {
            (
                format!("blobs/{}", digest(&bytes)),
                ("application/octet-stream", bytes),
            )
        };
        let manifests = ["9".to_owned(), pinned.clone()].map(|name| {
            (
                format!("manifests/{name}"),
                (MANIFEST, manifest.clone().into_bytes()),
            )
        });
        let answers = manifests.into_iter().chain([blob(config), blob(layer)]).collect();
        let mut registry = Self::start(answers, Some(login)).await?;
        registry.digest = pinned;
        Ok(registry)
    }
}

async fn serve(stream: TcpStream, answers: &Answers, login: Option<&str>) -> Option<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    loop {
        let request = lines.next_line().await.ok()??;
        let (mut given, mut parts) = (None, request.split(' '));
        let (method, path) = (parts.next()?, parts.next()?);
        loop {
            let line = lines.next_line().await.ok()??;
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("Authorization: ") {
                given = Some(value.to_owned());
            }
        }
        let (status, (kind, body)) = if login.is_some() && given.as_deref() != login {
            ("401 Unauthorized", ("application/json", b"{}".to_vec()))
        } else if path == "/v2/" {
            ("200 OK", ("application/json", b"{}".to_vec()))
        } else {
            match answers.iter().find(|(end, _)| path.ends_with(end.as_str())) {
                Some((_, answer)) => ("200 OK", answer.clone()),
                None => ("404 Not Found", ("application/json", b"{}".to_vec())),
            }
        };
        let digest = digest(&body);
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {digest}\r\n\
             Docker-Distribution-Api-Version: registry/2.0\r\nWWW-Authenticate: Basic realm=\"test\"\r\n\r\n",
            body.len()
        );
        writer.write_all(head.as_bytes()).await.ok()?;
        if method != "HEAD" {
            writer.write_all(&body).await.ok()?;
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
