//! The organisations of a network with all their keys and certificates.

use super::{
    ca::{self, Server},
    certificates::{Authority, Holder, Issued, Office},
    database::StateDatabase,
    facts::{CONTROL_CA_KEY, CONTROL_KEY, Facts, Organisation},
    keys::Key,
    parameters::Parameters,
    render::{self, Certificates},
};
use crate::Reach;
use chainpool_agent::{ClusterSpec, NodeName, Secret};
use std::collections::{BTreeMap, BTreeSet};

/// What every node certificate is valid for beside the node's name and outside addresses: who runs a tool in the node itself.
const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

/// What an organisation's nodes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Orderer,
    Peer,
}

impl Role {
    /// As it stands in the organisational unit of their certificates; also the name of their images.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Orderer => "orderer",
            Self::Peer => "peer",
        }
    }
}

/// A node of an organisation.
pub(super) struct Member {
    pub(super) name: NodeName,
    pub(super) enrolment: Issued,
    pub(super) tls: Issued,
    /// The password of its state database, where it is new and has one beside it. What is there already keeps its own.
    pub(super) database: Option<Secret<Vec<u8>>>,
}

impl Member {
    /// What others know it by.
    pub(super) fn certificates(&self) -> Certificates {
        Certificates {
            enrolment: self.enrolment.certificate.clone(),
            tls: self.tls.certificate.clone(),
        }
    }
}

/// An organisation.
pub(super) struct Keyed {
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) msp: String,
    pub(super) domain: String,
    pub(super) ca: Authority,
    pub(super) tls_ca: Authority,
    pub(super) admin: Issued,
    pub(super) user: Issued,
    pub(super) members: Vec<Member>,
    /// Its Fabric CA, where it has one.
    pub(super) server: Option<Server>,
}

/// All that signs in one generation.
pub(super) struct Organisations {
    pub(super) ordering: Keyed,
    pub(super) peers: Vec<Keyed>,
    /// The one authority whose clients nodes let at their admin and metrics ports.
    pub(super) control_ca: Authority,
    /// Chainpool itself, as such a client.
    pub(super) control: Issued,
}

/// `orderer0`, `orderer1` …
pub(super) fn orderers(parameters: &Parameters) -> Vec<NodeName> {
    (0..parameters.orderers)
        .map(|n| name(&format!("orderer{n}")))
        .collect()
}

/// `peer0-org1`, `peer1-org1` … of the organisation of this number, from 1.
pub(super) fn peers(parameters: &Parameters, organisation: u16) -> Vec<NodeName> {
    (0..parameters.peers)
        .map(|n| name(&format!("peer{n}-org{organisation}")))
        .collect()
}

/// `org1` … by its number, from 1.
pub(super) fn organisation_name(number: u16) -> String {
    format!("org{number}")
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("settled counts are small")
}

impl Organisations {
    /// Derives them all. Domains hold the ledger's own name, so that certificates of two networks differ in every name.
    pub(super) fn make(office: &Office, parameters: &Parameters, chain_id: &str, reach: &Reach) -> Self {
        let control_ca = office.authority(CONTROL_CA_KEY, chain_id, &control_domain(chain_id));
        let control = office.newcomer(CONTROL_KEY.to_owned(), control_name(chain_id));
        let none = Self {
            ordering: Keyed::found(office, Role::Orderer, "orderers", "OrderersMSP", chain_id),
            peers: vec![],
            control: office.client(&control_ca, control),
            control_ca,
        };
        none.grown(office, parameters, chain_id, reach)
    }

    /// Those of a spec with all its keys. `None`: it does not hold them all.
    pub(super) fn load(spec: &ClusterSpec, facts: &Facts, chain_id: &str) -> Option<Self> {
        let control_ca =
            Key::read(spec.keys.get(CONTROL_CA_KEY)?).filter(|_| !facts.control_ca.is_empty())?;
        Some(Self {
            ordering: Keyed::load(spec, &facts.ordering, Role::Orderer)?,
            peers: facts
                .organisations
                .iter()
                .map(|organisation| Keyed::load(spec, organisation, Role::Peer))
                .collect::<Option<_>>()?,
            control_ca: Authority::load(chain_id, &control_domain(chain_id), &facts.control_ca, control_ca),
            control: Issued {
                certificate: facts.control.clone(),
                key: Key::read(spec.keys.get(CONTROL_KEY)?)?,
            },
        })
    }

