//! Amendment of a running cluster: a revision of its generation that leaves unaffected nodes unchanged.

use crate::{
    Error, Result,
    operations::{
        Operations,
        cause::Cause,
        plan::Arguments,
        render::{render_request, seed, spec_settings},
        supersede::supersede,
    },
    placement::{allocation::has_addresses, room::no_room},
};
use chainpool_agent::{ClusterSpec, ImageRef, NodeName};
use chainpool_api::{self as api, OperationKind, OperationState};
use chainpool_networks::{Amendment, NetworkType, ParameterErrors, PreviousChange, Requirements};
use chainpool_store::{ClusterRow, HostRow, Json, OperationRow, PortRow, Priority, Tx};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use uuid::Uuid;

/// An amendment as it was requested of a cluster at one version, not rendered yet.
pub(crate) struct Draft {
    /// The cluster with its amended parameters, at the version that was read.
    row: ClusterRow,
    host: HostRow,
    network: Arc<dyn NetworkType>,
    requirements: Requirements,
    ports: Vec<PortRow>,
    previous: ClusterSpec,
    images: BTreeMap<String, ImageRef>,
    change: Amendment,
}

/// A rendered amendment, not stored yet.
pub(crate) struct RenderedDraft {
    draft: Draft,
    after: ClusterSpec,
}

impl Operations {
    /// Checks a requested amendment and chooses ports for new nodes. Writes nothing that is to be committed: it is
    /// rendered after this transaction.
    pub(crate) async fn draft_amend(
        &self,
        tx: &mut Tx,
        mut row: ClusterRow,
        amend: &api::ClusterAmend,
    ) -> Result<Draft> {
        supersede(tx, &row, OperationKind::ClusterAmend).await?;
        let network = self.network_of(&row)?;
        let host = host_of(tx, &row).await?;
        let created_with = row.parameters.0.clone();
        row.parameters.0 = amended_parameters(network.as_ref(), &row, amend)?;
        let requirements = network.requirements(&row.parameters.0);
        check_room(tx, &host, &row, &requirements).await?;
        has_addresses(&host, &row, &requirements)?;
        let previous = tx
            .operation_newest(row.id, OperationKind::ClusterAmend)
            .await?
            .filter(|previous| previous.generation == row.generation);
        let previous = match previous {
            Some(previous) if previous.state.0 != OperationState::Succeeded => PreviousChange::Unfinished,
            _ => PreviousChange::Completed,
        };
        if row.created_with.is_none() && row.parameters.0 != created_with {
            row.created_with = Some(Json(created_with));
        }
        let ports = tx.ports_of_cluster(row.id).await?;
        self.draft(tx, (row, host), ports, (amend.renew_certificates, previous))
            .await
    }

    /// Drafts the amendment in progress again, without a port that turned out to be in use.
    pub(crate) async fn draft_elsewhere(&self, tx: &Tx, row: ClusterRow, taken: u16) -> Result<Draft> {
        let host = host_of(tx, &row).await?;
        let mut ports = tx.ports_of_cluster(row.id).await?;
        ports.retain(|port| port.port != i64::from(taken));
        self.draft(tx, (row, host), ports, (false, PreviousChange::InProgress))
            .await
    }

    async fn draft(
        &self,
        tx: &Tx,
        (row, host): (ClusterRow, HostRow),
        ports: Vec<PortRow>,
        (renew_certificates, previous): (bool, PreviousChange),
    ) -> Result<Draft> {
        let network = self.network_of(&row)?;
        let requirements = network.requirements(&row.parameters.0);
        let opened = tx
            .revision_opened(self.store().master(), row.id, row.generation)
            .await?;
        let (before, images) = opened.ok_or_else(|| Error::internal("a cluster without a spec"))?;
        let ports = self.amended_ports(tx, &host, &row, &requirements, ports).await?;
        let change = Amendment {
            request: render_request(&host, &row, &ports, network.as_ref()),
            renew_certificates,
            previous,
        };
        Ok(Draft {
            row,
            host,
            network,
            requirements,
            ports,
            previous: before,
            images,
            change,
        })
    }

    /// Renders the amended spec, outside of any transaction.
    pub(crate) async fn draft_render(&self, draft: Draft, priority: Priority) -> Result<RenderedDraft> {
        let render = move || {
            let after = draft
                .network
                .amend(&draft.previous, &draft.change, &seed())
                .map_err(parameter_error)?;
            Ok(RenderedDraft { draft, after })
        };
        self.rendered(priority, render).await?
    }

