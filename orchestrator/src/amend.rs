//! Changing a cluster while it runs: a revision of its generation, in which untouched nodes are as they were.

use crate::{
    Caller, Error, Orchestrator, Result,
    accept::{Cause, supersede},
    cluster::living,
    fill::no_room,
    plan::Arguments,
    policy,
    render::{order, seed},
    site::has_addresses,
    view::number,
};
use chainpool_agent::{ClusterSpec, NodeName};
use chainpool_api::{self as api, ClusterState, OperationKind, OperationState};
use chainpool_networks::{Amendment, Before, Layout, NetworkType, ParameterErrors};
use chainpool_store::{ClusterRow, HostRow, Json, OperationRow, PortRow, Tx};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

impl Orchestrator {
    /// Changes a cluster while it runs: more of what its type lets grow, or new certificates. Asked for again, it goes on with
    /// what an earlier try did not bring to its end.
    pub async fn cluster_amend(
        &self,
        caller: &Caller,
        cluster: &str,
        amend: api::ClusterAmend,
    ) -> Result<api::Operation> {
        policy::must_operate(caller)?;
        let (_turn, known) = self.remembered(caller).await?;
        if let Some(id) = known {
            return self.operation_show(caller, id).await;
        }
        if amend.parameters.is_empty() && !amend.renew_certificates {
            return Err(Error::field(
                "parameters",
                "nothing is to be changed: name a parameter, or set renew_certificates",
            ));
        }
        let id = self.cluster_for(caller, cluster).await?.id;
        let mut tx = self.store().begin().await?;
        let row = living(&tx, id, cluster).await?;
        if row.state.0 != ClusterState::Ready {
            return Err(Error::conflict(
                "wrong_state",
                format!(
                    "cluster {} is {}; only a ready one can be amended",
                    row.name, row.state.0
                ),
            ));
        }
        if let Some(node) = row.stopped_nodes.0.first() {
            let text = format!(
                "node {node} of cluster {} is stopped; an amendment needs all: chainpool cluster start {} --node {node}",
                row.name, row.name
            );
            return Err(Error::conflict("wrong_state", text));
        }
        let (operation, superseded) = self
            .accept_amend(&mut tx, row, &amend, &Cause::of(caller, told(&amend)))
            .await?;
        self.remember(&mut tx, caller, operation.id).await?;
        let amending = self.inner.live.amending(id);
        self.accepted(tx, superseded.as_slice()).await?;
        amending.done();
        self.view_operation(operation, true).await
    }

    /// Accepts an amendment: ports for what is new, the amended spec, the operation.
    async fn accept_amend(
        &self,
        tx: &mut Tx,
        mut row: ClusterRow,
        amend: &api::ClusterAmend,
        cause: &Cause,
    ) -> Result<(OperationRow, Option<Uuid>)> {
        let superseded = supersede(tx, &row, OperationKind::ClusterAmend).await?;
        let network = self
            .inner
            .registry
            .get(&row.network_type)
            .map_err(Error::internal)?;
        let host = tx
            .host(row.host_id)
            .await?
            .ok_or_else(|| Error::internal("a cluster without a host"))?;
        let made_with = row.parameters.0.clone();
        row.parameters.0 = settled(network.as_ref(), &row, amend)?;
        let layout = network.layout(&row.parameters.0);
        room(tx, &host, &row, &layout).await?;
        has_addresses(&host, &row, &layout)?;
        let before = tx
            .operation_newest(row.id, OperationKind::ClusterAmend)
            .await?
            .filter(|before| before.generation == row.generation);
        let asked = Asked {
            renew_certificates: amend.renew_certificates,
            before: match before {
                Some(before) if before.state.0 != OperationState::Succeeded => Before::Unfinished,
                _ => Before::Ended,
            },
        };
        self.amend_into(tx, &host, &mut row, (network.as_ref(), &layout), Some(asked))
            .await?;
        if row.made_with.is_none() && row.parameters.0 != made_with {
            row.made_with = Some(Json(made_with));
        }
        sized(&mut row, &layout)?;
        let generation = number(row.generation);
        let operation = self
            .operation_on(
                tx,
                &row,
                OperationKind::ClusterAmend,
                generation,
                Arguments::default(),
                cause,
            )
            .await?;
        row.operation_id = Some(operation.id);
        tx.cluster_save(row).await?;
        Ok((operation, superseded))
    }

