//! A node of an organisation with its keys.

use crate::fabric::{
    crypto::{certificates::Issued, keys::Key, msp},
    model::files::{Certificates, HOME, TLS_KEY, certificates, find},
};
use chainpool_agent::{NodeName, NodeSpec, Secret};

/// Reads a member from its node's files. `None`: a render did not write them, or they were removed.
pub(crate) fn load(node: &NodeSpec) -> Option<Member> {
    let key = |path: &str| Key::read(&find(node, HOME, path)?.content);
    let Certificates { enrolment, tls } = certificates(node)?;
    let enrolment = Issued {
        certificate: enrolment,
        key: key(&format!("msp/{}", msp::KEY))?,
    };
    let tls = Issued {
        certificate: tls,
        key: key(TLS_KEY)?,
    };
    Some(Member {
        name: node.name.clone(),
        enrolment,
        tls,
        database: None,
    })
}

/// A node of an organisation.
pub(crate) struct Member {
    pub(crate) name: NodeName,
    pub(crate) enrolment: Issued,
    pub(crate) tls: Issued,
    /// Password of its state database, if both are new. Existing databases keep theirs.
    pub(crate) database: Option<Secret<Vec<u8>>>,
}

impl Member {
    /// Its public certificates.
    pub(crate) fn certificates(&self) -> Certificates {
        Certificates {
            enrolment: self.enrolment.certificate.clone(),
            tls: self.tls.certificate.clone(),
        }
    }
}
