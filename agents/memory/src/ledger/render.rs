//! Parameters, and the spec rendered from them. Pure.

use super::{ROLE, RPC, RPC_PORT, TYPE, node::Genesis};
use crate::state::IMAGES;
use chainpool_agent::{
    Audience, Boot, ClusterSpec, File, Limits, NodeName, NodeSpec, Port, Protocol, Secret, SpecHash,
    Variable, Volume,
};
use chainpool_api::{self as api, Parameter, ParameterKind, Preset};
use chainpool_networks::{Amendment, ParameterErrors, PortNeed, RenderRequest, Requirements, Seed};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const MEMORY_BYTES: u64 = 16 << 20;
const OWNER: (u32, u32) = (1000, 1000);
/// The action that admits the later nodes.
pub(super) const ADMIT: &str = "admit";
/// The action that commits the ledger's first entry.
pub(super) const FOUND: &str = "found";

/// The validated parameters. Every field is a parameter of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Parameters {
    pub(super) nodes: u16,
    pub(super) interval_ms: u64,
    pub(super) staged: bool,
    pub(super) job_code: u16,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            nodes: 4,
            interval_ms: 20,
            staged: false,
            job_code: 0,
        }
    }
}

impl Parameters {
    pub(super) fn read(parameters: &Value) -> Self {
        Self::deserialize(parameters).expect("validated")
    }
}

/// Facts for probe, proof and bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) chain_id: String,
    pub(super) identities: BTreeMap<NodeName, String>,
}

impl Facts {
    pub(super) fn read(spec: &ClusterSpec) -> Self {
        Self::deserialize(&spec.facts).expect("written by render")
    }
}

/// The description of the type.
pub(super) fn describe() -> api::NetworkType {
    let parameter = |name: &str, about: &str, kind, default: Value, range: Option<(i64, i64)>| Parameter {
        name: name.to_owned(),
        about: about.to_owned(),
        kind,
        default,
        min: range.map(|(min, _)| min),
        max: range.map(|(_, max)| max),
        one_of: vec![],
        amendable: name == "nodes",
    };
    let Parameters {
        nodes,
        interval_ms,
        staged,
        job_code,
    } = Parameters::default();
    let preset = |name: &str, about: &str, nodes: u16, staged: bool| Preset {
        name: name.to_owned(),
        about: about.to_owned(),
        parameters: json!(Parameters {
            nodes,
            staged,
            ..Parameters::default()
        }),
    };
    api::NetworkType {
        name: TYPE.to_owned(),
        about: "A scripted ledger for tests.".to_owned(),
        version: "1".to_owned(),
        consensus: "votes".to_owned(),
        parameters: vec![
            parameter(
                "nodes",
                "Number of nodes.",
                ParameterKind::Integer,
                json!(nodes),
                Some((1, 16)),
            ),
            parameter(
                "interval_ms",
                "Milliseconds between blocks.",
                ParameterKind::Integer,
                json!(interval_ms),
                Some((1, 60_000)),
            ),
            parameter(
                "staged",
                "Boot in phases, with a job and actions.",
                ParameterKind::Boolean,
                json!(staged),
                None,
            ),
            parameter(
                "job_code",
                "The exit code of its job.",
                ParameterKind::Integer,
                json!(job_code),
                Some((0, 255)),
            ),
        ],
        presets: vec![
            preset("default", "Four nodes: commits without one of them.", 4, false),
            preset("single", "One node.", 1, false),
            preset("staged", "Two nodes that boot in phases.", 2, true),
        ],
        certificates: false,
        images: BTreeMap::from([(ROLE.to_owned(), vec![IMAGES[1].to_owned()])]),
    }
}

/// Merges the given parameters into the preset and validates all fields at once.
pub(super) fn validate(preset: &str, given: &Map<String, Value>) -> Result<Value, ParameterErrors> {
    let described = describe();
    let mut errors = BTreeMap::new();
    let found = described.presets.iter().find(|known| known.name == preset);
    if found.is_none() {
        errors.insert(
            "preset".to_owned(),
            format!("{preset:?} is unknown; use one of: default, single, staged"),
        );
    }
    let mut parameters = found.map_or_else(|| json!({}), |preset| preset.parameters.clone());
    for (name, value) in given {
        match described.parameters.iter().find(|known| known.name == *name) {
            Some(parameter) if fits(parameter, value) => parameters[name] = value.clone(),
            Some(parameter) => drop(errors.insert(
                name.clone(),
                format!("must be {} in its range, not {value}", parameter.kind),
            )),
            None => drop(errors.insert(name.clone(), format!("is not a parameter of {TYPE}"))),
        }
    }
    if errors.is_empty() {
        Ok(parameters)
    } else {
        Err(ParameterErrors(errors))
    }
}

fn fits(parameter: &Parameter, value: &Value) -> bool {
    match (parameter.kind, parameter.min, parameter.max) {
        (ParameterKind::Boolean, ..) => value.is_boolean(),
        (_, min, max) => value
            .as_i64()
            .is_some_and(|number| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)),
    }
}

fn names(parameters: &Parameters) -> Vec<NodeName> {
    (0..parameters.nodes)
        .map(|n| NodeName::parse(&format!("v{n}")).expect("a letter and digits"))
        .collect()
}

/// The requirements of a network on its host.
pub(super) fn requirements(parameters: &Parameters) -> Requirements {
    Requirements {
        size: parameters.nodes.into(),
        ports: names(parameters).into_iter().map(need).collect(),
        memory_bytes: MEMORY_BYTES * u64::from(parameters.nodes),
        colocated: BTreeMap::new(),
    }
}