    /// With the organisations and nodes of these parameters that are not there yet.
    pub(super) fn grown(
        mut self,
        office: &Office,
        parameters: &Parameters,
        chain_id: &str,
        reach: &Reach,
    ) -> Self {
        for n in (1..=parameters.organisations).skip(self.peers.len()) {
            self.peers.push(Keyed::found(
                office,
                Role::Peer,
                &organisation_name(n),
                &format!("Org{n}MSP"),
                chain_id,
            ));
        }
        self.ordering
            .admit(office, orderers(parameters), StateDatabase::LevelDb, reach);
        for (keyed, n) in self.peers.iter_mut().zip(1..) {
            keyed.admit(office, peers(parameters, n), parameters.state_database, reach);
            if parameters.certificate_authorities && keyed.server.is_none() {
                keyed.server = Some(keyed.serve(office, reach));
            }
        }
        self
    }

    /// With new certificates for everybody, for the keys that they have: no channel's configuration has to change, because orderers
    /// know each other by the key in the certificate.
    pub(super) fn renewed(self, office: &Office, chain_id: &str, reach: &Reach) -> Self {
        let Self {
            ordering,
            peers,
            control_ca,
            control,
        } = self;
        let control = Holder {
            label: CONTROL_KEY.to_owned(),
            name: control_name(chain_id),
            key: control.key,
        };
        Self {
            ordering: ordering.renewed(office, reach),
            peers: peers
                .into_iter()
                .map(|keyed| keyed.renewed(office, reach))
                .collect(),
            control: office.client(&control_ca, control),
            control_ca,
        }
    }

    /// The ordering one, then those of the peers.
    pub(super) fn all(&self) -> impl Iterator<Item = &Keyed> {
        std::iter::once(&self.ordering).chain(&self.peers)
    }

    /// The new peers that have a database beside them, with its password.
    pub(super) fn databases(&self) -> impl Iterator<Item = (&Member, &Secret<Vec<u8>>)> {
        self.peers
            .iter()
            .flat_map(|keyed| &keyed.members)
            .filter_map(|member| Some((member, member.database.as_ref()?)))
    }

    /// The Fabric CAs, each with its organisation.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&Keyed, &Server)> {
        self.peers
            .iter()
            .filter_map(|keyed| Some((keyed, keyed.server.as_ref()?)))
    }

    /// The keys that no node holds, and the passwords that users need.
    pub(super) fn keys(&self) -> BTreeMap<String, Secret<Vec<u8>>> {
        let control = [
            (CONTROL_KEY.to_owned(), self.control.key.pem()),
            (CONTROL_CA_KEY.to_owned(), self.control_ca.key()),
        ];
        let of = |keyed: &Keyed| {
            let facts = keyed.facts();
            [
                (facts.admin_key(), keyed.admin.key.pem()),
                (facts.user_key(), keyed.user.key.pem()),
                (facts.ca_key(), keyed.ca.key()),
                (facts.tls_ca_key(), keyed.tls_ca.key()),
            ]
        };
        let registrar = |keyed: &Keyed| {
            Some((
                keyed.facts().registrar_key(),
                keyed.server.as_ref()?.password.clone(),
            ))
        };
        control
            .into_iter()
            .chain(self.all().flat_map(of))
            .chain(self.all().filter_map(registrar))
            .collect()
    }
}

fn control_domain(chain_id: &str) -> String {
    format!("control.{chain_id}")
}

fn control_name(chain_id: &str) -> String {
    format!("chainpool.{chain_id}")
}

impl Keyed {
    /// One without nodes.
    fn found(office: &Office, role: Role, name: &str, msp: &str, chain_id: &str) -> Self {
        let domain = format!("{name}.{chain_id}");
        let label = |what: &str| format!("{name}/{what}");
        let ca = office.authority(&label("ca"), &domain, &ca_name(&domain));
        Self {
            role,
            tls_ca: office.authority(&label("tlsca"), &domain, &tls_ca_name(&domain)),
            admin: office.enrol(&ca, office.newcomer(label("admin"), admin_name(&domain)), "admin"),
            user: office.enrol(&ca, office.newcomer(label("user"), user_name(&domain)), "client"),
            members: vec![],
            server: None,
            name: name.to_owned(),
            msp: msp.to_owned(),
            domain,
            ca,
        }
    }

    fn load(spec: &ClusterSpec, facts: &Organisation, role: Role) -> Option<Self> {
        let key = |name: String| Key::read(spec.keys.get(&name)?);
        let Organisation {
            name,
            msp,
            domain,
            ca,
            tls_ca,
            admin,
            user,
            nodes,
            ca_node,
        } = facts;
        let server = match ca_node {
            Some(node) => Some(ca::load(
                spec.node(node)?,
                spec.keys.get(&facts.registrar_key())?.clone(),
            )?),
            None => None,
        };
        Some(Self {
            role,
            ca: Authority::load(domain, &ca_name(domain), ca, key(facts.ca_key())?),
            tls_ca: Authority::load(domain, &tls_ca_name(domain), tls_ca, key(facts.tls_ca_key())?),
            admin: Issued {
                certificate: admin.clone(),
                key: key(facts.admin_key())?,
            },
            user: Issued {
                certificate: user.clone(),
                key: key(facts.user_key())?,
            },
            members: nodes
                .iter()
                .map(|node| render::member(spec.node(node)?))
                .collect::<Option<_>>()?,
            server,
            name: name.clone(),
            msp: msp.clone(),
            domain: domain.clone(),
        })
    }

