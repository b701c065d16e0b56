//! From the spec of a network that runs to a changed one, and the way there. Pure.
//!
//! What the change does not touch stays as it is to the byte: a node of the same hash goes on running. Channels take new members in
//! by updates of their configuration, which the boot's actions send; first blocks never change.

use super::{
    ca::{self, Server},
    certificates::Office,
    consensus::Consensus,
    database,
    facts::{self, Facts},
    organisation::{Member, Organisations},
    parameters::{Chaincode, Parameters},
    render::{self, COMMIT, DEPLOY, JOIN, MEMBERS},
    tls,
};
use crate::{Amendment, Before, ParameterErrors, Seed};
use chainpool_agent::{Boot, ClusterSpec, NodeName, NodeSpec, SpecHash};
use std::collections::{BTreeMap, BTreeSet};

/// What is left to those who want something else.
const ANOTHER: &str = "make another network";

/// Changes a spec.
pub(super) fn amend(
    spec: &ClusterSpec,
    change: &Amendment,
    parameters: &Parameters,
    seed: &Seed,
) -> Result<ClusterSpec, ParameterErrors> {
    let Amendment {
        order,
        renew_certificates: renew,
        before,
    } = change;
    let foreign =
        |why: &str| ParameterErrors([("parameters".to_owned(), format!("{why}: {ANOTHER}"))].into());
    let old = Facts::read(spec).map_err(|e| foreign(&format!("its stored spec cannot be read ({e})")))?;
    check(&old.parameters, parameters, *renew)?;
    if *before == Before::Unfinished {
        finishes(spec, *renew)?;
    }
    let loaded = Organisations::load(spec, &old, &order.chain_id);
    let mut organisations =
        loaded.ok_or_else(|| foreign("the keys of its authorities were not kept when it was made"))?;
    let office = Office::new(seed, order.genesis_at, parameters.certificate_days);
    if *renew {
        organisations = organisations.renewed(&office, &order.chain_id, &order.reach);
    }
    let organisations = organisations.grown(&office, parameters, &order.chain_id, &order.reach);
    let (chaincode_nodes, chaincodes) = chaincodes(spec, &old, parameters, change);
    let mut nodes = member_nodes(spec, &organisations, parameters, change);
    nodes.extend(chaincode_nodes);
    let channels = parameters.channels.iter().map(|name| {
        let present = old.channels.iter().find(|channel| &channel.name == name).cloned();
        present.unwrap_or_else(|| render::channel(name, parameters, order, seed, &organisations))
    });
    let facts = render::facts(parameters, channels.collect(), chaincodes, &organisations);
    let mut keys = spec.keys.clone();
    keys.extend(organisations.keys());
    let network = order.network.clone();
    let amended = ClusterSpec {
        nodes,
        jobs: vec![],
        boot: vec![],
        network,
        facts: facts.write(),
        keys,
    }
    .with_hashes();
    // Then nobody speaks to anybody any more, and there is nothing to keep going.
    let have_ended = tls::pem_ends(&old.control).is_some_and(|end| end <= order.genesis_at);
    let had_ended = *before == Before::Unfinished && matches!(spec.boot[..], [Boot::Start(_)]);
    let boot = if !renew {
        growth(&amended, !facts.chaincodes.is_empty())
    } else if have_ended || had_ended {
        vec![Boot::Start(names(&spec.nodes))]
    } else {
        rotation(spec, &organisations, parameters.consensus)
    };
    Ok(ClusterSpec { boot, ..amended })
}

/// Whether a change goes on with one that did not come to its end. Half-way between the two kinds there is nothing that either could
/// stand on: certificates go node by node through members that all take part, and new members need all certificates.
fn finishes(spec: &ClusterSpec, renew: bool) -> Result<(), ParameterErrors> {
    let has = |wanted: &str| {
        spec.boot
            .iter()
            .any(|phase| matches!(phase, Boot::Init(action) if action == wanted))
    };
    let why = if renew && has(MEMBERS) {
        "the change before it did not come to its end: ask for that once more first"
    } else if !renew && has(COMMIT) {
        "the renewal before did not come to its end: ask for that once more, alone, first"
    } else {
        return Ok(());
    };
    Err(ParameterErrors(
        [("renew_certificates".to_owned(), why.to_owned())].into(),
    ))
}

