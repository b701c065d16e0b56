//! A real swarm: three engines on this machine from `tests/testbeds/swarm.sh`, or the swarm in
//! `CHAINPOOL_TEST_SWARM`.

use crate::busybox;
use anyhow::{Context, Result, bail, ensure};
use bollard::{
    Docker, body_full,
    models::ImageInspect,
    query_parameters::{
        ImportImageOptionsBuilder, ListConfigsOptionsBuilder, ListContainersOptionsBuilder,
        ListNetworksOptionsBuilder, ListSecretsOptionsBuilder, ListServicesOptionsBuilder,
        ListTasksOptionsBuilder, ListVolumesOptionsBuilder, RemoveImageOptionsBuilder,
    },
};
use chainpool_agent::{Connection, ImageRef, ImageRequest, InstanceId, LABEL_INSTANCE};
use futures::{StreamExt, TryStreamExt};
use std::{
    collections::HashMap,
    net::Ipv4Addr,
    process::{Command, Stdio},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/testbeds/swarm.sh");

/// The swarm, with the test image on each machine.
pub(crate) struct Bed {
    pub(crate) address: String,
    /// One client per manager, in the order of the address.
    pub(crate) machines: Vec<Docker>,
    pub(crate) image: ImageRef,
    /// Started by our script, so tests may break its machines.
    pub(crate) ours: bool,
}

/// The reason for a missing swarm.
pub(crate) struct Skipped(pub(crate) String);

/// All objects of one instance, on all machines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Leftovers(pub(crate) Vec<String>);

impl Bed {
    /// Starts the bed, or finds it running, and loads the images. A bed that cannot start is not a failure.
    pub(crate) async fn up() -> Result<Result<Self, Skipped>> {
        let (code, output, why) = run(&["up"])?;
        match code {
            Some(0) => {}
            Some(3) => return Ok(Err(Skipped(why))),
            code => bail!("swarm.sh up exited with {code:?}: {why}"),
        }
        let address = output
            .lines()
            .last()
            .context("swarm.sh prints the address")?
            .to_owned();
        let mut machines = Vec::new();
        for one in address.split(',') {
            let machine = Docker::connect_with_http(one, 120, bollard::API_DEFAULT_VERSION)?;
            machines.push(
                machine
                    .negotiate_version()
                    .await
                    .with_context(|| format!("{one} does not answer"))?,
            );
        }
        let image = busybox::import(&machines[0], InstanceId::new()).await?;
        let ours = std::env::var_os("CHAINPOOL_TEST_SWARM").is_none();
        let bed = Self {
            address,
            machines,
            image,
            ours,
        };
        bed.give(&bed.machines[0], &bed.image.name).await?;
        let own = std::env::var("CHAINPOOL_TEST_DOCKER")
            .unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let own = Docker::connect_with_host(&own)?.negotiate_version().await?;
        own.inspect_image(TOOLS)
            .await
            .with_context(|| format!("{TOOLS} is missing: make docker-tools"))?;
        bed.give(&own, TOOLS).await?;
        Ok(Ok(bed))
    }

    /// Copies an image to each machine that lacks it.
    async fn give(&self, from: &Docker, image: &str) -> Result<()> {
        let ImageInspect { id, .. } = from.inspect_image(image).await?;
        let mut content = Vec::new();
        for machine in &self.machines {
            if machine
                .inspect_image(image)
                .await
                .is_ok_and(|found| found.id == id)
            {
                continue;
            }
            if content.is_empty() {
                content = from
                    .export_image(image)
                    .map_ok(|part| part.to_vec())
                    .try_concat()
                    .await?;
            }
            let options = ImportImageOptionsBuilder::default().quiet(true).build();
            let mut progress = machine.import_image(options, body_full(content.clone().into()), None);
            while progress.next().await.transpose()?.is_some() {}
        }
        Ok(())
    }

    /// Removes the image of this run. The swarm stays, for the next one.
    pub(crate) async fn close(self) -> Result<()> {
        for machine in &self.machines {
            let options = RemoveImageOptionsBuilder::default().force(true).build();
            machine
                .remove_image(&self.image.name, Some(options), None)
                .await?;
        }
        Ok(())
    }

    pub(crate) fn connection(&self, instance: InstanceId) -> Connection {
        Connection {
            instance,
            address: self.address.clone(),
            kubeconfig: None,
            storage_class: None,
            tls: None,
            insecure: true,
            bind: Ipv4Addr::UNSPECIFIED.into(),
            mirror: None,
            registry: None,
        }
    }

    /// All objects with this instance's label, from the listings of the swarm and of every machine.
    pub(crate) async fn leak_check(&self, instance: InstanceId) -> Result<Leftovers> {
        let filters = HashMap::from([("label", vec![format!("{LABEL_INSTANCE}={instance}")])]);
        let manager = &self.machines[0];
        let mut found = Vec::new();
        let services = ListServicesOptionsBuilder::default().filters(&filters).build();
        found.extend(
            manager
                .list_services(Some(services))
                .await?
                .into_iter()
                .filter_map(|s| Some(format!("service {}", s.spec?.name?))),
        );
        let tasks = ListTasksOptionsBuilder::default().filters(&filters).build();
        found.extend(
            manager
                .list_tasks(Some(tasks))
                .await?
                .into_iter()
                .map(|t| format!("task {:?} {:?}", t.id, t.status)),
        );
        let secrets = ListSecretsOptionsBuilder::default().filters(&filters).build();
        found.extend(
            manager
                .list_secrets(Some(secrets))
                .await?
                .into_iter()
                .filter_map(|s| Some(format!("secret {}", s.spec?.name?))),
        );
        let configs = ListConfigsOptionsBuilder::default().filters(&filters).build();
        found.extend(
            manager
                .list_configs(Some(configs))
                .await?
                .into_iter()
                .filter_map(|c| Some(format!("config {}", c.spec?.name?))),
        );
        for (at, machine) in self.machines.iter().enumerate() {
            let containers = ListContainersOptionsBuilder::default()
                .all(true)
                .filters(&filters)
                .build();
            let containers = machine.list_containers(Some(containers)).await?;
            found.extend(
                containers
                    .into_iter()
                    .map(|c| format!("container {:?} on {}", c.names, at + 1)),
            );
            let networks = ListNetworksOptionsBuilder::default().filters(&filters).build();
            let networks = machine.list_networks(Some(networks)).await?;
            found.extend(
                networks
                    .into_iter()
                    .map(|n| format!("network {:?} on {}", n.name, at + 1)),
            );
            let volumes = ListVolumesOptionsBuilder::default().filters(&filters).build();
            let volumes = machine
                .list_volumes(Some(volumes))
                .await?
                .volumes
                .unwrap_or_default();
            found.extend(
                volumes
                    .into_iter()
                    .map(|v| format!("volume {} on {}", v.name, at + 1)),
            );
        }
        Ok(Leftovers(found))
    }
}

/// Changes the machines: `stop 1`, `cut 3` …
pub(crate) fn change(arguments: &[&str]) -> Result<()> {
    let (code, _, why) = run(arguments)?;
    ensure!(
        code == Some(0),
        "swarm.sh {arguments:?} exited with {code:?}: {why}"
    );
    Ok(())
}

fn run(arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let done = Command::new(SCRIPT)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{SCRIPT} cannot be run"))?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map(|text| text.trim().to_owned());
    Ok((done.status.code(), text(done.stdout)?, text(done.stderr)?))
}

/// The image that places files.
const TOOLS: &str = concat!("chainpool/tools:", env!("CARGO_PKG_VERSION"));

/// The same, as an agent takes it.
pub(crate) fn tools() -> ImageRequest {
    ImageRequest::of(&[TOOLS.to_owned()])
}
