//! A node's files: as secrets to the node's machine, by an errand of ours into its volumes, and nothing of them left in the swarm.

use super::{
    errand::Outcome,
    manager::Manager,
    service::{Errand, LABEL_PART, node_mounts},
};
use crate::{archive::tars, engine::absent_is_fine, observe::Filter};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard::{models::SecretSpec, query_parameters::ListSecretsOptionsBuilder};
use chainpool_agent::{ClusterKey, Error, Labels, NodeSpec, Result, node_object_name};
use futures::future::try_join_all;
use std::collections::HashMap;

/// A swarm takes up to 500 KiB as one secret.
const CHUNK: usize = 500_000;

/// A secret of ours in the swarm.
pub(super) struct Piece {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) labels: Labels,
}

impl Manager<'_> {
    /// Places a node's files on its machine. The node must not run.
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
        let labels = Labels::of_cluster(self.hands.instance, key)
            .node(&node.name)
            .hash(&node.hash);
        let part = |what: &str| {
            let mut map = labels.to_map();
            map.insert(LABEL_PART.to_owned(), what.to_owned());
            map
        };
        let mut command = vec!["/usr/bin/chainpool-place".to_owned()];
        let mut pieces = Vec::new();
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
                pieces.push((format!("{object}-{mark}-{file}"), file, chunk));
            }
        }
        let made = pieces.iter().map(async |(name, file, chunk)| {
            let id = self.secret_ensure(name, &labels, part("file"), chunk).await?;
            Ok::<_, Error>((id, name.clone(), file.clone()))
        });
        let errand = Errand {
            name: format!("{object}-place"),
            labels: part("place"),
            image: image.pinned.clone(),
            machine: machine.to_owned(),
            command,
            mounts: node_mounts(self.hands.instance, key, node),
            secrets: try_join_all(made).await?,
        };
        let outcome = self.errand_run(errand).await?;
        self.secrets_remove(&self.node_filter(key, &node.name)).await?;
        Ok(outcome)
    }

    /// Makes a secret, or finds the one of this name, which has the same content when it has the same hash.
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
            Ok(made) => Ok(made.id),
            Err(fault) if fault.is(409) => {
                let found = self
                    .call(docker.inspect_secret(name))
                    .await
                    .map_err(|f| f.into_error(&format!("show the secret {name}")))?;
                let labels = found.spec.and_then(|s| s.labels).unwrap_or_default();
                match found.id {
                    Some(id) if Labels::from_map(&labels).as_ref() == Some(ours) => Ok(id),
                    _ => Err(Error::Foreign(format!("secret {name}"))),
                }
            }
            Err(fault) => Err(fault.into_error(&format!("take the files of {name}"))),
        }
    }

    pub(super) async fn secrets(&self, filter: &Filter) -> Result<Vec<Piece>> {
        let docker = self.docker().await?;
        let options = ListSecretsOptionsBuilder::default()
            .filters(&filter.as_map())
            .build();
        let secrets = self
            .call(docker.list_secrets(Some(options)))
            .await
            .map_err(|f| f.into_error("list its secrets"))?;
        let piece = |secret: bollard::models::Secret| {
            let spec = secret.spec?;
            Some(Piece {
                id: secret.id?,
                name: spec.name?,
                labels: Labels::from_map(&spec.labels?)?,
            })
        };
        Ok(secrets.into_iter().filter_map(piece).collect())
    }

    async fn secrets_remove(&self, filter: &Filter) -> Result<()> {
        let found = self.secrets(filter).await?;
        try_join_all(found.iter().map(|piece| self.secret_remove(piece)))
            .await
            .map(drop)
    }

    pub(super) async fn secret_remove(&self, piece: &Piece) -> Result<()> {
        let docker = self.docker().await?;
        match absent_is_fine(self.call(docker.delete_secret(&piece.id)).await) {
            // The same node is being made by another call, which removes it.
            Err(fault) if fault.says("is in use by") => Ok(()),
            other => other.map_err(|f| f.into_error(&format!("remove the secret {}", piece.name))),
        }
    }
}