    /// Stores an amended spec, with ports and machines for new nodes, and returns the cluster for the caller to
    /// save. `None`: the cluster, the settings of its host or a chosen port was taken since it was drafted.
    pub(crate) async fn draft_store(
        &self,
        tx: &mut Tx,
        rendered: RenderedDraft,
    ) -> Result<Option<ClusterRow>> {
        let RenderedDraft { draft, mut after } = rendered;
        let Draft {
            mut row,
            host: drafted_on,
            network: _,
            requirements,
            ports,
            previous,
            mut images,
            change,
        } = draft;
        let (Some(now), host) = (tx.cluster(row.id).await?, host_of(tx, &row).await?) else {
            return Ok(None);
        };
        if now.row_version != row.row_version || spec_settings(&host) != spec_settings(&drafted_on) {
            return Ok(None);
        }
        let others: BTreeSet<i64> = tx
            .ports_in_use(host.id, Some(row.id))
            .await?
            .into_iter()
            .collect();
        if ports.iter().any(|port| others.contains(&port.port)) {
            return Ok(None);
        }
        // These change without a new version.
        (row.checked_at, row.height) = (now.checked_at, now.height);
        if matches!(change.previous, PreviousChange::InProgress) {
            after.boot.clone_from(&previous.boot);
        }
        if self.runtime.agents.of(&host)?.agent.capabilities().machines {
            let new: Vec<NodeName> = after
                .processes()
                .map(|node| &node.name)
                .filter(|name| !row.machines.0.contains_key(name))
                .cloned()
                .collect();
            if !new.is_empty() {
                let chosen = self
                    .placement
                    .machines(tx, &host, &row, &new, &requirements.colocated)
                    .await?;
                row.machines.0.extend(chosen);
            }
            after = after.placed(&row.machines.0);
        }
        images.retain(|node, _| has_same_images(&previous, &after, node));
        let generation = row.generation;
        tx.revision_replace(self.store().master(), row.id, generation, (after, images))
            .await?;
        tx.ports_replace(row.id, ports).await?;
        resize(&mut row, &requirements)?;
        Ok(Some(row))
    }

    /// Accepts a rendered amendment: ports for new nodes, the amended spec, the operation. `None`: it was
    /// overtaken and is to be drafted again.
    pub(crate) async fn accept_amend(
        &self,
        tx: &mut Tx,
        rendered: RenderedDraft,
        cause: &Cause,
    ) -> Result<Option<(OperationRow, Option<Uuid>)>> {
        let superseded = supersede(tx, &rendered.draft.row, OperationKind::ClusterAmend).await?;
        let Some(mut row) = self.draft_store(tx, rendered).await? else {
            return Ok(None);
        };
        let operation = self
            .operation_on(
                tx,
                &mut row,
                OperationKind::ClusterAmend,
                Arguments::default(),
                cause,
            )
            .await?;
        tx.cluster_save(row).await?;
        Ok(Some((operation, superseded)))
    }

    fn network_of(&self, row: &ClusterRow) -> Result<Arc<dyn NetworkType>> {
        self.runtime
            .registry
            .get(&row.network_type)
            .map_err(Error::internal)
    }

    /// Adds ports for new nodes to the cluster's ports.
    async fn amended_ports(
        &self,
        tx: &Tx,
        host: &HostRow,
        row: &ClusterRow,
        requirements: &Requirements,
        mut ports: Vec<PortRow>,
    ) -> Result<Vec<PortRow>> {
        let has: BTreeSet<(String, String)> = ports
            .iter()
            .map(|port| (port.node.clone(), port.name.clone()))
            .collect();
        let needs: Vec<_> = requirements
            .ports
            .iter()
            .filter(|need| !has.contains(&(need.node.to_string(), need.port.clone())))
            .cloned()
            .collect();
        ports.extend(self.placement.more_ports(tx, host, row.id, &needs).await?);
        Ok(ports)
    }
}

async fn host_of(tx: &Tx, row: &ClusterRow) -> Result<HostRow> {
    tx.host(row.host_id)
        .await?
        .ok_or_else(|| Error::internal("a cluster without a host"))
}

/// The field that requests new certificates.
const RENEW: &str = "renew_certificates";

