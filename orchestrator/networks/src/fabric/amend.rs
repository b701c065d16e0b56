//! Changes the spec of a running network and plans the boot phases. Pure.
//!
//! Nodes that the change does not affect stay byte-identical: a node with the same hash keeps running.
//! Channels add members by configuration updates, which the boot's actions submit; genesis blocks never
//! change.

use crate::{
    Amendment, ParameterErrors, PreviousChange, Seed,
    fabric::{
        crypto::{certificates::CertificateIssuer, tls},
        model::{
            self, NetworkModel,
            actions::{COMMIT, DEPLOY, JOIN, MEMBERS},
            names,
        },
        organisations::{Organisations, member::Member, server::Server},
        parameters::{Parameters, chaincode::Chaincode, consensus::Consensus},
        render::{self, ca, chaincode, database, node},
    },
};
use chainpool_agent::{Boot, ClusterSpec, NodeName, NodeSpec, SpecHash};
use std::collections::{BTreeMap, BTreeSet};

/// The way out for changes that a running network does not support.
const RECREATE: &str = "create another cluster";

/// Changes a spec.
pub(crate) fn amend(
    spec: &ClusterSpec,
    change: &Amendment,
    parameters: &Parameters,
    seed: &Seed,
) -> Result<ClusterSpec, ParameterErrors> {
    let Amendment {
        request,
        renew_certificates: renew,
        previous,
    } = change;
    let foreign =
        |why: &str| ParameterErrors([("parameters".to_owned(), format!("{why}: {RECREATE}"))].into());
    let old = NetworkModel::read(spec).map_err(|e| foreign(&format!("cannot read the stored spec ({e})")))?;
    check_changes(&old.parameters, parameters, *renew)?;
    if *previous == PreviousChange::Unfinished {
        check_unfinished(spec, *renew)?;
    }
    let loaded = Organisations::load(spec, &old, &request.chain_id);
    let mut organisations = loaded.ok_or_else(|| {
        foreign("the keys of its certificate authorities were not kept when it was created")
    })?;
    let issuer = CertificateIssuer::new(seed, request.genesis_at, parameters.certificate_days);
    if *renew {
        organisations = organisations.renewed(&issuer, &request.chain_id, &request.public_endpoints);
    }
    let organisations =
        organisations.extended(&issuer, parameters, &request.chain_id, &request.public_endpoints);
    let (chaincode_nodes, chaincodes) = chaincodes(spec, &old, parameters, change);
    let mut nodes = member_nodes(spec, &organisations, parameters, change);
    nodes.extend(chaincode_nodes);
    let channels = parameters.channels.iter().map(|name| {
        let present = old.channels.iter().find(|channel| &channel.name == name).cloned();
        present.unwrap_or_else(|| render::channel(name, parameters, request, seed, &organisations))
    });
    let model = render::model(parameters, channels.collect(), chaincodes, &organisations);
    let mut keys = spec.keys.clone();
    keys.extend(organisations.keys());
    let network = request.network.clone();
    let amended = ClusterSpec {
        nodes,
        jobs: vec![],
        boot: vec![],
        network,
        facts: model.write(),
        keys,
    }
    .with_hashes();
    // With expired certificates no node talks to another, so a rolling restart has no use.
    let have_expired = tls::pem_expiry(&old.control).is_some_and(|end| end <= request.genesis_at);
    let had_expired = *previous == PreviousChange::Unfinished && matches!(spec.boot[..], [Boot::Start(_)]);
    let boot = if !renew {
        growth_phases(&amended, !model.chaincodes.is_empty())
    } else if have_expired || had_expired {
        vec![Boot::Start(names(&spec.nodes))]
    } else {
        renewal_phases(spec, &organisations, parameters.consensus)
    };
    Ok(ClusterSpec { boot, ..amended })
}