    /// Gives what an amendment makes another port than one that turned out to be in use. The operation goes on with the spec anew.
    pub(crate) async fn amend_elsewhere(
        &self,
        tx: &mut Tx,
        host: &HostRow,
        mut row: ClusterRow,
        taken: u16,
    ) -> Result<()> {
        let network = self
            .inner
            .registry
            .get(&row.network_type)
            .map_err(Error::internal)?;
        let mut ports = tx.ports_of_cluster(row.id).await?;
        ports.retain(|port| port.port != i64::from(taken));
        tx.ports_replace(row.id, ports).await?;
        let layout = network.layout(&row.parameters.0);
        self.amend_into(tx, host, &mut row, (network.as_ref(), &layout), None)
            .await?;
        Ok(tx.cluster_save(row).await?)
    }

    /// Makes the amended spec of a row's parameters, with ports and machines for what is new, and stores it. With nothing asked it is
    /// that of the change under way, which goes on as it was to.
    async fn amend_into(
        &self,
        tx: &mut Tx,
        host: &HostRow,
        row: &mut ClusterRow,
        (network, layout): (&dyn NetworkType, &Layout),
        asked: Option<Asked>,
    ) -> Result<()> {
        let generation = number(row.generation);
        let opened = tx
            .revision_opened(self.store().master(), row.id, generation)
            .await?;
        let (before, mut images) = opened.ok_or_else(|| Error::internal("a cluster without a spec"))?;
        let ports = self.amended_ports(tx, host, row, layout).await?;
        let Asked {
            renew_certificates,
            before: ended,
        } = asked.unwrap_or(Asked {
            renew_certificates: false,
            before: Before::UnderWay,
        });
        let change = Amendment {
            order: order(host, row, &ports, network),
            renew_certificates,
            before: ended,
        };
        let mut after = network.amend(&before, &change, &seed()).map_err(refused)?;
        if asked.is_none() {
            after.boot.clone_from(&before.boot);
        }
        if self.inner.agents.of(host)?.agent.capabilities().machines {
            let new: Vec<NodeName> = after
                .processes()
                .map(|node| &node.name)
                .filter(|name| !row.machines.0.contains_key(name))
                .cloned()
                .collect();
            if !new.is_empty() {
                let chosen = self.machines(tx, host, row, &new, &layout.together).await?;
                row.machines.0.extend(chosen);
            }
            after = after.placed(&row.machines.0);
        }
        images.retain(|node, _| has_same_images(&before, &after, node));
        tx.revision_replace(self.store().master(), row.id, generation, (after, images))
            .await?;
        Ok(tx.ports_replace(row.id, ports).await?)
    }

    /// The ports that it has, and more for what is new.
    async fn amended_ports(
        &self,
        tx: &Tx,
        host: &HostRow,
        row: &ClusterRow,
        layout: &Layout,
    ) -> Result<Vec<PortRow>> {
        let mut ports = tx.ports_of_cluster(row.id).await?;
        let has: BTreeSet<(String, String)> = ports
            .iter()
            .map(|port| (port.node.clone(), port.name.clone()))
            .collect();
        let needs: Vec<_> = layout
            .ports
            .iter()
            .filter(|need| !has.contains(&(need.node.to_string(), need.port.clone())))
            .cloned()
            .collect();
        ports.extend(self.more_ports(tx, host, row.id, &needs).await?);
        Ok(ports)
    }
}