fn need(node: NodeName) -> PortNeed {
    PortNeed {
        node,
        port: RPC.to_owned(),
    }
}

/// Renders the spec of one generation. If staged, the first node starts alone and admits the others.
pub(super) fn render(request: &RenderRequest, seed: &Seed) -> ClusterSpec {
    let parameters = Parameters::read(&request.parameters);
    let names = names(&parameters);
    let (first, rest) = names.split_first().expect("at least one node");
    let members = if parameters.staged {
        [first.clone()].into()
    } else {
        names.iter().cloned().collect()
    };
    let genesis = Genesis {
        chain_id: request.chain_id.clone(),
        members,
        interval_ms: parameters.interval_ms,
    };
    let nodes: Vec<NodeSpec> = names
        .iter()
        .map(|name| node(request, name, &genesis, seed))
        .collect();
    let (jobs, boot) = if parameters.staged {
        let setup = NodeName::parse("setup").expect("a node name");
        let command = vec![Genesis::SETUP.to_owned(), parameters.job_code.to_string()];
        let job = NodeSpec {
            name: setup.clone(),
            command,
            ports: vec![],
            ..nodes[0].clone()
        };
        let mut boot = vec![
            Boot::Job(setup),
            Boot::Start(vec![first.clone()]),
            Boot::Ready(vec![first.clone()]),
            Boot::Init(FOUND.to_owned()),
        ];
        boot.extend(joining(rest.to_vec()));
        (vec![job], boot)
    } else {
        (vec![], vec![Boot::Start(names.clone())])
    };
    let identities = names
        .iter()
        .map(|name| (name.clone(), identity_of(seed, name)))
        .collect();
    let facts = Facts {
        chain_id: request.chain_id.clone(),
        identities,
    };
    ClusterSpec {
        nodes,
        jobs,
        boot,
        network: request.network.clone(),
        facts: json!(facts),
        keys: BTreeMap::new(),
    }
    .with_hashes()
}

fn joining(nodes: Vec<NodeName>) -> Vec<Boot> {
    if nodes.is_empty() {
        return vec![];
    }
    vec![
        Boot::Start(nodes.clone()),
        Boot::Ready(nodes),
        Boot::Init(ADMIT.to_owned()),
    ]
}

/// Adds nodes and leaves the others as they are.
pub(super) fn amend(
    spec: &ClusterSpec,
    change: &Amendment,
    seed: &Seed,
) -> Result<ClusterSpec, ParameterErrors> {
    let wanted = names(&Parameters::read(&change.request.parameters));
    if wanted.len() < spec.nodes.len() {
        let why = format!("a ledger only grows; it has {} nodes", spec.nodes.len());
        return Err(ParameterErrors(BTreeMap::from([("nodes".to_owned(), why)])));
    }
    let mut after = spec.clone();
    let mut facts = Facts::read(spec);
    let genesis: Genesis = serde_json::from_str(&spec.nodes[0].command[1]).expect("written by render");
    for name in wanted.iter().filter(|name| spec.node(name).is_none()) {
        after.nodes.push(node(&change.request, name, &genesis, seed));
        facts.identities.insert(name.clone(), identity_of(seed, name));
    }
    // An unfinished change may have left nodes that are not members yet.
    let rest = wanted
        .into_iter()
        .filter(|name| !genesis.members.contains(name))
        .collect();
    after.boot = joining(rest);
    after.facts = json!(facts);
    Ok(after.with_hashes())
}

fn key_of(seed: &Seed, name: &NodeName) -> String {
    hex::encode(Sha256::digest(
        [seed.expose().as_slice(), name.as_str().as_bytes()].concat(),
    ))
}

/// The public part of a node's key.
fn identity_of(seed: &Seed, name: &NodeName) -> String {
    hex::encode(Sha256::digest(key_of(seed, name)))
}

fn node(request: &RenderRequest, name: &NodeName, genesis: &Genesis, seed: &Seed) -> NodeSpec {
    let genesis = serde_json::to_string(genesis).expect("a genesis has string keys");
    let file = |path: &str, content: Vec<u8>| File {
        path: path.to_owned(),
        content: Secret::new(content),
        mode: 0o400,
        owner: OWNER,
        secret: false,
        once: false,
    };
    NodeSpec {
        name: name.clone(),
        images: request
            .images
            .get(ROLE)
            .cloned()
            .unwrap_or_else(|| vec![IMAGES[1].to_owned()]),
        command: vec![Genesis::PROGRAM.to_owned(), genesis.clone()],
        user: Some(format!("{}:{}", OWNER.0, OWNER.1)),
        env: BTreeMap::from([("LEDGER".to_owned(), Variable::Plain(request.chain_id.clone()))]),
        files: vec![
            file("/data/genesis.json", genesis.into_bytes()),
            File {
                secret: true,
                ..file("/data/key", key_of(seed, name).into_bytes())
            },
            File {
                once: true,
                ..file("/data/state", b"0".to_vec())
            },
        ],
        volumes: vec![Volume {
            name: "data".to_owned(),
            path: "/data".to_owned(),
            shared: false,
        }],
        ports: vec![Port {
            name: RPC.to_owned(),
            inside: RPC_PORT,
            protocol: Protocol::Tcp,
            audience: Audience::User,
            published: request.ports.get(&need(name.clone())).copied(),
        }],
        limits: Limits {
            memory_bytes: MEMORY_BYTES,
            processes: 64,
            cpu_millis: None,
        },
        readiness: None,
        result: false,
        read_only_root: true,
        machine: None,
        log: request.log.clone(),
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: 1,
        hash: SpecHash(String::new()),
    }
}
