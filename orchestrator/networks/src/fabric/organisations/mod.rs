//! Organisations of a network with all their keys and certificates.

pub(super) mod member;
pub(super) mod organisation;
pub(super) mod server;

use crate::{
    PublicEndpoints,
    fabric::{
        crypto::{
            certificates::{Authority, CertificateIssuer, Holder, Issued},
            keys::Key,
        },
        model::{
            CONTROL_CA_KEY, CONTROL_KEY, NetworkModel,
            names::{orderers, organisation_name, peers},
            role::Role,
        },
        organisations::{member::Member, organisation::OrganisationKeys, server::Server},
        parameters::{Parameters, state_database::StateDatabase},
    },
};
use chainpool_agent::{ClusterSpec, Secret};
use std::collections::BTreeMap;

/// All identities of one generation.
pub(crate) struct Organisations {
    pub(crate) ordering: OrganisationKeys,
    pub(crate) peers: Vec<OrganisationKeys>,
    /// Authority for clients of the nodes' admin and metrics ports.
    pub(crate) control_ca: Authority,
    /// Chainpool's client certificate for these ports.
    pub(crate) control: Issued,
}

impl Organisations {
    /// Derives all identities. Domains contain the chain id, so certificates of two networks differ in every
    /// name.
    pub(crate) fn create(
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
    pub(crate) fn load(spec: &ClusterSpec, model: &NetworkModel, chain_id: &str) -> Option<Self> {
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
    pub(crate) fn extended(
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
    pub(crate) fn renewed(
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
    pub(crate) fn all(&self) -> impl Iterator<Item = &OrganisationKeys> {
        std::iter::once(&self.ordering).chain(&self.peers)
    }

    /// New peers with a database node, and its password.
    pub(crate) fn databases(&self) -> impl Iterator<Item = (&Member, &Secret<Vec<u8>>)> {
        self.peers
            .iter()
            .flat_map(|keyed| &keyed.members)
            .filter_map(|member| Some((member, member.database.as_ref()?)))
    }

    /// The Fabric CAs, each with its organisation.
    pub(crate) fn servers(&self) -> impl Iterator<Item = (&OrganisationKeys, &Server)> {
        self.peers
            .iter()
            .filter_map(|keyed| Some((keyed, keyed.server.as_ref()?)))
    }

    /// Keys that no node holds, and passwords for users.
    pub(crate) fn keys(&self) -> BTreeMap<String, Secret<Vec<u8>>> {
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
