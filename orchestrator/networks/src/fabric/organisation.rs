//! Organisations of a network with all their keys and certificates.

use super::{
    ca::{self, Server},
    certificates::{Authority, CertificateIssuer, Holder, Issued},
    database::StateDatabase,
    keys::Key,
    network_model::{CONTROL_CA_KEY, CONTROL_KEY, NetworkModel, Organisation},
    parameters::Parameters,
    render::{self, Certificates},
};
use crate::PublicEndpoints;
use chainpool_agent::{ClusterSpec, NodeName, Secret};
use std::collections::{BTreeMap, BTreeSet};

/// Names in every node certificate beside the node's name and public addresses, for tools inside the node.
const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

/// Role of an organisation's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Orderer,
    Peer,
}

impl Role {
    /// Organisational unit of their certificates and name of their images.
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
    /// Password of its state database, if both are new. Existing databases keep theirs.
    pub(super) database: Option<Secret<Vec<u8>>>,
}

impl Member {
    /// Its public certificates.
    pub(super) fn certificates(&self) -> Certificates {
        Certificates {
            enrolment: self.enrolment.certificate.clone(),
            tls: self.tls.certificate.clone(),
        }
    }
}

/// An organisation with its keys.
pub(super) struct OrganisationKeys {
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

/// All identities of one generation.
pub(super) struct Organisations {
    pub(super) ordering: OrganisationKeys,
    pub(super) peers: Vec<OrganisationKeys>,
    /// Authority for clients of the nodes' admin and metrics ports.
    pub(super) control_ca: Authority,
    /// Chainpool's client certificate for these ports.
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
    NodeName::parse(text).expect("validated counts are small")
}

impl Organisations {
    /// Derives all identities. Domains contain the chain id, so certificates of two networks differ in every
    /// name.
    pub(super) fn create(
        issuer: &CertificateIssuer,
        parameters: &Parameters,
        chain_id: &str,
        public_endpoints: &PublicEndpoints,
    ) -> Self {
        let control_ca = issuer.authority(CONTROL_CA_KEY, chain_id, &control_domain(chain_id));
        let control = issuer.new_holder(CONTROL_KEY.to_owned(), control_name(chain_id));
        let none = Self {
            ordering: OrganisationKeys::create(issuer, Role::Orderer, "orderers", "OrderersMSP", chain_id),
            peers: vec![],
            control: issuer.client(&control_ca, control),
            control_ca,
        };
        none.extended(issuer, parameters, chain_id, public_endpoints)
    }

    /// Loads the organisations of a spec. `None`: the spec lacks keys.
    pub(super) fn load(spec: &ClusterSpec, model: &NetworkModel, chain_id: &str) -> Option<Self> {
        let control_ca =
            Key::read(spec.keys.get(CONTROL_CA_KEY)?).filter(|_| !model.control_ca.is_empty())?;
        Some(Self {
            ordering: OrganisationKeys::load(spec, &model.ordering, Role::Orderer)?,
            peers: model
                .organisations
                .iter()
                .map(|organisation| OrganisationKeys::load(spec, organisation, Role::Peer))
                .collect::<Option<_>>()?,
            control_ca: Authority::load(chain_id, &control_domain(chain_id), &model.control_ca, control_ca),
            control: Issued {
                certificate: model.control.clone(),
                key: Key::read(spec.keys.get(CONTROL_KEY)?)?,
            },
        })
    }

    /// Adds the missing organisations and nodes of these parameters.
    pub(super) fn extended(
        mut self,
        issuer: &CertificateIssuer,
        parameters: &Parameters,
        chain_id: &str,
        public_endpoints: &PublicEndpoints,
    ) -> Self {
        for n in (1..=parameters.organisations).skip(self.peers.len()) {
            self.peers.push(OrganisationKeys::create(
                issuer,
                Role::Peer,
                &organisation_name(n),
                &format!("Org{n}MSP"),
                chain_id,
            ));
        }
        self.ordering.add_nodes(
            issuer,
            orderers(parameters),
            StateDatabase::LevelDb,
            public_endpoints,
        );
        for (keyed, n) in self.peers.iter_mut().zip(1..) {
            keyed.add_nodes(
                issuer,
                peers(parameters, n),
                parameters.state_database,
                public_endpoints,
            );
            if parameters.certificate_authorities && keyed.server.is_none() {
                keyed.server = Some(keyed.create_ca_server(issuer, public_endpoints));
            }
        }
        self
    }

    /// Renews all certificates and keeps the keys. No channel configuration changes, because orderers
    /// identify each other by the keys in the certificates.
    pub(super) fn renewed(
        self,
        issuer: &CertificateIssuer,
        chain_id: &str,
        public_endpoints: &PublicEndpoints,
    ) -> Self {
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
            ordering: ordering.renewed(issuer, public_endpoints),
            peers: peers
                .into_iter()
                .map(|keyed| keyed.renewed(issuer, public_endpoints))
                .collect(),
            control: issuer.client(&control_ca, control),
            control_ca,
        }
    }

    /// The orderers' organisation, then those of the peers.
    pub(super) fn all(&self) -> impl Iterator<Item = &OrganisationKeys> {
        std::iter::once(&self.ordering).chain(&self.peers)
    }

    /// New peers with a database node, and its password.
    pub(super) fn databases(&self) -> impl Iterator<Item = (&Member, &Secret<Vec<u8>>)> {
        self.peers
            .iter()
            .flat_map(|keyed| &keyed.members)
            .filter_map(|member| Some((member, member.database.as_ref()?)))
    }

