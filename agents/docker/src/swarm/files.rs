//! A node's files: sent to its machine as secrets, unpacked into its volumes by a helper task, and removed
//! from the swarm.

use super::{
    helper_task::Outcome,
    manager::Manager,
    service::{HelperTask, LABEL_PART, node_mounts},
};
use crate::{archive::tars, filter::as_map};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard::{models::SecretSpec, query_parameters::ListSecretsOptionsBuilder};
use chainpool_agent::{
    ClusterKey, Error, LabelFilter, Labels, NodeSpec, Result, absent_is_fine, node_object_name,
};
use futures::future::try_join_all;
use std::collections::HashMap;

/// Maximum bytes of a secret in a swarm.
const CHUNK: usize = 500_000;

/// One of our secrets in the swarm.
pub(super) struct FileSecret {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) labels: Labels,
}

impl Manager<'_> {
    /// Places a node's files on its machine. The node must be stopped.
    pub(super) async fn files_place(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        machine: &str,
    ) -> Result<Outcome> {
        let lists = tars(node)?;
        if lists.always.is_none() && lists.once.is_none() {
            return Ok(Outcome::Done);
        }
        let image = self.tools_image().await?;
        let object = node_object_name(key, &node.name);
        let labels = Labels::of_cluster(self.agent.instance, key)
            .node(&node.name)
            .hash(&node.hash);
        let part = |what: &str| {
            let mut map = labels.to_map();
            map.insert(LABEL_PART.to_owned(), what.to_owned());
            map
        };
        let mut command = vec!["/usr/bin/chainpool-place".to_owned()];
        let mut secrets = Vec::new();
        let mark: String = node
            .hash
            .0
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(8)
            .collect();
        for (flag, letter, list) in [("--always", 'a', &lists.always), ("--once", 'o', &lists.once)] {
            let Some(list) = list else { continue };
            command.push(flag.to_owned());
            for (at, chunk) in list.chunks(CHUNK).enumerate() {
                let file = format!("{letter}{at}");
                command.push(format!("/run/secrets/{file}"));
                secrets.push((format!("{object}-{mark}-{file}"), file, chunk));
            }
        }
        let created = secrets.iter().map(async |(name, file, chunk)| {
            let id = self.secret_ensure(name, &labels, part("file"), chunk).await?;
            Ok::<_, Error>((id, name.clone(), file.clone()))
        });
        let helper = HelperTask {
            name: format!("{object}-place"),
            labels: part("place"),
            image: image.pinned.clone(),
            machine: machine.to_owned(),
            command,
            mounts: node_mounts(self.agent.instance, key, node),
            secrets: try_join_all(created).await?,
        };
        let outcome = self.helper_task_run(helper).await?;
        self.secrets_remove(&self.node_filter(key, &node.name)).await?;
        Ok(outcome)
    }

    /// Creates a secret, or finds the one of this name. The same hash implies the same content.
    async fn secret_ensure(
        &self,
        name: &str,
        ours: &Labels,
        labels: HashMap<String, String>,
        content: &[u8],
    ) -> Result<String> {
        let docker = self.docker().await?;
        let data = Some(STANDARD.encode(content));
        let spec = SecretSpec {
            name: Some(name.to_owned()),
            labels: Some(labels),
            data,
            ..SecretSpec::default()
        };
        match self.call(docker.create_secret(spec)).await {
            Ok(created) => Ok(created.id),
            Err(fault) if fault.has_code(409) => {
                let found = self
                    .call(docker.inspect_secret(name))
                    .await
                    .map_err(|f| f.into_error(&format!("inspect the secret {name}")))?;
                let labels = found.spec.and_then(|s| s.labels).unwrap_or_default();
                match found.id {
                    Some(id) if Labels::from_map(&labels).as_ref() == Some(ours) => Ok(id),
                    _ => Err(Error::Foreign(format!("secret {name}"))),
                }
            }
            Err(fault) => Err(fault.into_error(&format!("take the files of {name}"))),
        }
    }

    pub(super) async fn secrets(&self, filter: &LabelFilter) -> Result<Vec<FileSecret>> {
        let docker = self.docker().await?;
        let options = ListSecretsOptionsBuilder::default()
            .filters(&as_map(filter))
            .build();
        let secrets = self
            .call(docker.list_secrets(Some(options)))
            .await
            .map_err(|f| f.into_error("list its secrets"))?;
        let secret = |secret: bollard::models::Secret| {
            let spec = secret.spec?;
            Some(FileSecret {
                id: secret.id?,
                name: spec.name?,
                labels: Labels::from_map(&spec.labels?)?,
            })
        };
        Ok(secrets.into_iter().filter_map(secret).collect())
    }

    async fn secrets_remove(&self, filter: &LabelFilter) -> Result<()> {
        let found = self.secrets(filter).await?;
        try_join_all(found.iter().map(|secret| self.secret_remove(secret)))
            .await
            .map(drop)
    }

    pub(super) async fn secret_remove(&self, secret: &FileSecret) -> Result<()> {
        let docker = self.docker().await?;
        match absent_is_fine(self.call(docker.delete_secret(&secret.id)).await) {
            // A concurrent call for the same node uses it and removes it.
            Err(fault) if fault.message_contains("is in use by") => Ok(()),
            other => other.map_err(|f| f.into_error(&format!("remove the secret {}", secret.name))),
        }
    }
}