/// Checks that a change continues an unfinished one of the same kind. A renewal needs members that all
/// participate, and new members need all certificates, so neither can continue the other.
fn check_unfinished(spec: &ClusterSpec, renew: bool) -> Result<(), ParameterErrors> {
    let has = |wanted: &str| {
        spec.boot
            .iter()
            .any(|phase| matches!(phase, Boot::Init(action) if action == wanted))
    };
    let why = if renew && has(MEMBERS) {
        "the previous change did not complete: repeat that change first"
    } else if !renew && has(COMMIT) {
        "the previous certificate renewal did not complete: repeat it alone first"
    } else {
        return Ok(());
    };
    Err(ParameterErrors(
        [("renew_certificates".to_owned(), why.to_owned())].into(),
    ))
}

/// Checks the change of each parameter.
fn check_changes(old: &Parameters, new: &Parameters, renew: bool) -> Result<(), ParameterErrors> {
    let Parameters {
        version,
        consensus,
        organisations,
        peers,
        orderers,
        channels,
        certificate_days,
        certificate_authorities,
        state_database,
        ..
    } = old;
    let kept = |is_kept: bool| (!is_kept).then(|| format!("cannot change in a running network; {RECREATE}"));
    let grows = |old: u16, new: u16| {
        (new < old).then(|| format!("cannot decrease from {old} to {new} in a running network; {RECREATE}"))
    };
    let renewed = (new.certificate_days != *certificate_days && !renew).then(|| {
        format!(
            "cannot change from {certificate_days} to {} for existing certificates; renew the certificates too",
            new.certificate_days
        )
    });
    let found = [
        ("organisations", grows(*organisations, new.organisations)),
        ("peers", grows(*peers, new.peers)),
        ("version", kept(new.version == *version)),
        ("consensus", kept(new.consensus == *consensus)),
        ("state_database", kept(new.state_database == *state_database)),
        ("orderers", grows(*orderers, new.orderers)),
        ("channels", channels_kept(channels, &new.channels)),
        ("chaincodes", chaincodes_kept(old, new)),
        ("certificate_days", renewed),
        (
            "certificate_authorities",
            (*certificate_authorities && !new.certificate_authorities).then(|| cannot_remove("Fabric CAs")),
        ),
    ];
    let mut errors: BTreeMap<String, String> = found
        .into_iter()
        .filter_map(|(name, why)| Some((name.to_owned(), why?)))
        .collect();
    if renew
        && errors.is_empty()
        && *new
            != (Parameters {
                certificate_days: new.certificate_days,
                ..old.clone()
            })
    {
        let why = "cannot be combined with another change; do one after the other";
        errors.insert("renew_certificates".to_owned(), why.to_owned());
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ParameterErrors(errors))
    }
}

fn cannot_remove(what: &str) -> String {
    format!("cannot remove the {what} of a running network; {RECREATE}")
}

fn channels_kept(old: &[String], new: &[String]) -> Option<String> {
    (!new.starts_with(old)).then(|| {
        let present = old.join(", ");
        format!("must start with the existing channels ({present}): append new ones; to remove a channel {RECREATE}")
    })
}

fn chaincodes_kept(old: &Parameters, new: &Parameters) -> Option<String> {
    let kept: BTreeSet<String> = new
        .chaincodes()
        .into_iter()
        .map(|chaincode| chaincode.name)
        .collect();
    let gone: Vec<String> = old
        .chaincodes()
        .into_iter()
        .map(|chaincode| chaincode.name)
        .filter(|name| !kept.contains(name))
        .collect();
    (!gone.is_empty()).then(|| {
        format!(
            "cannot remove {}: chaincode definitions are permanent; {RECREATE}",
            gone.join(", ")
        )
    })
}