    /// The Fabric CAs, each with its organisation.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&OrganisationKeys, &Server)> {
        self.peers
            .iter()
            .filter_map(|keyed| Some((keyed, keyed.server.as_ref()?)))
    }

    /// Keys that no node holds, and passwords for users.
    pub(super) fn keys(&self) -> BTreeMap<String, Secret<Vec<u8>>> {
        let control = [
            (CONTROL_KEY.to_owned(), self.control.key.pem()),
            (CONTROL_CA_KEY.to_owned(), self.control_ca.key()),
        ];
        let of = |keyed: &OrganisationKeys| {
            let model = keyed.model();
            [
                (model.admin_key(), keyed.admin.key.pem()),
                (model.user_key(), keyed.user.key.pem()),
                (model.ca_key(), keyed.ca.key()),
                (model.tls_ca_key(), keyed.tls_ca.key()),
            ]
        };
        let registrar = |keyed: &OrganisationKeys| {
            Some((
                keyed.model().registrar_key(),
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

impl OrganisationKeys {
    /// A new organisation without nodes.
    fn create(issuer: &CertificateIssuer, role: Role, name: &str, msp: &str, chain_id: &str) -> Self {
        let domain = format!("{name}.{chain_id}");
        let label = |what: &str| format!("{name}/{what}");
        let ca = issuer.authority(&label("ca"), &domain, &ca_name(&domain));
        Self {
            role,
            tls_ca: issuer.authority(&label("tlsca"), &domain, &tls_ca_name(&domain)),
            admin: issuer.enrol(
                &ca,
                issuer.new_holder(label("admin"), admin_name(&domain)),
                "admin",
            ),
            user: issuer.enrol(
                &ca,
                issuer.new_holder(label("user"), user_name(&domain)),
                "client",
            ),
            members: vec![],
            server: None,
            name: name.to_owned(),
            msp: msp.to_owned(),
            domain,
            ca,
        }
    }

    fn load(spec: &ClusterSpec, model: &Organisation, role: Role) -> Option<Self> {
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
        } = model;
        let server = match ca_node {
            Some(node) => Some(ca::load(
                spec.node(node)?,
                spec.keys.get(&model.registrar_key())?.clone(),
            )?),
            None => None,
        };
        Some(Self {
            role,
            ca: Authority::load(domain, &ca_name(domain), ca, key(model.ca_key())?),
            tls_ca: Authority::load(domain, &tls_ca_name(domain), tls_ca, key(model.tls_ca_key())?),
            admin: Issued {
                certificate: admin.clone(),
                key: key(model.admin_key())?,
            },
            user: Issued {
                certificate: user.clone(),
                key: key(model.user_key())?,
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

    /// Adds missing nodes.
    fn add_nodes(
        &mut self,
        issuer: &CertificateIssuer,
        nodes: Vec<NodeName>,
        database: StateDatabase,
        public_endpoints: &PublicEndpoints,
    ) {
        for node in nodes {
            if self.members.iter().all(|member| member.name != node) {
                let new_holder =
                    |what: &str| issuer.new_holder(self.label(&node, what), self.full_name(&node));
                let (enrolment, tls) = (new_holder("enrolment"), new_holder("tls"));
                let password = (database == StateDatabase::CouchDb)
                    .then(|| issuer.password(&self.label(&node, "database")));
                self.members.push(Member {
                    database: password,
                    ..self.certify(issuer, node, enrolment, tls, public_endpoints)
                });
            }
        }
    }

    fn renewed(mut self, issuer: &CertificateIssuer, public_endpoints: &PublicEndpoints) -> Self {
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
                .push(self.certify(issuer, name, enrolment, tls, public_endpoints));
        }
        if let Some(Server { name, tls, password }) = self.server.take() {
            let holder = Holder {
                label: self.label(&name, "tls"),
                name: self.full_name(&name),
                key: tls.key,
            };
            self.server = Some(Server {
                tls: self.tls_certificate(issuer, &name, holder, public_endpoints),
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
            admin: issuer.enrol(&self.ca, admin, "admin"),
            user: issuer.enrol(&self.ca, user, "client"),
            ..self
        }
    }

    fn certify(
        &self,
        issuer: &CertificateIssuer,
        node: NodeName,
        enrolment: Holder,
        tls: Holder,
        public_endpoints: &PublicEndpoints,
    ) -> Member {
        let enrolment = issuer.enrol(&self.ca, enrolment, self.role.as_str());
        Member {
            enrolment,
            tls: self.tls_certificate(issuer, &node, tls, public_endpoints),
            name: node,
            database: None,
        }
    }

    /// TLS certificate of a node for all its names and addresses.
    fn tls_certificate(
        &self,
        issuer: &CertificateIssuer,
        node: &NodeName,
        holder: Holder,
        public_endpoints: &PublicEndpoints,
    ) -> Issued {
        let names: BTreeSet<&str> = public_endpoints
            .addresses()
            .into_iter()
            .chain(LOCAL)
            .chain([node.as_str()])
            .collect();
        issuer.tls(&self.tls_ca, holder, &names)
    }

    /// Creates its Fabric CA.
    fn create_ca_server(&self, issuer: &CertificateIssuer, public_endpoints: &PublicEndpoints) -> Server {
        let name = ca::name(&self.name);
        let holder = issuer.new_holder(self.label(&name, "tls"), self.full_name(&name));
        Server {
            tls: self.tls_certificate(issuer, &name, holder, public_endpoints),
            password: issuer.password(&self.model().registrar_key()),
            name,
        }
    }

    fn label(&self, node: &NodeName, what: &str) -> String {
        format!("{}/{node}/{what}", self.name)
    }

    fn full_name(&self, node: &NodeName) -> String {
        format!("{node}.{}", self.domain)
    }

    /// Its public model.
    pub(super) fn model(&self) -> Organisation {
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
