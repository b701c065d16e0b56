//! Certificates with the profile that Fabric's own `cryptogen` gives them.

use super::keys::{Key, bytes};
use crate::Seed;
use chainpool_agent::Secret;
use chainpool_api::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber,
};
use std::{collections::BTreeSet, net::IpAddr};
use time::{Duration, OffsetDateTime};

/// How long an authority lives: longer than any certificate that it issues, so that leaves are renewed without a new root.
const AUTHORITY_DAYS: i64 = 7300;

/// A node whose clock is behind by less than this takes a new certificate.
const BACKDATED: Duration = Duration::HOUR;

/// Makes all certificates of one generation.
pub(super) struct Office<'a> {
    seed: &'a Seed,
    from: OffsetDateTime,
    leaf_days: u32,
}

/// An authority.
pub(super) struct Authority {
    params: CertificateParams,
    key: Key,
    /// PEM.
    pub(super) certificate: String,
}

/// A certificate and its key.
pub(super) struct Issued {
    /// PEM.
    pub(super) certificate: String,
    pub(super) key: Key,
}

impl Authority {
    /// PKCS#8 in PEM.
    pub(super) fn key(&self) -> Secret<Vec<u8>> {
        self.key.pem()
    }

    /// One that was made before under these names: it issues as it did then.
    pub(super) fn load(organisation: &str, name: &str, certificate: &str, key: Key) -> Self {
        Self {
            params: authority_params(&key, organisation, name),
            key,
            certificate: certificate.to_owned(),
        }
    }
}

/// Whom a certificate names, and the key that he proves it with.
pub(super) struct Holder {
    /// Tells his serial from all others of the same seed.
    pub(super) label: String,
    /// The common name.
    pub(super) name: String,
    pub(super) key: Key,
}

impl<'a> Office<'a> {
    /// Certificates of this generation begin an hour before it does.
    pub(super) fn new(seed: &'a Seed, at: Timestamp, leaf_days: u32) -> Self {
        let at = OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000))
            .expect("a moment of now has a year of four digits");
        Self {
            seed,
            from: at - BACKDATED,
            leaf_days,
        }
    }

    /// Somebody new. The label tells his key from all others.
    pub(super) fn newcomer(&self, label: String, name: String) -> Holder {
        Holder {
            key: Key::derive(self.seed, &label),
            label,
            name,
        }
    }

    /// A password of this generation. The label tells it from all others.
    pub(super) fn password(&self, label: &str) -> Secret<Vec<u8>> {
        Secret::new(hex::encode(&bytes(self.seed, &format!("password {label}"))[..16]).into_bytes())
    }

    /// An authority that signs itself. The label tells its key and serial from all others.
    pub(super) fn authority(&self, label: &str, organisation: &str, name: &str) -> Authority {
        let key = Key::derive(self.seed, label);
        let params = self.valid(authority_params(&key, organisation, name), label, AUTHORITY_DAYS);
        let certificate = params
            .self_signed(&key)
            .expect("our key signs, and every field is set")
            .pem();
        Authority {
            params,
            key,
            certificate,
        }
    }

    /// A member of an organisation, by its role there: `peer`, `orderer`, `admin`, `client`.
    pub(super) fn enrol(&self, authority: &Authority, holder: Holder, role: &str) -> Issued {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationalUnitName, role);
        subject.push(DnType::CommonName, &holder.name);
        self.issue(authority, holder, subject, |params| {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature]
        })
    }

    /// A node that serves and calls by TLS under these names and addresses.
    pub(super) fn tls(&self, authority: &Authority, holder: Holder, names: &BTreeSet<&str>) -> Issued {
        let subject = common_name(&holder.name);
        self.issue(authority, holder, subject, |params| {
            params.key_usages = vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyEncipherment,
            ];
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            params.subject_alt_names = names.iter().filter_map(|name| alternative(name)).collect();
        })
    }

    /// Somebody who only calls by TLS.
    pub(super) fn client(&self, authority: &Authority, holder: Holder) -> Issued {
        let subject = common_name(&holder.name);
        self.issue(authority, holder, subject, |params| {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    fn issue(
        &self,
        authority: &Authority,
        Holder { label, name: _, key }: Holder,
        subject: DistinguishedName,
        profile: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let mut params = self.valid(params(&key, subject), &label, self.leaf_days.into());
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        profile(&mut params);
        let issuer = Issuer::from_params(&authority.params, &authority.key);
        let certificate = params
            .signed_by(&key, &issuer)
            .expect("our key signs, and every field is set")
            .pem();
        Issued { certificate, key }
    }

    /// From when and how long, and under which serial.
    fn valid(&self, mut params: CertificateParams, label: &str, days: i64) -> CertificateParams {
        params.not_before = self.from;
        params.not_after = self.from + BACKDATED + Duration::days(days);
        params.serial_number = Some(self.serial(label));
        params
    }

    /// 20 bytes, the greatest size that RFC 5280 allows. The first bits are 01: positive, and of full length.
    fn serial(&self, label: &str) -> SerialNumber {
        let mut serial = bytes(self.seed, &format!("serial {label}"))[..20].to_vec();
        serial[0] = serial[0] & 0x3f | 0x40;
        serial.into()
    }
}

fn params(key: &Key, subject: DistinguishedName) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.identifier());
    params
}

fn authority_params(key: &Key, organisation: &str, name: &str) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, organisation);
    subject.push(DnType::CommonName, name);
    let mut params = params(key, subject);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// A host's address as a certificate names it: an address by its bytes, all else by name. A name that is not ASCII cannot be
/// written and is left out: nobody can connect by it either, because TLS names a host in ASCII alone.
fn alternative(name: &str) -> Option<SanType> {
    match name.parse::<IpAddr>() {
        Ok(address) => Some(SanType::IpAddress(address)),
        Err(_) => name.to_owned().try_into().ok().map(SanType::DnsName),
    }
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