/// Whether the parameters that may change at all can change so, by name.
fn check(old: &Parameters, new: &Parameters, renew: bool) -> Result<(), ParameterErrors> {
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
    let kept = |is_kept: bool| (!is_kept).then(|| format!("cannot change while the network runs; {ANOTHER}"));
    let grows = |old: u16, new: u16| {
        (new < old).then(|| {
            format!("cannot go from {old} to {new} while the network runs, only up; for fewer {ANOTHER}")
        })
    };
    let renewed = (new.certificate_days != *certificate_days && !renew).then(|| {
        format!(
            "cannot go from {certificate_days} to {} for certificates that are there: renew them too",
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
            (*certificate_authorities && !new.certificate_authorities).then(|| unlost("Fabric CAs")),
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
        let why = "goes node by node through a network that else stays as it is: first the one change, then the other";
        errors.insert("renew_certificates".to_owned(), why.to_owned());
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ParameterErrors(errors))
    }
}

fn unlost(what: &str) -> String {
    format!("cannot lose its {what} while the network runs; without them {ANOTHER}")
}

fn channels_kept(old: &[String], new: &[String]) -> Option<String> {
    (!new.starts_with(old)).then(|| {
        let present = old.join(", ");
        format!("must begin with the channels that are there ({present}): new ones are added behind them, none can be removed; {ANOTHER}")
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
            "cannot lose {}: a channel keeps a chaincode's definition for ever; {ANOTHER}",
            gone.join(", ")
        )
    })
}

/// The nodes of orderers, peers, their databases and Fabric CAs: as they are, with new certificates, or new.
fn member_nodes(
    spec: &ClusterSpec,
    organisations: &Organisations,
    parameters: &Parameters,
    change: &Amendment,
) -> Vec<NodeSpec> {
    let Amendment {
        order,
        renew_certificates: renew,
        ..
    } = change;
    let members = organisations
        .all()
        .flat_map(|keyed| keyed.members.iter().map(move |member| (keyed, member)));
    let control_ca = &organisations.control_ca.certificate;
    let node = |(keyed, member): (_, &Member)| match spec.node(&member.name) {
        None => render::node(parameters, order, keyed, member, control_ca),
        Some(node) if *renew => render::recertified(&render::published(node, order), member),
        Some(node) => render::published(node, order),
    };
    let server = |(keyed, server): (_, &Server)| match spec.node(&server.name) {
        None => ca::node(parameters, order, keyed, server),
        Some(node) if *renew => ca::recertified(&render::published(node, order), parameters, server),
        Some(node) => render::published(node, order),
    };
    let new: BTreeMap<NodeName, NodeSpec> = organisations
        .databases()
        .map(|(member, password)| database::node(order, member, password))
        .map(|node| (node.name.clone(), node))
        .collect();
    let databases = database::names(parameters)
        .into_iter()
        .filter_map(|(name, _)| spec.node(&name).or_else(|| new.get(&name)).cloned());
    let databases: Vec<NodeSpec> = databases.collect();
    members
        .map(node)
        .chain(databases)
        .chain(organisations.servers().map(server))
        .collect()
}

/// The nodes of the chaincodes and what is known of them. Another version or image is the same package: it tells where the chaincode
/// listens, which does not change.
fn chaincodes(
    spec: &ClusterSpec,
    old: &Facts,
    parameters: &Parameters,
    change: &Amendment,
) -> (Vec<NodeSpec>, Vec<facts::Chaincode>) {
    let order = &change.order;
    let is_over = change.before == Before::Ended;
    let present = old.parameters.chaincodes();
    let one = |chaincode: Chaincode| {
        let before = present.iter().find(|before| before.name == chaincode.name);
        let known = old
            .chaincodes
            .iter()
            .find(|known| known.name == chaincode.name)
            .cloned();
        let known = known.map_or_else(
            || render::packaged(&chaincode),
            |known| known.in_version(&chaincode.version, is_over),
        );
        let node = match spec.node(&known.node) {
            Some(node) if before.is_some_and(|before| before.image == chaincode.image) => node.clone(),
            Some(node) => NodeSpec {
                images: vec![chaincode.image],
                hash: SpecHash(String::new()),
                ..node.clone()
            },
            None => render::chaincode_node(order, &chaincode, &known),
        };
        (node, known)
    };
    parameters.chaincodes().into_iter().map(one).unzip()
}

/// The way to the new spec: all nodes, of which those that are there are left alone, then what makes them part of the network. What an
/// earlier change left undone is done with it.
fn growth(new: &ClusterSpec, has_chaincodes: bool) -> Vec<Boot> {
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

/// The same for new certificates: one node of before after the other, orderers before peers. Fabric CAs go first, because nothing waits
/// for them. Each comes back and is seen to take part in
/// what is committed before the next one goes. By BFT the last orderer goes first: the first one leads until it goes, and then the next
/// one, and to give up a leader takes ten seconds.
fn rotation(before: &ClusterSpec, organisations: &Organisations, consensus: Consensus) -> Vec<Boot> {
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
#[path = "amend_tests.rs"]
mod tests;
