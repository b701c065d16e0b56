//! Pool of a previous version: its data folder and its objects on the engine, recorded by `fixtures/record.py`.

use crate::{Engine, ResourceLock};
use anyhow::{Context, Result, ensure};
use bollard::{
    body_full,
    models::{ContainerCreateBody, NetworkCreateRequest, VolumeCreateRequest},
    query_parameters::{
        CreateContainerOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder,
    },
};
use chainpool_agent::ImageRef;
use chainpool_api::{Bundle, Lease};
use chainpool_store::Store;
use futures::future::try_join_all;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// A recorded pool.
pub struct RecordedPool {
    folder: PathBuf,
    objects: Objects,
}

/// Lease and bundle at the time of the recording.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordedLease {
    /// The lease.
    pub lease: Lease,
    /// The bundle that its holder had.
    pub bundle: Bundle,
}

/// `engine.json`.
#[derive(Deserialize)]
struct Objects {
    instance: String,
    networks: Vec<NetworkCreateRequest>,
    volumes: Vec<VolumeCreateRequest>,
    containers: Vec<RecordedContainer>,
}

#[derive(Deserialize)]
struct RecordedContainer {
    name: String,
    image: String,
    body: ContainerCreateBody,
    mounts: Vec<RecordedMount>,
}

#[derive(Deserialize)]
struct RecordedMount {
    path: String,
    archive: String,
}

impl RecordedPool {
    /// The pool recorded with the version at this commit.
    pub fn of(commit: &str) -> Result<Self> {
        let folder = Path::new(FIXTURES).join(commit);
        let objects = serde_json::from_slice(&fs::read(folder.join("engine.json"))?)?;
        Ok(Self { folder, objects })
    }

    /// Its leases with their bundles.
    pub fn leases(&self) -> Result<Vec<RecordedLease>> {
        let unpacked = Command::new("tar")
            .arg("-xzOf")
            .arg(self.folder.join("leases.tar.gz"))
            .output()?;
        ensure!(unpacked.status.success(), "the leases cannot be unpacked");
        Ok(serde_json::from_slice(&unpacked.stdout)?)
    }

    /// The names of its containers.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.objects
            .containers
            .iter()
            .map(|container| container.name.as_str())
    }

    /// Creates its objects on the engine, starts its nodes and unpacks its data folder, with the ids of this
    /// engine and of its images in place of the recorded ones.
    pub async fn restore(&self, engine: &Engine, resources: &mut ResourceLock) -> Result<()> {
        drop(rustls::crypto::ring::default_provider().install_default()); // tests connect to ledgers before a Chainpool runs
        resources.lock_instance(engine, &self.objects.instance)?;
        let docker = engine.docker();
        for network in &self.objects.networks {
            docker.create_network(network.clone()).await?;
        }
        for volume in &self.objects.volumes {
            docker.create_volume(volume.clone()).await?;
        }
        let mut images = BTreeMap::new();
        for container in &self.objects.containers {
            if !images.contains_key(&container.image) {
                let found = docker
                    .inspect_image(&container.image)
                    .await
                    .with_context(|| format!("image {}", container.image))?;
                images.insert(container.image.clone(), found.id.context("an image has an id")?);
            }
        }
        try_join_all(
            self.objects
                .containers
                .iter()
                .map(|container| self.container_create(engine, container, &images[&container.image])),
        )
        .await?;
        for container in &self.objects.containers {
            docker
                .start_container(&container.name, None::<StartContainerOptions>)
                .await?;
        }
        self.data_restore(engine, resources, &images).await
    }

    async fn container_create(
        &self,
        engine: &Engine,
        container: &RecordedContainer,
        image: &str,
    ) -> Result<()> {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            ..container.body.clone()
        };
        let options = CreateContainerOptionsBuilder::default()
            .name(&container.name)
            .build();
        engine.docker().create_container(Some(options), body).await?;
        for mount in &container.mounts {
            let content = fs::read(self.folder.join(&mount.archive))?;
            let options = UploadToContainerOptionsBuilder::default()
                .path(&mount.path)
                .build();
            engine
                .docker()
                .upload_to_container(&container.name, Some(options), body_full(content.into()))
                .await?;
        }
        Ok(())
    }

    async fn data_restore(
        &self,
        engine: &Engine,
        resources: &ResourceLock,
        images: &BTreeMap<String, String>,
    ) -> Result<()> {
        let folder = resources.folder();
        fs::create_dir(&folder)?;
        let unpacked = Command::new("tar")
            .arg("-xzf")
            .arg(self.folder.join("data.tar.gz"))
            .arg("-C")
            .arg(&folder)
            .status()?;
        ensure!(unpacked.success(), "the data folder cannot be unpacked");
        let engine_id = engine.docker().info().await?.id.context("an engine has an id")?;
        let store = Store::open(&folder, None).await?;
        let (hosts, clusters) = (store.read().hosts().await?, store.read().clusters().await?);
        let mut tx = store.begin().await?;
        for mut host in hosts {
            host.engine_id.clone_from(&engine_id);
            host.address = engine.address.clone();
            tx.host_save(host).await?;
        }
        for cluster in clusters {
            let generation = cluster.generation;
            let stored = store
                .read()
                .revision(cluster.id, generation)
                .await?
                .context("a cluster has a spec")?;
            let pinned = stored.images.into_iter().map(|(node, image)| {
                let id = images
                    .get(&image.name)
                    .with_context(|| format!("no container of {node} has image {}", image.name))?;
                Ok((
                    node,
                    ImageRef {
                        pinned: id.clone(),
                        ..image
                    },
                ))
            });
            tx.revision_images(cluster.id, generation, pinned.collect::<Result<_>>()?)
                .await?;
        }
        tx.commit("the engine of this test").await?;
        Ok(store.close().await?)
    }
}