/// Validates the amended parameters; refuses changes of fixed parameters.
fn amended_parameters(
    network: &dyn NetworkType,
    row: &ClusterRow,
    amend: &api::ClusterAmend,
) -> Result<serde_json::Value> {
    let api::NetworkType {
        name,
        parameters,
        certificates,
        ..
    } = network.describe();
    let mut wanted = row.parameters.0.as_object().cloned().unwrap_or_default();
    wanted.extend(amend.parameters.clone());
    let wanted = network.validate(&row.preset, &wanted).map_err(parameter_error)?;
    let mut errors = unchangeable(&parameters, &row.parameters.0, &wanted);
    if amend.renew_certificates && !certificates {
        errors.insert(
            RENEW.to_owned(),
            format!("a {name} network has no certificates; omit it"),
        );
    }
    if errors.is_empty() {
        Ok(wanted)
    } else {
        Err(parameter_error(ParameterErrors(errors)))
    }
}

/// Returns an error for each changed parameter that is fixed. A parameter missing in the row, because the row
/// predates it, counts as its default.
fn unchangeable(
    known: &[api::Parameter],
    present: &serde_json::Value,
    wanted: &serde_json::Value,
) -> BTreeMap<String, String> {
    let stays = known
        .iter()
        .filter(|parameter| !parameter.amendable)
        .filter_map(|parameter| {
            let value = present.get(&parameter.name).unwrap_or(&parameter.default);
            let why = || {
                (
                    parameter.name.clone(),
                    format!("is fixed at {value} while the network runs; create another cluster"),
                )
            };
            (wanted[&parameter.name] != *value).then(why)
        });
    stays.collect()
}

fn parameter_error(errors: ParameterErrors) -> Error {
    let field = |name: String| {
        if [RENEW, "parameters"].contains(&name.as_str()) {
            name
        } else {
            format!("parameters.{name}")
        }
    };
    Error::fields(
        errors
            .0
            .into_iter()
            .map(|(name, why)| (field(name), why))
            .collect(),
    )
}

/// Refuses an amendment that does not fit on the host.
async fn check_room(tx: &Tx, host: &HostRow, row: &ClusterRow, requirements: &Requirements) -> Result<()> {
    let more = requirements
        .memory_bytes
        .saturating_sub(u64::try_from(row.memory_bytes).map_err(Error::internal)?);
    let used = tx.host_usage(host.id).await?.memory_bytes;
    match no_room(host, used, more).filter(|_| more > 0) {
        None => Ok(()),
        Some(why) => Err(Error::conflict("no_room", why)),
    }
}

/// Returns `true` if an amendment keeps the image candidates of a node, so that its resolved image stays.
fn has_same_images(previous: &ClusterSpec, after: &ClusterSpec, node: &str) -> bool {
    let images = |spec: &ClusterSpec| {
        spec.processes()
            .find(|known| known.name.as_str() == node)
            .map(|known| known.images.clone())
    };
    images(previous) == images(after)
}

/// Reverts the amendments of the previous generation: a new generation has the original parameters.
pub(crate) async fn revert_amendments(
    tx: &mut Tx,
    row: &mut ClusterRow,
    network: &dyn NetworkType,
) -> Result<()> {
    let Some(created_with) = row.created_with.take() else {
        return Ok(());
    };
    row.parameters = created_with;
    let requirements = network.requirements(&row.parameters.0);
    let needed: BTreeSet<(&str, &str)> = requirements
        .ports
        .iter()
        .map(|need| (need.node.as_str(), need.port.as_str()))
        .collect();
    let mut ports = tx.ports_of_cluster(row.id).await?;
    ports.retain(|port| needed.contains(&(port.node.as_str(), port.name.as_str())));
    tx.ports_replace(row.id, ports).await?;
    resize(row, &requirements)
}

fn resize(row: &mut ClusterRow, requirements: &Requirements) -> Result<()> {
    row.size = i64::from(requirements.size);
    row.memory_bytes = i64::try_from(requirements.memory_bytes).map_err(Error::internal)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_parameter_missing_in_a_row_has_its_default() {
        let known: Vec<api::Parameter> = from_value(json!([
            {"name": "line", "about": "", "kind": "text", "default": "old", "one_of": ["old", "new"]},
            {"name": "count", "about": "", "kind": "integer", "default": 1, "amendable": true},
        ]))
        .unwrap();
        let errors = |present, line| unchangeable(&known, &present, &json!({"line": line, "count": 2}));
        assert_eq!(errors(json!({"count": 1}), "old"), BTreeMap::new());
        let why = "is fixed at \"old\" while the network runs; create another cluster".to_owned();
        assert_eq!(
            errors(json!({"count": 1}), "new"),
            BTreeMap::from([("line".to_owned(), why.clone())])
        );
        assert_eq!(
            errors(json!({"line": "old", "count": 1}), "new"),
            BTreeMap::from([("line".to_owned(), why)])
        );
    }
}
