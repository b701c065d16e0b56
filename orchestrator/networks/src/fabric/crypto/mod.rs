//! Keys, certificates, signatures and TLS.

pub(super) mod certificates;
pub(super) mod envelope;
pub(super) mod identity;
pub(super) mod keys;
pub(super) mod msp;
pub(super) mod tls;