/// Orderers, peers, their databases and Fabric CAs: unchanged, with new certificates, or new.
fn member_nodes(
    spec: &ClusterSpec,
    organisations: &Organisations,
    parameters: &Parameters,
    change: &Amendment,
) -> Vec<NodeSpec> {
    let Amendment {
        request,
        renew_certificates: renew,
        ..
    } = change;
    let members = organisations
        .all()
        .flat_map(|keyed| keyed.members.iter().map(move |member| (keyed, member)));
    let control_ca = &organisations.control_ca.certificate;
    let node = |(keyed, member): (_, &Member)| match spec.node(&member.name) {
        None => node::node(parameters, request, keyed, member, control_ca),
        Some(node) if *renew => node::recertified(&node::published(node, request), member),
        Some(node) => node::published(node, request),
    };
    let server = |(keyed, server): (_, &Server)| match spec.node(&server.name) {
        None => ca::node(parameters, request, keyed, server),
        Some(node) if *renew => ca::recertified(&node::published(node, request), parameters, server),
        Some(node) => node::published(node, request),
    };
    let new: BTreeMap<NodeName, NodeSpec> = organisations
        .databases()
        .map(|(member, password)| database::node(request, member, password))
        .map(|node| (node.name.clone(), node))
        .collect();
    let databases = names::databases(parameters)
        .into_iter()
        .filter_map(|(name, _)| spec.node(&name).or_else(|| new.get(&name)).cloned());
    let databases: Vec<NodeSpec> = databases.collect();
    members
        .map(node)
        .chain(databases)
        .chain(organisations.servers().map(server))
        .collect()
}

/// Chaincode nodes and their models. Another version or image keeps the package, which holds only the
/// chaincode's address.
fn chaincodes(
    spec: &ClusterSpec,
    old: &NetworkModel,
    parameters: &Parameters,
    change: &Amendment,
) -> (Vec<NodeSpec>, Vec<model::Chaincode>) {
    let request = &change.request;
    let is_completed = change.previous == PreviousChange::Completed;
    let present = old.parameters.chaincodes();
    let one = |chaincode: Chaincode| {
        let before = present.iter().find(|before| before.name == chaincode.name);
        let known = old
            .chaincodes
            .iter()
            .find(|known| known.name == chaincode.name)
            .cloned();
        let known = known.map_or_else(
            || chaincode::packaged(&chaincode),
            |known| known.in_version(&chaincode.version, is_completed),
        );
        let node = match spec.node(&known.node) {
            Some(node) if before.is_some_and(|before| before.image == chaincode.image) => node.clone(),
            Some(node) => NodeSpec {
                images: vec![chaincode.image],
                hash: SpecHash(String::new()),
                ..node.clone()
            },
            None => chaincode::chaincode_node(request, &chaincode, &known),
        };
        (node, known)
    };
    parameters.chaincodes().into_iter().map(one).unzip()
}

/// Boot phases of a growing network: start all nodes, which leaves existing ones alone, then add them to the
/// network. This also completes an unfinished change.
fn growth_phases(new: &ClusterSpec, has_chaincodes: bool) -> Vec<Boot> {
    let start = Boot::Start(names(&new.nodes));
    let actions = [JOIN, MEMBERS]
        .into_iter()
        .chain(has_chaincodes.then_some(DEPLOY));
    std::iter::once(start)
        .chain(actions.map(|action| Boot::Init(action.to_owned())))
        .collect()
}

fn names(nodes: &[NodeSpec]) -> Vec<NodeName> {
    nodes.iter().map(|node| node.name.clone()).collect()
}

/// Boot phases of a certificate renewal: a rolling restart of the existing nodes, Fabric CAs first, because
/// nothing waits for them, then orderers, then peers. Each must participate in a commit before the next one
/// restarts. With BFT the orderers restart in reverse order: the first one leads until it stops, and each
/// change of leader takes ten seconds.
fn renewal_phases(before: &ClusterSpec, organisations: &Organisations, consensus: Consensus) -> Vec<Boot> {
    let mut orderers: Vec<&Member> = organisations.ordering.members.iter().collect();
    if consensus == Consensus::Bft {
        orderers.reverse();
    }
    let members = orderers
        .into_iter()
        .chain(organisations.peers.iter().flat_map(|keyed| &keyed.members));
    let is_there = |name: &&NodeName| before.node(name).is_some();
    let again = |name: &NodeName| [Boot::Start(vec![name.clone()]), Boot::Ready(vec![name.clone()])];
    let servers = organisations
        .servers()
        .map(|(_, server)| &server.name)
        .filter(is_there)
        .flat_map(again);
    let members = members.map(|member| &member.name).filter(is_there);
    let members = members.flat_map(|name| again(name).into_iter().chain([Boot::Init(COMMIT.to_owned())]));
    servers.chain(members).collect()
}

#[cfg(test)]
mod tests;