    /// Takes those in that it has not yet.
    fn admit(&mut self, office: &Office, nodes: Vec<NodeName>, database: StateDatabase, reach: &Reach) {
        for node in nodes {
            if self.members.iter().all(|member| member.name != node) {
                let newcomer = |what: &str| office.newcomer(self.label(&node, what), self.full_name(&node));
                let (enrolment, tls) = (newcomer("enrolment"), newcomer("tls"));
                let password = (database == StateDatabase::CouchDb)
                    .then(|| office.password(&self.label(&node, "database")));
                self.members.push(Member {
                    database: password,
                    ..self.certify(office, node, enrolment, tls, reach)
                });
            }
        }
    }

    fn renewed(mut self, office: &Office, reach: &Reach) -> Self {
        for Member {
            name,
            enrolment,
            tls,
            database: _,
        } in std::mem::take(&mut self.members)
        {
            let holder = |what: &str, key| Holder {
                label: self.label(&name, what),
                name: self.full_name(&name),
                key,
            };
            let (enrolment, tls) = (holder("enrolment", enrolment.key), holder("tls", tls.key));
            self.members
                .push(self.certify(office, name, enrolment, tls, reach));
        }
        if let Some(Server { name, tls, password }) = self.server.take() {
            let holder = Holder {
                label: self.label(&name, "tls"),
                name: self.full_name(&name),
                key: tls.key,
            };
            self.server = Some(Server {
                tls: self.serving(office, &name, holder, reach),
                name,
                password,
            });
        }
        let holder = |what: &str, name, key| Holder {
            label: format!("{}/{what}", self.name),
            name,
            key,
        };
        let admin = holder("admin", admin_name(&self.domain), self.admin.key);
        let user = holder("user", user_name(&self.domain), self.user.key);
        Self {
            admin: office.enrol(&self.ca, admin, "admin"),
            user: office.enrol(&self.ca, user, "client"),
            ..self
        }
    }

    fn certify(
        &self,
        office: &Office,
        node: NodeName,
        enrolment: Holder,
        tls: Holder,
        reach: &Reach,
    ) -> Member {
        let enrolment = office.enrol(&self.ca, enrolment, self.role.as_str());
        Member {
            enrolment,
            tls: self.serving(office, &node, tls, reach),
            name: node,
            database: None,
        }
    }

    /// A node's TLS certificate, for all names and addresses of its.
    fn serving(&self, office: &Office, node: &NodeName, holder: Holder, reach: &Reach) -> Issued {
        let names: BTreeSet<&str> = reach
            .addresses()
            .into_iter()
            .chain(LOCAL)
            .chain([node.as_str()])
            .collect();
        office.tls(&self.tls_ca, holder, &names)
    }

    /// A new Fabric CA of its.
    fn serve(&self, office: &Office, reach: &Reach) -> Server {
        let name = ca::name(&self.name);
        let holder = office.newcomer(self.label(&name, "tls"), self.full_name(&name));
        Server {
            tls: self.serving(office, &name, holder, reach),
            password: office.password(&self.facts().registrar_key()),
            name,
        }
    }

    fn label(&self, node: &NodeName, what: &str) -> String {
        format!("{}/{node}/{what}", self.name)
    }

    fn full_name(&self, node: &NodeName) -> String {
        format!("{node}.{}", self.domain)
    }

    /// What may be known of it.
    pub(super) fn facts(&self) -> Organisation {
        let Self {
            role: _,
            name,
            msp,
            domain,
            ca,
            tls_ca,
            admin,
            user,
            members,
            server,
        } = self;
        Organisation {
            name: name.clone(),
            msp: msp.clone(),
            domain: domain.clone(),
            ca: ca.certificate.clone(),
            tls_ca: tls_ca.certificate.clone(),
            admin: admin.certificate.clone(),
            user: user.certificate.clone(),
            nodes: members.iter().map(|member| member.name.clone()).collect(),
            ca_node: server.as_ref().map(|server| server.name.clone()),
        }
    }
}

fn ca_name(domain: &str) -> String {
    format!("ca.{domain}")
}

fn tls_ca_name(domain: &str) -> String {
    format!("tlsca.{domain}")
}

fn admin_name(domain: &str) -> String {
    format!("Admin@{domain}")
}

fn user_name(domain: &str) -> String {
    format!("User1@{domain}")
}