/// How a cluster is to be changed, beside its parameters.
#[derive(Clone, Copy)]
struct Asked {
    renew_certificates: bool,
    before: Before,
}

/// What was asked for, in words.
fn told(amend: &api::ClusterAmend) -> String {
    let certificates = amend.renew_certificates.then(|| "new certificates".to_owned());
    let changes = amend
        .parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .chain(certificates);
    format!("asked for: {}", changes.collect::<Vec<_>>().join(", "))
}

/// The name of what asks for new certificates.
const RENEW: &str = "renew_certificates";

/// The parameters that it shall have; refused where its type never lets them change.
fn settled(
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
    let wanted = network.settle(&row.preset, &wanted).map_err(refused)?;
    let mut errors = unchangeable(&parameters, &row.parameters.0, &wanted);
    if amend.renew_certificates && !certificates {
        errors.insert(RENEW.to_owned(), format!("a {name} network has no certificates"));
    }
    if errors.is_empty() {
        Ok(wanted)
    } else {
        Err(refused(ParameterErrors(errors)))
    }
}

/// What differs of the parameters that never change, by name. One that a row lacks, because it was made before there was such a
/// parameter, has its default.
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
                    format!("stays {value} while the network runs; make another cluster"),
                )
            };
            (wanted[&parameter.name] != *value).then(why)
        });
    stays.collect()
}

fn refused(errors: ParameterErrors) -> Error {
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

/// Refuses what does not fit on the host beside the others.
async fn room(tx: &Tx, host: &HostRow, row: &ClusterRow, layout: &Layout) -> Result<()> {
    let more = layout
        .memory_bytes
        .saturating_sub(u64::try_from(row.memory_bytes).map_err(Error::internal)?);
    match no_room(host, &tx.clusters_of(host.id).await?, more).filter(|_| more > 0) {
        None => Ok(()),
        Some(why) => Err(Error::conflict("no_room", why)),
    }
}

/// Whether an amendment leaves a node the images that it may run, so that the one that was found stays.
fn has_same_images(before: &ClusterSpec, after: &ClusterSpec, node: &str) -> bool {
    let images = |spec: &ClusterSpec| {
        spec.processes()
            .find(|known| known.name.as_str() == node)
            .map(|known| known.images.clone())
    };
    images(before) == images(after)
}

/// Takes the amendments of a generation back from the row of the next one: who applies for it gets what it was made as.
pub(crate) async fn unamended(tx: &mut Tx, row: &mut ClusterRow, network: &dyn NetworkType) -> Result<()> {
    let Some(made_with) = row.made_with.take() else {
        return Ok(());
    };
    row.parameters = made_with;
    let layout = network.layout(&row.parameters.0);
    let needed: BTreeSet<(&str, &str)> = layout
        .ports
        .iter()
        .map(|need| (need.node.as_str(), need.port.as_str()))
        .collect();
    let mut ports = tx.ports_of_cluster(row.id).await?;
    ports.retain(|port| needed.contains(&(port.node.as_str(), port.name.as_str())));
    tx.ports_replace(row.id, ports).await?;
    sized(row, &layout)
}

fn sized(row: &mut ClusterRow, layout: &Layout) -> Result<()> {
    row.size = i64::from(layout.size);
    row.memory_bytes = i64::try_from(layout.memory_bytes).map_err(Error::internal)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_row_of_before_a_parameter_was_there_has_its_default() {
        let known: Vec<api::Parameter> = from_value(json!([
            {"name": "line", "about": "", "kind": "text", "default": "old", "one_of": ["old", "new"]},
            {"name": "count", "about": "", "kind": "integer", "default": 1, "amendable": true},
        ]))
        .unwrap();
        let errors = |present, line| unchangeable(&known, &present, &json!({"line": line, "count": 2}));
        assert_eq!(errors(json!({"count": 1}), "old"), BTreeMap::new());
        let why = "stays \"old\" while the network runs; make another cluster".to_owned();
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
