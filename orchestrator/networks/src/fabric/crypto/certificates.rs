//! Certificates with the profile of Fabric's `cryptogen`.

use crate::{
    Seed,
    fabric::crypto::keys::{Key, bytes},
};
use chainpool_agent::Secret;
use chainpool_api::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber,
};
use std::{collections::BTreeSet, net::IpAddr};
use time::{Duration, OffsetDateTime};

/// Validity of an authority: longer than any certificate that it issues, so leaf renewal needs no new root.
const AUTHORITY_DAYS: i64 = 7300;

/// Allowed clock skew: certificates are valid from this long before the present.
const BACKDATED: Duration = Duration::HOUR;

/// Issues all certificates of one generation.
pub(crate) struct CertificateIssuer<'a> {
    seed: &'a Seed,
    from: OffsetDateTime,
    leaf_days: u32,
}

/// A certificate authority.
pub(crate) struct Authority {
    params: CertificateParams,
    key: Key,
    /// PEM.
    pub(crate) certificate: String,
}

/// A certificate and its key.
pub(crate) struct Issued {
    /// PEM.
    pub(crate) certificate: String,
    pub(crate) key: Key,
}

impl Authority {
    /// PKCS#8 in PEM.
    pub(crate) fn key(&self) -> Secret<Vec<u8>> {
        self.key.pem()
    }

    /// Restores an authority created under these names.
    pub(crate) fn load(organisation: &str, name: &str, certificate: &str, key: Key) -> Self {
        Self {
            params: authority_params(&key, organisation, name),
            key,
            certificate: certificate.to_owned(),
        }
    }
}

/// Holder of a certificate with its key.
pub(crate) struct Holder {
    /// Makes the serial number unique within a seed.
    pub(crate) label: String,
    /// The common name.
    pub(crate) name: String,
    pub(crate) key: Key,
}

impl<'a> CertificateIssuer<'a> {
    /// An issuer whose certificates are valid from an hour before this time.
    pub(crate) fn new(seed: &'a Seed, at: Timestamp, leaf_days: u32) -> Self {
        let at = OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000))
            .expect("the present year has four digits");
        Self {
            seed,
            from: at - BACKDATED,
            leaf_days,
        }
    }

    /// A new holder. The label makes its key unique.
    pub(crate) fn new_holder(&self, label: String, name: String) -> Holder {
        Holder {
            key: Key::derive(self.seed, &label),
            label,
            name,
        }
    }

    /// A password of this generation. The label makes it unique.
    pub(crate) fn password(&self, label: &str) -> Secret<Vec<u8>> {
        Secret::new(hex::encode(&bytes(self.seed, &format!("password {label}"))[..16]).into_bytes())
    }

    /// A self-signed authority. The label makes its key and serial number unique.
    pub(crate) fn authority(&self, label: &str, organisation: &str, name: &str) -> Authority {
        let key = Key::derive(self.seed, label);
        let params = self.with_validity(authority_params(&key, organisation, name), label, AUTHORITY_DAYS);
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

    /// Enrols a member of an organisation with its role: `peer`, `orderer`, `admin`, `client`.
    pub(crate) fn enrol(&self, authority: &Authority, holder: Holder, role: &str) -> Issued {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationalUnitName, role);
        subject.push(DnType::CommonName, &holder.name);
        self.issue(authority, holder, subject, |params| {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        })
    }

    /// A TLS certificate for a node as server and client under these names and addresses.
    pub(crate) fn tls(&self, authority: &Authority, holder: Holder, names: &BTreeSet<&str>) -> Issued {
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
            params.subject_alt_names = names.iter().filter_map(|name| alternative_name(name)).collect();
        })
    }

    /// A TLS certificate for a client.
    pub(crate) fn client(&self, authority: &Authority, holder: Holder) -> Issued {
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
        let mut params = self.with_validity(params(&key, subject), &label, self.leaf_days.into());
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

    /// Sets validity and serial number.
    fn with_validity(&self, mut params: CertificateParams, label: &str, days: i64) -> CertificateParams {
        params.not_before = self.from;
        params.not_after = self.from + BACKDATED + Duration::days(days);
        params.serial_number = Some(self.serial(label));
        params
    }

    /// 20 bytes, the maximum of RFC 5280. The first bits are 01: positive and of full length.
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

/// Subject alternative name of a host: IP addresses by their bytes, all else as DNS names. A name that is not
/// ASCII is omitted; TLS could not use it either.
fn alternative_name(name: &str) -> Option<SanType> {
    match name.parse::<IpAddr>() {
        Ok(address) => Some(SanType::IpAddress(address)),
        Err(_) => name.to_owned().try_into().ok().map(SanType::DnsName),
    }
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
