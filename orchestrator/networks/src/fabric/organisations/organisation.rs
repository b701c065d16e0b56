//! An organisation with all its keys and certificates.

use crate::{
    PublicEndpoints,
    fabric::{
        crypto::{
            certificates::{Authority, CertificateIssuer, Holder, Issued},
            keys::Key,
        },
        model::{Organisation, names, role::Role},
        organisations::{
            member::{self, Member},
            server::{self, Server},
        },
        parameters::state_database::StateDatabase,
    },
};
use chainpool_agent::{ClusterSpec, NodeName};
use std::collections::BTreeSet;

/// Names in every node certificate beside the node's name and public addresses, for tools inside the node.
const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

/// An organisation with its keys.
pub(crate) struct OrganisationKeys {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) msp: String,
    pub(crate) domain: String,
    pub(crate) ca: Authority,
    pub(crate) tls_ca: Authority,
    pub(crate) admin: Issued,
    pub(crate) user: Issued,
    pub(crate) members: Vec<Member>,
    /// Its Fabric CA, where it has one.
    pub(crate) server: Option<Server>,
}

impl OrganisationKeys {
    /// A new organisation without nodes.
    pub(crate) fn create(
        issuer: &CertificateIssuer,
        role: Role,
        name: &str,
        msp: &str,
        chain_id: &str,
    ) -> Self {
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

    pub(crate) fn load(spec: &ClusterSpec, model: &Organisation, role: Role) -> Option<Self> {
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
            Some(node) => Some(server::load(
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
                .map(|node| member::load(spec.node(node)?))
                .collect::<Option<_>>()?,
            server,
            name: name.clone(),
            msp: msp.clone(),
            domain: domain.clone(),
        })
    }

    /// Adds missing nodes.
    pub(crate) fn add_nodes(
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

    pub(crate) fn renewed(mut self, issuer: &CertificateIssuer, public_endpoints: &PublicEndpoints) -> Self {
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
    pub(crate) fn create_ca_server(
        &self,
        issuer: &CertificateIssuer,
        public_endpoints: &PublicEndpoints,
    ) -> Server {
        let name = names::ca(&self.name);
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
    pub(crate) fn model(&self) -> Organisation {
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
